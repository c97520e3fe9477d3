// SPDX-License-Identifier: Apache-2.0
//
// BPF_MAP_TYPE_HASH and BPF_MAP_TYPE_PERCPU_HASH towards the rest of the map layer; the algorithm
// is hash_table.cpp. A per-CPU value is its slots, one behind the other. The kernel's rules for it:
// a program writes its processor's slot in place, or makes an element whose other slots are 0; a
// user writes all of them, in place as well.
#include <linux/bpf.h>

#include <new>

#include "map/hash_table.hpp"
#include "sync/arena.hpp"

namespace taskwork::map {

namespace {

/// The kernel refuses elements that its allocator could not hold in one piece.
constexpr std::uint64_t kElementBytesMax = (std::uint64_t{4} << 20) - 48;
constexpr std::uint32_t kEntriesMax = std::uint32_t{1} << 31;

HashTable& table_of(const Map& map) noexcept { return *static_cast<HashTable*>(map.impl); }

std::errc hash_check(const MapSpec& spec, std::string* why) {
    constexpr std::uint32_t kFlags = BPF_F_NO_PREALLOC | BPF_F_NUMA_NODE | BPF_F_RDONLY |
                                     BPF_F_WRONLY | BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG |
                                     BPF_F_ZERO_SEED;
    if ((spec.flags & ~kFlags) != 0) {
        *why = "flags that a hash does not have";
        return std::errc::invalid_argument;
    }
    if ((spec.flags & BPF_F_RDONLY_PROG) != 0 && (spec.flags & BPF_F_WRONLY_PROG) != 0) {
        *why = "BPF_F_RDONLY_PROG and BPF_F_WRONLY_PROG exclude each other";
        return std::errc::invalid_argument;
    }
    if (spec.max_entries == 0 || spec.key_size == 0 || spec.value_size == 0) {
        *why = "max_entries, key_size or value_size is 0";
        return std::errc::invalid_argument;
    }
    if (std::uint64_t{spec.key_size} + spec.value_size >= kElementBytesMax ||
        spec.max_entries > kEntriesMax) {
        *why = "key and value, or max_entries, are too large";
        return std::errc::argument_list_too_long;
    }
    return no_error;
}

std::errc hash_init_with(Map& map, std::size_t value_bytes) {
    const std::size_t bytes = HashTable::bytes(map, value_bytes);
    std::errc why = std::errc::not_enough_memory;
    void* const memory = sync::Arena::allocate(bytes, 64, &why);
    if (memory == nullptr) {
        return why;
    }
    map.impl_bytes = bytes;
    map.impl = new (memory) HashTable(map, memory, value_bytes);
    return no_error;
}

std::errc hash_init(Map& map) { return hash_init_with(map, map.value_size); }

void hash_destroy(Map& map) noexcept {
    table_of(map).disown();
    sync::Arena::release(map.impl, map.impl_bytes);
}

void* hash_lookup(Map& map, const void* key) noexcept {
    Element* const element = table_of(map).find(key);
    return element == nullptr ? nullptr : table_of(map).value_of(element);
}
std::errc hash_update(Map& map, const void* key, const void* value, std::uint64_t flags) noexcept {
    if ((flags & ~std::uint64_t{BPF_F_LOCK}) > BPF_EXIST ||
        ((flags & BPF_F_LOCK) != 0 && map.spin_lock_offset == kNoField)) {
        return std::errc::invalid_argument;
    }
    const auto fill = [](const Map& of, void* place, const HashWrite& write) noexcept {
        copy_value_in(of, place, write.value);
    };
    return table_of(map).update({.key = key, .value = value, .flags = flags, .fill = fill});
}
std::errc hash_remove(Map& map, const void* key) noexcept {
    return table_of(map).remove(key, nullptr);
}
std::errc hash_next_key(Map& map, const void* key, void* next) noexcept {
    return table_of(map).next_key(key, next);
}
std::errc hash_lookup_and_remove(Map& map, const void* key, void* out,
                                 std::uint64_t flags) noexcept {
    if ((flags & ~std::uint64_t{BPF_F_LOCK}) != 0) {
        return std::errc::invalid_argument;
    }
    return table_of(map).remove(key, out);
}
long hash_for_each(Map& map, ElementFunction function, void* argument) noexcept {
    return table_of(map).for_each(function, argument);
}

std::uintptr_t hash_value_start(const Map& map, std::uintptr_t address) noexcept {
    Element* const element = table_of(map).element_of(address);
    if (element == nullptr) {
        return 0;
    }
    const auto start = reinterpret_cast<std::uintptr_t>(table_of(map).value_of(element));
    return address >= start && address - start < map.value_size ? start : 0;
}
const void* hash_key_of(const Map& map, std::uintptr_t value, std::uint32_t*) noexcept {
    return hash_value_start(map, value) == 0
               ? nullptr
               : table_of(map).key_of(table_of(map).element_of(value));
}

void hash_cancel_all(Map& map) noexcept { table_of(map).cancel_all(); }
void hash_sweep(Map& map, std::uint16_t dead_owner) noexcept { table_of(map).sweep(dead_owner); }
Usage hash_usage(const Map& map) noexcept { return table_of(map).usage(); }

// ---- A slot for each processor ------------------------------------------------------------------

/// What the kernel's per-CPU allocator can hold in one piece.
constexpr std::uint32_t kSlotBytesMax = 32U << 10;

std::size_t slot_bytes(const Map& map) noexcept { return round_up_8(map.value_size); }
std::size_t slots_bytes(const Map& map) noexcept {
    return slot_bytes(map) * MapTable::get().processors.count();
}

std::errc per_cpu_hash_check(const MapSpec& spec, std::string* why) {
    if ((spec.flags & BPF_F_NUMA_NODE) != 0) {
        *why = "flags that a per-CPU hash does not have";
        return std::errc::invalid_argument;
    }
    if (const std::errc error = hash_check(spec, why); error != no_error) {
        return error;
    }
    if (round_up_8(spec.value_size) > kSlotBytesMax) {
        *why = "value_size is above " + std::to_string(kSlotBytesMax);
        return std::errc::argument_list_too_long;
    }
    return no_error;
}

std::errc per_cpu_hash_init(Map& map) { return hash_init_with(map, slots_bytes(map)); }

void write_slots(const Map& map, void* place, const HashWrite& write, bool is_new) noexcept {
    const auto processor = *static_cast<const std::uint32_t*>(write.argument);
    if (processor == kEveryProcessor) {
        copy_bytes(place, write.value, slots_bytes(map));
        return;
    }
    if (is_new) {
        zero_bytes(place, slots_bytes(map));
    }
    copy_bytes(static_cast<std::byte*>(place) + processor * slot_bytes(map), write.value,
               map.value_size);
}

std::errc per_cpu_hash_update(Map& map, const void* key, const void* value, std::uint64_t flags,
                              std::uint32_t processor) noexcept {
    if (flags > BPF_EXIST) {
        return std::errc::invalid_argument;
    }
    const auto fill = [](const Map& of, void* place, const HashWrite& write) noexcept {
        write_slots(of, place, write, true);
    };
    const auto overwrite = [](const Map& of, void* place, const HashWrite& write) noexcept {
        write_slots(of, place, write, false);
    };
    return table_of(map).update({.key = key,
                                 .value = value,
                                 .flags = flags,
                                 .argument = &processor,
                                 .fill = fill,
                                 .overwrite = overwrite});
}

std::errc per_cpu_hash_lookup_and_remove(Map& map, const void* key, void* out,
                                         std::uint64_t flags) noexcept {
    return flags != 0 ? std::errc::invalid_argument
                      : table_of(map).remove(key, out, copy_to_users_value);
}

std::uintptr_t per_cpu_hash_value_start(const Map& map, std::uintptr_t address) noexcept {
    Element* const element = table_of(map).element_of(address);
    if (element == nullptr) {
        return 0;
    }
    const auto first = reinterpret_cast<std::uintptr_t>(table_of(map).value_of(element));
    if (address < first || address - first >= slots_bytes(map)) {
        return 0;
    }
    const std::size_t inside = (address - first) % slot_bytes(map);
    return inside < map.value_size ? address - inside : 0;
}

constexpr MapOps make_per_cpu_ops() noexcept {
    MapOps ops{};
    ops.name = "percpu_hash";
    ops.check = per_cpu_hash_check;
    ops.init = per_cpu_hash_init;
    ops.destroy = hash_destroy;
    ops.lookup = hash_lookup;
    ops.remove = hash_remove;
    ops.next_key = hash_next_key;
    ops.lookup_and_remove = per_cpu_hash_lookup_and_remove;
    ops.for_each = hash_for_each;
    ops.value_start = per_cpu_hash_value_start;
    ops.sweep = hash_sweep;
    ops.usage = hash_usage;
    ops.slot_distance = slot_bytes;
    ops.update_slot = per_cpu_hash_update;
    ops.batch = kBatchLookup | kBatchUpdate | kBatchDelete | kBatchLookupAndDelete;
    return ops;
}

}  // namespace

const MapOps per_cpu_hash_ops = make_per_cpu_ops();

const MapOps hash_ops = {
    .name = "hash",
    .holds_task_work = true,
    .check = hash_check,
    .init = hash_init,
    .destroy = hash_destroy,
    .lookup = hash_lookup,
    .update = hash_update,
    .remove = hash_remove,
    .next_key = hash_next_key,
    .lookup_and_remove = hash_lookup_and_remove,
    .for_each = hash_for_each,
    .key_of = hash_key_of,
    .value_start = hash_value_start,
    .direct_values = nullptr,
    .cancel_all = hash_cancel_all,
    .sweep = hash_sweep,
    .usage = hash_usage,
    .push = nullptr,
    .pop = nullptr,
    .peek = nullptr,
    .slot_distance = nullptr,
    .update_slot = nullptr,
    .copy = nullptr,
    .users_left = nullptr,
    .batch = kBatchLookup | kBatchUpdate | kBatchDelete | kBatchLookupAndDelete,
};

}  // namespace taskwork::map
