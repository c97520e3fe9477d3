// SPDX-License-Identifier: Apache-2.0
//
// The host's side of a table: how it is laid out, what the worker does for it, and its end.
#include <linux/bpf.h>

#include <bit>
#include <new>
#include <type_traits>

#include "map/hash_table.hpp"
#include "sync/arena.hpp"
#include "task/worker.hpp"

namespace taskwork::map {

namespace {

constexpr std::size_t kLine = 64;

constexpr std::size_t round_up_line(std::size_t bytes) noexcept {
    return (bytes + kLine - 1) & ~(kLine - 1);
}

std::size_t element_bytes(const Map& map, std::size_t value_bytes) noexcept {
    return sizeof(Element) + round_up_8(map.key_size) + round_up_8(value_bytes);
}

std::uint64_t buckets_of(const Map& map) noexcept {
    return std::bit_ceil(std::uint64_t{map.max_entries});
}

/// What the worker has to make empty it may as well release.
sync::Reuse reuse_of(const Map& map) noexcept {
    return map.fields.task_work == kNoField ? sync::Reuse::in_place : sync::Reuse::released;
}

std::uint32_t element_count(const Map& map, std::size_t value_bytes) noexcept {
    return map.max_entries +
           spares_of(map.max_entries,
                     sync::Pool::each_bytes(element_bytes(map, value_bytes), reuse_of(map)));
}

}  // namespace

std::size_t HashTable::bytes(const Map& map, std::size_t value_bytes,
                             std::uint32_t lists) noexcept {
    return round_up_line(sizeof(HashTable)) + lists * sizeof(Hand) +
           round_up_line(buckets_of(map) * sizeof(Link)) +
           round_up_line(sync::Pool::bytes(map.max_entries, sizeof(Ticket))) +
           round_up_line(sync::Pool::bytes(element_count(map, value_bytes),
                                           element_bytes(map, value_bytes), reuse_of(map)));
}

std::errc HashTable::create(Map& map, std::size_t value_bytes, std::uint32_t lists,
                            std::size_t writers_at) {
    if (buckets_of(map) > kBucketsMax) {
        return std::errc::argument_list_too_long;
    }
    const std::size_t bytes = HashTable::bytes(map, value_bytes, lists);
    std::errc why = std::errc::not_enough_memory;
    void* const memory = sync::Arena::allocate(bytes, kLine, &why);
    if (memory == nullptr) {
        return why;
    }
    map.impl_bytes = bytes;
    map.impl = new (memory) HashTable(map, memory, value_bytes, lists, writers_at);
    return no_error;
}

HashTable::HashTable(Map& map, void* memory, std::size_t value_bytes, std::uint32_t lists,
                     std::size_t writers_at) noexcept
    : map_(&map), list_count_(lists), writers_at_(static_cast<std::uint32_t>(writers_at)) {
    auto* at = static_cast<std::byte*>(memory) + round_up_line(sizeof(HashTable));
    hands_ = reinterpret_cast<Hand*>(at);
    at += lists * sizeof(Hand);
    heads_ = reinterpret_cast<Link*>(at);
    bucket_mask_ = static_cast<std::uint32_t>(buckets_of(map) - 1);
    at += round_up_line(buckets_of(map) * sizeof(Link));
    // Tickets are never retired: nobody holds the bare address of one.
    tickets_.init(at, map.max_entries, sizeof(Ticket), 0);
    at += round_up_line(sync::Pool::bytes(map.max_entries, sizeof(Ticket)));
    const sync::Reuse reuse = reuse_of(map);
    elements_.init(
        at, element_count(map, value_bytes), element_bytes(map, value_bytes),
        task::Worker::adopt_pool(elements_, reuse == sync::Reuse::in_place ? nullptr : recycle),
        reuse);
    seed_ = (map.flags & BPF_F_ZERO_SEED) != 0
                ? 0
                : sync::Arena::header().cookie ^ (std::uint64_t{map.id} << 32) ^ platform::now_ns();
}

void HashTable::disown() noexcept { task::Worker::disown_pool(elements_); }

void HashTable::recycle(sync::Pool& pool, void* memory) noexcept {
    // elements_ is the first member (checked below), so the pool's address is the table's.
    auto& table = reinterpret_cast<HashTable&>(pool);
    auto* element = static_cast<Element*>(memory);
    defer::reset(*task_work_slot(*table.map_, table.value_of(element)));
    pool.release(element);
}

void HashTable::cancel_all() noexcept {
    static_assert(std::is_standard_layout_v<HashTable>);
    for (std::uint32_t i = 0; i < elements_.count(); ++i) {
        // Free and spare ones included (K97): a stale pointer may have been scheduled on.
        defer::cancel(*task_work_slot(*map_, value_of(static_cast<Element*>(elements_.at(i)))));
    }
}

void HashTable::sweep(std::uint16_t dead_owner) noexcept {
    for (std::uint32_t i = 0; i < elements_.count(); ++i) {
        auto* element = static_cast<Element*>(elements_.at(i));
        const sync::Word word = sync::Pool::load(element);
        if (word.state() == kElementBuilding && word.owner() == dead_owner) {
            if (is_linked(element)) {
                settle(element);
            } else if (sync::Pool::load(element) == word) {
                elements_.release(element);
            }
        }
    }
    for (std::uint32_t i = 0; i < elements_.count(); ++i) {
        auto* element = static_cast<Element*>(elements_.at(i));
        if (sync::Pool::load(element).state() == kElementLive &&
            (element->next.load(std::memory_order_acquire) & kDeleted) != 0) {
            finish(element,
                   static_cast<std::uint32_t>(element->hash.load(std::memory_order_relaxed)));
        }
    }
    for (std::uint32_t i = 0; i < tickets_.count(); ++i) {
        const sync::Word word = sync::Pool::load(tickets_.at(i));
        if (word.state() == kTicketClaimed && word.owner() == dead_owner) {
            tickets_.release(tickets_.at(i));
        }
    }
    elements_.restore_hints();
    tickets_.restore_hints();
}

Usage HashTable::usage() const noexcept {
    Usage usage;
    usage.elements = tickets_.count() - tickets_.count_free();
    for (std::uint32_t i = 0; i < elements_.count(); ++i) {
        usage.waiting += elements_.waits(elements_.at(i)) ? 1 : 0;
    }
    usage.refused_no_memory = refused_no_memory_.load(std::memory_order_relaxed);
    usage.bytes = map_->impl_bytes;
    return usage;
}

// Of maps that are a table.

void table_destroy(Map& map) noexcept {
    HashTable::of(map).disown();
    sync::Arena::release(map.impl, map.impl_bytes);
}
std::errc table_remove(Map& map, const void* key) noexcept {
    return HashTable::of(map).remove(key, nullptr);
}
std::errc table_next_key(Map& map, const void* key, void* next) noexcept {
    return HashTable::of(map).next_key(key, next);
}
long table_for_each(Map& map, ElementFunction function, void* argument) noexcept {
    return HashTable::of(map).for_each(function, argument);
}
void table_sweep(Map& map, std::uint16_t dead_owner) noexcept {
    HashTable::of(map).sweep(dead_owner);
}
Usage table_usage(const Map& map) noexcept { return HashTable::of(map).usage(); }

}  // namespace taskwork::map
