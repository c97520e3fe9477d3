// SPDX-License-Identifier: Apache-2.0
#include "map/stack_trace.hpp"

#include <linux/bpf.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <new>

#include "map/map_ops.hpp"
#include "map/value.hpp"
#include "sync/arena.hpp"

namespace taskwork::map {

namespace {

constexpr std::uint8_t kItemBuilding = sync::kStateUser;
constexpr std::uint8_t kItemStored = sync::kStateUser + 1;

/// The kernel's perf_event_max_stack, as it is set by default.
constexpr std::uint32_t kDepthMax = 127;
constexpr std::uint32_t kEntriesMax = std::uint32_t{1} << 31;
/// Items that are being built: one a thread at most.
constexpr std::uint32_t kSpares = 64;

struct Item {
    sync::AtomicWord word;
    platform::Atomic<std::uint64_t> hash_and_depth;  ///< {hash : 32, depth : 32}.
    platform::Atomic<std::uint64_t> replaced;        ///< The bucket's word before; 0: empty.

    std::uint64_t* addresses() noexcept { return reinterpret_cast<std::uint64_t*>(this + 1); }
    static Item* of(std::uint64_t* addresses) noexcept {
        return reinterpret_cast<Item*>(addresses) - 1;
    }
};
static_assert(sizeof(Item) == 24);

class alignas(64) StackTraces {
public:
    static StackTraces& of(const Map& map) noexcept { return *static_cast<StackTraces*>(map.impl); }
    static std::uint64_t bucket_count(const Map& map) noexcept {
        return std::bit_ceil(std::uint64_t{map.max_entries});
    }
    static std::size_t bytes(const Map& map) noexcept {
        return sizeof(StackTraces) + buckets_bytes(map) +
               sync::Pool::bytes(static_cast<std::uint32_t>(bucket_count(map)) + kSpares,
                                 item_bytes(map));
    }
    StackTraces(Map& map, void* memory) noexcept
        : map_(&map), mask_(static_cast<std::uint32_t>(bucket_count(map) - 1)) {
        auto* at = static_cast<std::byte*>(memory) + sizeof(StackTraces);
        buckets_ = reinterpret_cast<Bucket*>(at);
        items_.init(at + buckets_bytes(map), mask_ + 1 + kSpares, item_bytes(map), 0);
    }

    std::uint64_t* claim(std::uint16_t owner) noexcept;
    long store(Item* item, std::uint32_t depth, std::uint64_t flags) noexcept;
    std::errc copy(std::uint32_t id, void* out) noexcept;
    /// `out`: where the stack goes on the way (nullptr: nowhere).
    std::errc remove(std::uint32_t id, void* out) noexcept;
    std::errc next(const void* key, std::uint32_t* next) noexcept;
    void sweep(std::uint16_t dead_owner) noexcept;
    Usage usage() const noexcept;

private:
    /// {round of the item : 32, its index + 1 : 32}; 0: empty.
    using Bucket = platform::Atomic<std::uint64_t>;

    static std::size_t buckets_bytes(const Map& map) noexcept {
        return (bucket_count(map) * sizeof(Bucket) + 63) & ~std::size_t{63};
    }
    static std::size_t item_bytes(const Map& map) noexcept { return sizeof(Item) + map.value_size; }
    Item* item_of(std::uint64_t name) const noexcept {
        return static_cast<Item*>(items_.at(static_cast<std::uint32_t>(name) - 1));
    }
    std::uint64_t name_of(Item* item) const noexcept {
        return std::uint64_t{sync::Pool::load(item).round()} << 32 | (items_.index_of(item) + 1);
    }
    static bool is_round(sync::Word word, std::uint64_t name) noexcept {
        return word.round() == name >> 32 &&
               (word.state() == kItemBuilding || word.state() == kItemStored);
    }
    void copy(Item* item, void* out) const noexcept;
    void settle(Bucket& bucket, std::uint64_t name) noexcept;
    void set_free(std::uint64_t name) noexcept;

