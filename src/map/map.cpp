// SPDX-License-Identifier: Apache-2.0
#include "map/map.hpp"

#include <linux/bpf.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "base/assert.hpp"
#include "map/map_in_map.hpp"
#include "map/map_ops.hpp"
#include "map/ring_buffer.hpp"
#include "map/value.hpp"
#include "sync/arena.hpp"
#include "task/worker.hpp"

namespace taskwork::map {

namespace {

template <class Function>
void for_each_live_map(Function&& function) noexcept {
    const MapTable& table = MapTable::get();
    for (std::uint32_t i = 0; i < table.maps.count(); ++i) {
        auto* map = static_cast<Map*>(table.maps.at(i));
        if (sync::Pool::load(map).state() == kMapLive) {
            function(*map);
        }
    }
}

bool sweep(std::uint16_t owner) noexcept {
    MapTable::get().locks.sweep(owner);
    if (owner != task::kOwnerNone) {
        MapTable::get().processors.sweep(owner);
        for_each_live_map([owner](Map& map) {
            if (const MapOps* ops = ops_of(map.type); ops->sweep != nullptr) {
                ops->sweep(map, owner);
            }
        });
    }
    return true;
}

std::string describe(const MapSpec& spec, const char* kind) {
    const std::size_t length = strnlen(spec.name, sizeof(spec.name));
    return "map '" + std::string(spec.name, length) + "' (" + kind + ")";
}

/// Checks of special fields that do not depend on the kind's own rules.
std::errc check_special_fields(const MapSpec& spec, const MapOps& ops, std::string* why) {
    if (!has_any(spec.fields)) {
        return no_error;
    }
    if ((spec.flags & (BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG)) != 0) {
        *why = "special fields need a map that programs may read and write";
        return std::errc::permission_denied;
    }
    bool held = true;
    bool fits = true;
    for_each_field(spec.fields, [&](const SpecialField& kind, std::int32_t offset) {
        held = held && (kind.is_lock ? ops.holds_spin_lock : ops.holds_slots);
        fits = fits && offset >= 0 && static_cast<std::uint32_t>(offset) % kind.align == 0 &&
               std::uint64_t{static_cast<std::uint32_t>(offset)} + kind.bytes <= spec.value_size;
    });
    if (!held) {
        *why = "this kind of map cannot hold such a special field";
        return std::errc::operation_not_supported;
    }
    if (!fits) {
        *why = "a special field is misaligned or outside the value";
        return std::errc::invalid_argument;
    }
    return no_error;
}

/// What the kernel's per-CPU allocator can hold in one piece.
constexpr std::uint32_t kSlotBytesMax = 32U << 10;

/// As bpftool calls the types of maps; "type N" for one that came later.
std::string type_name(std::uint32_t type) {
    static constexpr const char* names[] = {"unspec",
                                            "hash",
                                            "array",
                                            "prog_array",
                                            "perf_event_array",
                                            "percpu_hash",
                                            "percpu_array",
                                            "stack_trace",
                                            "cgroup_array",
                                            "lru_hash",
                                            "lru_percpu_hash",
                                            "lpm_trie",
                                            "array_of_maps",
                                            "hash_of_maps",
                                            "devmap",
                                            "sockmap",
                                            "cpumap",
                                            "xskmap",
                                            "sockhash",
                                            "cgroup_storage",
                                            "reuseport_sockarray",
                                            "percpu_cgroup_storage",
                                            "queue",
                                            "stack",
                                            "sk_storage",
                                            "devmap_hash",
                                            "struct_ops",
                                            "ringbuf",
                                            "inode_storage",
                                            "task_storage",
                                            "bloom_filter",
                                            "user_ringbuf",
                                            "cgrp_storage",
                                            "arena",
                                            "insn_array"};
    return type < std::size(names) ? names[type] : "type " + std::to_string(type);
}

/// Last step of a map's life, after a grace period in which nobody could find it any more.
void destroy(void* argument) noexcept {
    auto* map = static_cast<Map*>(argument);
    if (defer::references_map(map)) {
        // A callback that names the map is still running; it may sleep for long (K99).
        task::Worker::after_a_while(destroy, map);
        return;
    }
    ops_of(map->type)->destroy(*map);
    // Nodes of cancelled works may lie on the list of a task that sleeps on.
    defer::forget_totals(map->works);
    map->impl = nullptr;
    MapTable::get().maps.release(map);
}

}  // namespace

const MapOps* ops_of(std::uint32_t type) noexcept {
    switch (type) {
    case BPF_MAP_TYPE_ARRAY:
        return &array_ops;
    case BPF_MAP_TYPE_HASH:
        return &hash_ops;
    case BPF_MAP_TYPE_RINGBUF:
        return &ring_buffer_ops;
    case BPF_MAP_TYPE_QUEUE:
        return &queue_ops;
    case BPF_MAP_TYPE_PROG_ARRAY:
        return &program_array_ops;
    case BPF_MAP_TYPE_PERF_EVENT_ARRAY:
        return &perf_event_array_ops;
    case BPF_MAP_TYPE_STACK_TRACE:
        return &stack_trace_ops;
    case BPF_MAP_TYPE_ARRAY_OF_MAPS:
        return &array_of_maps_ops;
    case BPF_MAP_TYPE_HASH_OF_MAPS:
        return &hash_of_maps_ops;
    case BPF_MAP_TYPE_PERCPU_ARRAY:
        return &per_cpu_array_ops;
    case BPF_MAP_TYPE_PERCPU_HASH:
        return &per_cpu_hash_ops;
    case BPF_MAP_TYPE_LRU_HASH:
        return &lru_hash_ops;
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
        return &per_cpu_lru_hash_ops;
    case BPF_MAP_TYPE_STACK:
        return &stack_ops;
    case BPF_MAP_TYPE_BLOOM_FILTER:
        return &bloom_filter_ops;
    case BPF_MAP_TYPE_LPM_TRIE:
        return &lpm_trie_ops;
    default:
        return nullptr;
    }
}

std::errc check_slot_size(const MapSpec& spec, std::string* why) {
    if (round_up_8(spec.value_size) > kSlotBytesMax) {
        *why = "value_size is above " + std::to_string(kSlotBytesMax);
        return std::errc::argument_list_too_long;
    }
    return no_error;
}

std::errc MapTable::create() noexcept {
    void* const memory = sync::Arena::allocate(sizeof(MapTable), alignof(MapTable));
    void* const objects = sync::Arena::allocate(sync::Pool::bytes(kMapsMax, sizeof(Map)), 64);
    if (memory == nullptr || objects == nullptr) {
        return std::errc::not_enough_memory;
    }
    auto* table = new (memory) MapTable();
    // Maps are released by destroy(), not by way of retire(): no doorbell.
    table->maps.init(objects, kMapsMax, sizeof(Map), 0);
    table->next_id.store(1, std::memory_order_relaxed);
    if (const std::errc error = table->processors.create(); error != no_error) {
        return error;
    }
    if (const std::errc error = table->locks.create(); error != no_error) {
        return error;
    }
    sync::Arena::set_root(sync::Root::maps, table);
    task::Worker::add_sweeper(sweep);
    return ring_buffer_start();
}

MapTable& MapTable::get() noexcept { return *sync::Arena::root<MapTable>(sync::Root::maps); }

Result<Map*> create(const MapSpec& spec) {
    const MapOps* const ops = ops_of(spec.type);
    if (ops == nullptr) {
        return Error{std::errc::invalid_argument, describe(spec, type_name(spec.type).c_str()) +
                                                      ": this type of map is not supported"};
    }
    std::string why;
    std::errc error = no_error;
    if ((spec.flags & BPF_F_RDONLY) != 0 && (spec.flags & BPF_F_WRONLY) != 0) {
        error = std::errc::invalid_argument;
        why = "BPF_F_RDONLY and BPF_F_WRONLY exclude each other";
    }
    if (error == no_error) {
        error = ops->check(spec, &why);
    }
    if (error == no_error) {
        error = check_special_fields(spec, *ops, &why);
    }
    if (error != no_error) {
        return Error{error, describe(spec, ops->name) + ": " + why};
    }

    MapTable& table = MapTable::get();
    void* const memory = table.maps.claim(0, kMapCreating);
    if (memory == nullptr) {
        return Error{std::errc::not_enough_memory, describe(spec, ops->name) + ": the domain has " +
                                                       std::to_string(MapTable::kMapsMax) +
                                                       " maps already"};
    }
    auto* map = static_cast<Map*>(memory);
    map->id = table.next_id.fetch_add(1, std::memory_order_relaxed);
    map->type = spec.type;
    map->key_size = spec.key_size;
    map->value_size = spec.value_size;
    map->max_entries = spec.max_entries;
    map->flags = spec.flags;
    map->extra = spec.extra;
    std::memcpy(map->name, spec.name, sizeof(map->name));
    map->btf_id = spec.btf_id;
    map->btf_key_type_id = spec.btf_key_type_id;
    map->btf_value_type_id = spec.btf_value_type_id;
    map->fields = spec.fields;
    map->inner = spec.inner == nullptr ? InnerShape{} : shape_of(*spec.inner);
    map->user_count.store(0, std::memory_order_relaxed);
    map->references.store(1, std::memory_order_relaxed);
    map->frozen.store(0, std::memory_order_relaxed);
    map->works.scheduled.store(0, std::memory_order_relaxed);
    map->works.ran.store(0, std::memory_order_relaxed);
    map->works.cancelled.store(0, std::memory_order_relaxed);
    map->works.dropped.store(0, std::memory_order_relaxed);
    map->impl = nullptr;
    map->impl_bytes = 0;
    error = ops->init(*map);
    if (error != no_error) {
        table.maps.release(map);
        const char* const what =
            error == std::errc::argument_list_too_long ? ": no table for " : ": no memory for ";
        return Error{error, describe(spec, ops->name) + what + std::to_string(spec.max_entries) +
                                " entries of " + std::to_string(spec.key_size) + " + " +
                                std::to_string(spec.value_size) + " bytes"};
    }
    // Release: whoever finds the map live finds it whole.
    map->word.store(sync::Pool::load(map).with_state(kMapLive).bits, std::memory_order_release);
    return map;
}

void get_reference(Map& map) noexcept { map.references.fetch_add(1, std::memory_order_relaxed); }

void put_reference(Map& map) noexcept {
    if (map.references.fetch_sub(1, std::memory_order_acq_rel) != 1) {
        return;
    }
    // Nobody finds it from here on; who has found it is waited for.
    map.word.store(sync::Pool::load(&map).with_state(kMapCreating).bits, std::memory_order_release);
    task::Worker::after_grace_period(destroy, &map);
}

void get_user(Map& map) noexcept {
    get_reference(map);
    map.user_count.fetch_add(1, std::memory_order_seq_cst);
}

void put_user(Map& map) noexcept {
    // The count is 0 before the walk: a schedule either sees that, or has published its context in
    // the slot before and is found by the walk (K98).
    if (map.user_count.fetch_sub(1, std::memory_order_seq_cst) == 1) {
        const MapOps* const ops = ops_of(map.type);
        if (map.fields.task_work != kNoField) {
            ops->cancel_all(map);
        }
        if (ops->users_left != nullptr) {
            ops->users_left(map);
        }
    }
    put_reference(map);
}

std::errc freeze(Map& map) noexcept {
    if (has_any(map.fields)) {
        return errc_kernel_notsupp;
    }
    std::uint32_t open = 0;
    return map.frozen.compare_exchange(open, 1, std::memory_order_acq_rel)
               ? no_error
               : std::errc::operation_not_permitted;
}

bool has_keys(const Map& map) noexcept { return ops_of(map.type)->lookup != nullptr; }
bool has_values_without_keys(const Map& map) noexcept { return ops_of(map.type)->push != nullptr; }
bool has_pop(const Map& map) noexcept { return ops_of(map.type)->pop != nullptr; }

bool may_be_in_sleepable(const Map& map) noexcept {
    switch (map.type) {
    case BPF_MAP_TYPE_LPM_TRIE:
    case BPF_MAP_TYPE_BLOOM_FILTER:
    case BPF_MAP_TYPE_PROG_ARRAY:
    case BPF_MAP_TYPE_PERF_EVENT_ARRAY:
    case BPF_MAP_TYPE_STACK_TRACE:
        return false;
    default:
        return true;
    }
}

bool is_map(const void* pointer) noexcept {
    const MapTable& table = MapTable::get();
    const auto address = reinterpret_cast<std::uintptr_t>(pointer);
    return table.maps.contains(address) && table.maps.at(table.maps.index_of(pointer)) == pointer &&
           sync::Pool::load(pointer).state() == kMapLive;
}

void* lookup(Map& map, const void* key) noexcept {
    const MapOps* const ops = ops_of(map.type);
    return ops->lookup == nullptr ? nullptr : ops->lookup(map, key);
}

std::errc update(Map& map, const void* key, const void* value, std::uint64_t flags) noexcept {
    const MapOps* const ops = ops_of(map.type);
    return ops->update == nullptr ? errc_kernel_notsupp : ops->update(map, key, value, flags);
}

std::errc remove(Map& map, const void* key) noexcept {
    const MapOps* const ops = ops_of(map.type);
    return ops->remove == nullptr ? errc_kernel_notsupp : ops->remove(map, key);
}

std::errc next_key(Map& map, const void* key, void* next) noexcept {
    const MapOps* const ops = ops_of(map.type);
    return ops->next_key == nullptr ? errc_kernel_notsupp : ops->next_key(map, key, next);
}

std::errc lookup_copy(Map& map, const void* key, void* out, std::uint64_t flags) noexcept {
    if ((flags & ~std::uint64_t{BPF_F_LOCK}) != 0 ||
        ((flags & BPF_F_LOCK) != 0 && map.fields.spin_lock == kNoField)) {
        return std::errc::invalid_argument;
    }
    const MapOps* const ops = ops_of(map.type);
    if (ops->peek != nullptr) {
        return ops->peek(map, out);
    }
    if (ops->copy != nullptr) {
        return ops->copy(map, key, out);
    }
    if (ops->lookup == nullptr) {
        return errc_kernel_notsupp;
    }
    void* const value =
        (ops->lookup_by_user != nullptr ? ops->lookup_by_user : ops->lookup)(map, key);
    if (value == nullptr) {
        return std::errc::no_such_file_or_directory;
    }
    if (is_outer(map)) {
        copy_bytes(out, &static_cast<const Map*>(value)->id, sizeof(std::uint32_t));
        return no_error;
    }
    if ((flags & BPF_F_LOCK) == 0) {
        copy_to_users_value(map, value, out);
        return no_error;
    }
    if (const std::errc error = lock_value(map, value); error != no_error) {
        return error;
    }
    copy_value_out(map, value, out);
    unlock_value(map, value);
    return no_error;
}

bool is_hash(std::uint32_t type) noexcept {
    switch (type) {
    case BPF_MAP_TYPE_HASH:
    case BPF_MAP_TYPE_PERCPU_HASH:
    case BPF_MAP_TYPE_LRU_HASH:
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
    case BPF_MAP_TYPE_HASH_OF_MAPS:
        return true;
    default:
        return false;
    }
}

bool is_per_cpu(const Map& map) noexcept { return ops_of(map.type)->slot_distance != nullptr; }

void* slot_of(const Map& map, void* value, std::uint32_t processor) noexcept {
    return static_cast<std::byte*>(value) + processor * ops_of(map.type)->slot_distance(map);
}

std::errc update_slot(Map& map, const void* key, const void* value, std::uint64_t flags,
                      std::uint32_t processor) noexcept {
    const MapOps* const ops = ops_of(map.type);
    return ops->update_slot == nullptr ? errc_kernel_notsupp
                                       : ops->update_slot(map, key, value, flags, processor);
}

std::size_t user_value_bytes(const Map& map) noexcept {
    return is_per_cpu(map) ? round_up_8(map.value_size) * MapTable::get().processors.count()
                           : map.value_size;
}

void copy_to_users_value(const Map& map, const void* value, void* out) noexcept {
    if (is_outer(map)) {
        const std::uint32_t id = inner_id(value);
        copy_bytes(out, &id, sizeof(id));
        return;
    }
    if (!is_per_cpu(map)) {
        copy_value_out(map, value, out);
        return;
    }
    const std::size_t distance = ops_of(map.type)->slot_distance(map);
    const std::size_t bytes = round_up_8(map.value_size);
    for (std::uint32_t i = 0; i < MapTable::get().processors.count(); ++i) {
        copy_bytes(static_cast<std::byte*>(out) + i * bytes,
                   static_cast<const std::byte*>(value) + i * distance, bytes);
    }
}

std::errc update_by_user(Map& map, const void* key, const void* value,
                         std::uint64_t flags) noexcept {
    const MapOps* const ops = ops_of(map.type);
    if (ops->update_slot != nullptr) {
        return ops->update_slot(map, key, value, flags, kEveryProcessor);
    }
    return ops->push != nullptr ? ops->push(map, value, flags) : update(map, key, value, flags);
}

unsigned batch_commands(const Map& map) noexcept { return ops_of(map.type)->batch; }

std::errc push(Map& map, const void* value, std::uint64_t flags) noexcept {
    const MapOps* const ops = ops_of(map.type);
    return ops->push == nullptr ? errc_kernel_notsupp : ops->push(map, value, flags);
}

std::errc pop(Map& map, void* out) noexcept {
    const MapOps* const ops = ops_of(map.type);
    return ops->pop == nullptr ? errc_kernel_notsupp : ops->pop(map, out);
}

std::errc peek(Map& map, void* value) noexcept {
    const MapOps* const ops = ops_of(map.type);
    return ops->peek == nullptr ? errc_kernel_notsupp : ops->peek(map, value);
}

std::errc lookup_and_remove(Map& map, const void* key, void* out, std::uint64_t flags) noexcept {
    if ((flags & BPF_F_LOCK) != 0 && map.fields.spin_lock == kNoField) {
        return std::errc::invalid_argument;
    }
    const MapOps* const ops = ops_of(map.type);
    if (ops->pop != nullptr) {
        return flags == 0 ? ops->pop(map, out) : std::errc::invalid_argument;
    }
    return ops->lookup_and_remove == nullptr ? errc_kernel_notsupp
                                             : ops->lookup_and_remove(map, key, out, flags);
}

long for_each(Map& map, ElementFunction function, void* argument) noexcept {
    const MapOps* const ops = ops_of(map.type);
    return ops->for_each == nullptr ? negative_errno(std::errc::invalid_argument)
                                    : ops->for_each(map, function, argument);
}

const void* key_of(const Map& map, const void* value, std::uint32_t* index_storage) noexcept {
    const MapOps* const ops = ops_of(map.type);
    return ops->key_of == nullptr
               ? nullptr
               : ops->key_of(map, reinterpret_cast<std::uintptr_t>(value), index_storage);
}

std::uintptr_t value_start(const Map& map, std::uintptr_t address) noexcept {
    const MapOps* const ops = ops_of(map.type);
    return ops->value_start == nullptr ? 0 : ops->value_start(map, address);
}

bool may_access_value(const Map& map, std::uintptr_t address, std::size_t size) noexcept {
    const std::uintptr_t start = value_start(map, address);
    if (start == 0 || size > map.value_size || address - start > map.value_size - size) {
        return false;
    }
    const std::size_t begin = address - start;
    bool touches = false;
    for_each_field(map.fields, [&](const SpecialField& kind, std::int32_t offset) {
        const auto field = static_cast<std::size_t>(offset);
        touches = touches || (begin < field + kind.bytes && field < begin + size);
    });
    return !touches;
}

defer::Slot* task_work_slot(const Map& map, void* value) noexcept {
    return map.fields.task_work == kNoField
               ? nullptr
               : reinterpret_cast<defer::Slot*>(static_cast<std::byte*>(value) +
                                                map.fields.task_work);
}

LockWord* lock_word(const Map& map, void* value) noexcept {
    return lock_of(map.fields) == kNoField
               ? nullptr
               : reinterpret_cast<LockWord*>(static_cast<std::byte*>(value) + lock_of(map.fields));
}

std::errc direct_values(const Map& map, void** base, std::size_t* bytes) noexcept {
    const MapOps* const ops = ops_of(map.type);
    return ops->direct_values == nullptr ? errc_kernel_notsupp
                                         : ops->direct_values(map, base, bytes);
}

Usage usage(const Map& map) noexcept { return ops_of(map.type)->usage(map); }

}  // namespace taskwork::map