    sync::Pool items_;
    Map* map_;
    Bucket* buckets_;
    std::uint32_t mask_;
    platform::Atomic<std::uint64_t> refused_;
};

std::uint64_t* StackTraces::claim(std::uint16_t owner) noexcept {
    auto* item = static_cast<Item*>(items_.claim(owner, kItemBuilding));
    if (item == nullptr) {
        refused_.fetch_add(1, std::memory_order_relaxed);
        return nullptr;
    }
    return item->addresses();
}

/// Frees an item that its bucket does not name any more; not twice, and not a later round.
void StackTraces::set_free(std::uint64_t name) noexcept {
    Item* const item = item_of(name);
    sync::Word word = sync::Pool::load(item);
    if (word.state() == kItemStored && word.round() == name >> 32 &&
        sync::Pool::transition(item, word,
                               sync::Word::make(word.round(), 0, 0, sync::kStateFree))) {
        items_.hint_free(items_.index_of(item));
    }
}

void StackTraces::settle(Bucket& bucket, std::uint64_t name) noexcept {
    Item* const item = item_of(name);
    sync::Word word = sync::Pool::load(item);
    const std::uint64_t replaced = item->replaced.load(std::memory_order_acquire);
    // While the bucket names it, it is not used again: what was read is of this round.
    if (bucket.load(std::memory_order_acquire) != name || word.state() != kItemBuilding) {
        return;
    }
    if (replaced != 0) {
        set_free(replaced);
    }
    sync::Pool::transition(item, word, word.with_owner(0).with_state(kItemStored));
}

long StackTraces::store(Item* item, std::uint32_t depth, std::uint64_t flags) noexcept {
    if (depth == 0) {
        items_.release(item);
        return -EFAULT;
    }
    const std::size_t bytes = depth * sizeof(std::uint64_t);
    const std::uint32_t hash = hash_key(item->addresses(), bytes, 0);
    const std::uint64_t hash_and_depth = std::uint64_t{hash} << 32 | depth;
    const std::uint32_t id = hash & mask_;
    Bucket& bucket = buckets_[id];
    item->hash_and_depth.store(hash_and_depth, std::memory_order_relaxed);
    for (;;) {
        // Acquire: pairs with the release of the exchange below; the item is whole.
        std::uint64_t seen = bucket.load(std::memory_order_acquire);
        if (seen != 0) {
            Item* const other = item_of(seen);
            sync::Word word = sync::Pool::load(other);
            const std::uint64_t others = other->hash_and_depth.load(std::memory_order_acquire);
            const bool same = (flags & BPF_F_FAST_STACK_CMP) != 0
                                  ? others >> 32 == hash
                                  : others == hash_and_depth &&
                                        keys_equal(other->addresses(), item->addresses(), bytes);
            // Not a load: what was compared has to be read before.
            if (!is_round(word, seen) || !sync::Pool::transition(other, word, word)) {
                continue;
            }
            if (same || (flags & BPF_F_REUSE_STACKID) == 0) {
                items_.release(item);
                return same ? static_cast<long>(id) : -EEXIST;
            }
            settle(bucket, seen);
        }
        item->replaced.store(seen, std::memory_order_relaxed);
        const std::uint64_t name = name_of(item);
        if (bucket.compare_exchange(seen, name, std::memory_order_acq_rel)) {
            settle(bucket, name);
            return static_cast<long>(id);
        }
    }
}

std::errc StackTraces::copy(std::uint32_t id, void* out) noexcept {
    for (;;) {
        const std::uint64_t seen = id <= mask_ ? buckets_[id].load(std::memory_order_acquire) : 0;
        if (seen == 0) {
            return std::errc::no_such_file_or_directory;
        }
        Item* const item = item_of(seen);
        sync::Word word = sync::Pool::load(item);
        copy(item, out);
        if (is_round(word, seen) && sync::Pool::transition(item, word, word)) {
            return no_error;
        }
    }
}

void StackTraces::copy(Item* item, void* out) const noexcept {
    const auto depth =
        static_cast<std::uint32_t>(item->hash_and_depth.load(std::memory_order_acquire));
    const std::size_t bytes =
        std::min<std::size_t>(depth * sizeof(std::uint64_t), map_->value_size);
    copy_bytes(out, item->addresses(), bytes);
    zero_bytes(static_cast<std::byte*>(out) + bytes, map_->value_size - bytes);
}

std::errc StackTraces::remove(std::uint32_t id, void* out) noexcept {
    if (id > mask_) {
        return out == nullptr ? std::errc::argument_list_too_long
                              : std::errc::no_such_file_or_directory;
    }
    for (;;) {
        std::uint64_t seen = buckets_[id].load(std::memory_order_acquire);
        if (seen == 0) {
            return std::errc::no_such_file_or_directory;
        }
        settle(buckets_[id], seen);
        // Only the host removes, and with it the domain ends: it need not leave its name.
        if (buckets_[id].compare_exchange(seen, 0, std::memory_order_acq_rel)) {
            if (out != nullptr) {
                copy(item_of(seen), out);
            }
            set_free(seen);
            return no_error;
        }
    }
}

std::errc StackTraces::next(const void* key, std::uint32_t* next) noexcept {
    std::uint64_t id = 0;
    if (key != nullptr) {
        std::uint32_t before = 0;
        copy_bytes(&before, key, sizeof(before));
        const bool there = before <= mask_ && buckets_[before].load(std::memory_order_acquire) != 0;
        id = there ? std::uint64_t{before} + 1 : 0;
    }
    while (id <= mask_ && buckets_[id].load(std::memory_order_acquire) == 0) {
        ++id;
    }
    *next = static_cast<std::uint32_t>(id);
    return id <= mask_ ? no_error : std::errc::no_such_file_or_directory;
}

void StackTraces::sweep(std::uint16_t dead_owner) noexcept {
    for (std::uint32_t i = 0; i < items_.count(); ++i) {
        auto* item = static_cast<Item*>(items_.at(i));
        sync::Word word = sync::Pool::load(item);
        if (word.state() != kItemBuilding || word.owner() != dead_owner) {
            continue;
        }
        const std::uint64_t name = std::uint64_t{word.round()} << 32 | (i + 1);
        const auto hash =
            static_cast<std::uint32_t>(item->hash_and_depth.load(std::memory_order_acquire) >> 32);
        // In no other bucket: if it had been replaced meanwhile it would be settled.
        Bucket& bucket = buckets_[hash & mask_];
        if (bucket.load(std::memory_order_acquire) == name) {
            settle(bucket, name);
        } else {
            sync::Pool::transition(item, word,
                                   sync::Word::make(word.round(), 0, 0, sync::kStateFree));
        }
    }
    items_.restore_hints();
}

Usage StackTraces::usage() const noexcept {
    Usage usage;
    for (std::uint32_t id = 0; id <= mask_; ++id) {
        usage.elements += buckets_[id].load(std::memory_order_relaxed) != 0 ? 1U : 0U;
    }
    usage.refused_no_memory = refused_.load(std::memory_order_relaxed);
    usage.bytes = map_->impl_bytes;
    return usage;
}

std::errc stack_check(const MapSpec& spec, std::string* why) {
    constexpr std::uint32_t kFlags = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY;
    if ((spec.flags & ~kFlags) != 0) {
        *why = (spec.flags & BPF_F_STACK_BUILD_ID) != 0
                   ? "BPF_F_STACK_BUILD_ID is not supported"
                   : "flags that a map of stack traces does not have";
        return std::errc::invalid_argument;
    }
    if (spec.max_entries == 0 || spec.key_size != sizeof(std::uint32_t) ||
        spec.value_size < sizeof(std::uint64_t) || spec.value_size % sizeof(std::uint64_t) != 0 ||
        spec.value_size / sizeof(std::uint64_t) > kDepthMax) {
        *why = "it needs max_entries, a key of 4 bytes and a value of 1 to 127 words";
        return std::errc::invalid_argument;
    }
    if (spec.max_entries > kEntriesMax) {
        *why = "max_entries is too large";
        return std::errc::argument_list_too_long;
    }
    return no_error;
}

std::errc stack_init(Map& map) {
    std::errc why = std::errc::not_enough_memory;
    // Items are numbered by 32 bits.
    if (StackTraces::bucket_count(map) + kSpares > UINT32_MAX / 2) {
        return why;
    }
    const std::size_t bytes = StackTraces::bytes(map);
    void* const memory = sync::Arena::allocate(bytes, 64, &why);
    if (memory == nullptr) {
        return why;
    }
    map.impl_bytes = bytes;
    map.impl = new (memory) StackTraces(map, memory);
    return no_error;
}

void stack_destroy(Map& map) noexcept { sync::Arena::release(map.impl, map.impl_bytes); }

std::uint32_t id_of(const void* key) noexcept {
    std::uint32_t id = 0;
    copy_bytes(&id, key, sizeof(id));
    return id;
}
std::errc stack_copy(Map& map, const void* key, void* out) noexcept {
    return StackTraces::of(map).copy(id_of(key), out);
}
std::errc stack_update(Map&, const void*, const void*, std::uint64_t) noexcept {
    return std::errc::invalid_argument;
}
std::errc stack_remove(Map& map, const void* key) noexcept {
    return StackTraces::of(map).remove(id_of(key), nullptr);
}
std::errc stack_lookup_and_remove(Map& map, const void* key, void* out, std::uint64_t) noexcept {
    return StackTraces::of(map).remove(id_of(key), out);
}
std::errc stack_next_key(Map& map, const void* key, void* next) noexcept {
    std::uint32_t id = 0;
    const std::errc error = StackTraces::of(map).next(key, &id);
    if (error == no_error) {
        copy_bytes(next, &id, sizeof(id));
    }
    return error;
}
void stack_sweep(Map& map, std::uint16_t dead_owner) noexcept {
    StackTraces::of(map).sweep(dead_owner);
}
Usage stack_usage(const Map& map) noexcept { return StackTraces::of(map).usage(); }

constexpr MapOps make_ops() noexcept {
    MapOps ops{};
    ops.name = "stack_trace";
    ops.check = stack_check;
    ops.init = stack_init;
    ops.destroy = stack_destroy;
    ops.copy = stack_copy;
    ops.update = stack_update;
    ops.remove = stack_remove;
    ops.next_key = stack_next_key;
    ops.lookup_and_remove = stack_lookup_and_remove;
    ops.sweep = stack_sweep;
    ops.usage = stack_usage;
    return ops;
}

}  // namespace

const MapOps stack_trace_ops = make_ops();

std::uint32_t stack_depth_max(const Map& map) noexcept {
    return map.value_size / static_cast<std::uint32_t>(sizeof(std::uint64_t));
}

std::uint64_t* stack_claim(Map& map, std::uint16_t owner) noexcept {
    return StackTraces::of(map).claim(owner);
}

long stack_store(Map& map, std::uint64_t* addresses, std::uint32_t depth,
                 std::uint64_t flags) noexcept {
    return StackTraces::of(map).store(Item::of(addresses), depth, flags);
}

}  // namespace taskwork::map
