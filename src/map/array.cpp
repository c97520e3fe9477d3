// SPDX-License-Identifier: Apache-2.0
//
// BPF_MAP_TYPE_ARRAY: all values in one zeroed block, page-aligned and a whole number of pages, so
// that it can be mapped (BPF_F_MMAPABLE, and the .data, .rodata and .bss sections of an object).
// Elements exist from the beginning and never go away: an update writes in place and then cancels
// the element's work (K86), a deletion is refused (K88).
//
// BPF_MAP_TYPE_PERCPU_ARRAY: one such block for each processor, behind each other.
#include <linux/bpf.h>

#include <climits>

#include "map/array.hpp"
#include "map/map_ops.hpp"
#include "sync/arena.hpp"

namespace taskwork::map {

namespace {

constexpr std::size_t kPage = 4096;

std::size_t stride(const Map& map) noexcept { return round_up_8(map.value_size); }
std::byte* value_at(const Map& map, std::uint32_t index) noexcept {
    return static_cast<std::byte*>(map.impl) + index * stride(map);
}
constexpr std::uint32_t kCommonFlags = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY;
constexpr std::uint32_t kProgramFlags = BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG;

std::errc array_check(const MapSpec& spec, std::string* why) {
    return check_array(spec, kCommonFlags | kProgramFlags | BPF_F_MMAPABLE | BPF_F_INNER_MAP, why);
}

std::size_t block_bytes(const Map& map) noexcept {
    return (map.max_entries * stride(map) + kPage - 1) & ~(kPage - 1);
}

std::errc array_init(Map& map) { return allocate_impl(map, block_bytes(map), kPage); }

void array_destroy(Map& map) noexcept { sync::Arena::release(map.impl, map.impl_bytes); }

void* array_lookup(Map& map, const void* key) noexcept {
    const std::uint32_t index = index_of(key);
    return index < map.max_entries ? value_at(map, index) : nullptr;
}

std::errc array_update(Map& map, const void* key, const void* value, std::uint64_t flags) noexcept {
    if ((flags & ~std::uint64_t{BPF_F_LOCK}) > BPF_EXIST) {
        return std::errc::invalid_argument;
    }
    const std::uint32_t index = index_of(key);
    if (index >= map.max_entries) {
        return std::errc::argument_list_too_long;
    }
    if ((flags & BPF_NOEXIST) != 0) {
        return std::errc::file_exists;
    }
    std::byte* const into = value_at(map, index);
    if ((flags & BPF_F_LOCK) != 0) {
        if (map.fields.spin_lock == kNoField) {
            return std::errc::invalid_argument;
        }
        if (const std::errc error = lock_value(map, into); error != no_error) {
            return error;
        }
        copy_value_in(map, into, value);
        unlock_value(map, into);
    } else {
        copy_value_in(map, into, value);
    }
    if (defer::Slot* slot = task_work_slot(map, into)) {
        defer::cancel(*slot);
    }
    return no_error;
}

std::errc array_remove(Map&, const void*) noexcept { return std::errc::invalid_argument; }

long array_for_each(Map& map, ElementFunction function, void* argument) noexcept {
    for (std::uint32_t index = 0; index < map.max_entries; ++index) {
        const std::uint32_t key = index;
        if (function(&key, value_at(map, index), argument) != 0) {
            return static_cast<long>(index) + 1;
        }
    }
    return map.max_entries;
}

std::uintptr_t array_value_start(const Map& map, std::uintptr_t address) noexcept {
    const auto base = reinterpret_cast<std::uintptr_t>(map.impl);
    if (address < base || address - base >= map.max_entries * stride(map)) {
        return 0;
    }
    const std::size_t inside = (address - base) % stride(map);
    return inside < map.value_size ? address - inside : 0;
}

const void* array_key_of(const Map& map, std::uintptr_t value, std::uint32_t* index) noexcept {
    const std::uintptr_t start = array_value_start(map, value);
    if (start == 0) {
        return nullptr;
    }
    *index = static_cast<std::uint32_t>((start - reinterpret_cast<std::uintptr_t>(map.impl)) /
                                        stride(map));
    return index;
}

std::errc array_direct_values(const Map& map, void** base, std::size_t* bytes) noexcept {
    *base = map.impl;
    *bytes = map.impl_bytes;
    return no_error;
}

void array_cancel_all(Map& map) noexcept {
    for (std::uint32_t index = 0; index < map.max_entries; ++index) {
        defer::cancel(*task_work_slot(map, value_at(map, index)));
    }
}

Usage array_usage(const Map& map) noexcept {
    Usage usage;
    usage.elements = map.max_entries;
    usage.bytes = map.impl_bytes;
    return usage;
}

// ---- A slot for each processor ------------------------------------------------------------------

std::errc per_cpu_array_check(const MapSpec& spec, std::string* why) {
    const std::uint32_t flags = (kCommonFlags & ~BPF_F_NUMA_NODE) | kProgramFlags;
    const std::errc error = check_array(spec, flags, why);
    return error == no_error ? check_slot_size(spec, why) : error;
}

std::errc per_cpu_array_init(Map& map) {
    return allocate_impl(map, block_bytes(map) * MapTable::get().processors.count(), kPage);
}

std::errc per_cpu_array_update(Map& map, const void* key, const void* value, std::uint64_t flags,
                               std::uint32_t processor) noexcept {
    if (flags > BPF_EXIST) {
        return std::errc::invalid_argument;
    }
    const std::uint32_t index = index_of(key);
    if (index >= map.max_entries) {
        return std::errc::argument_list_too_long;
    }
    if (flags == BPF_NOEXIST) {
        return std::errc::file_exists;
    }
    std::byte* const first = value_at(map, index);
    if (processor != kEveryProcessor) {
        copy_bytes(slot_of(map, first, processor), value, map.value_size);
        return no_error;
    }
    for (std::uint32_t i = 0; i < MapTable::get().processors.count(); ++i) {
        // What lies between the values as well, as by the kernel.
        copy_bytes(slot_of(map, first, i), static_cast<const std::byte*>(value) + i * stride(map),
                   stride(map));
    }
    return no_error;
}

std::uintptr_t per_cpu_array_value_start(const Map& map, std::uintptr_t address) noexcept {
    const auto base = reinterpret_cast<std::uintptr_t>(map.impl);
    if (address < base || address - base >= map.impl_bytes) {
        return 0;
    }
    const std::size_t in_block = (address - base) % block_bytes(map);
    const std::size_t inside = in_block % stride(map);
    return in_block < map.max_entries * stride(map) && inside < map.value_size ? address - inside
                                                                               : 0;
}

/// What both have.
constexpr MapOps make_common_ops(const char* name) noexcept {
    MapOps ops{};
    ops.name = name;
    ops.destroy = array_destroy;
    ops.lookup = array_lookup;
    ops.remove = array_remove;
    ops.next_key = index_next_key;
    ops.for_each = array_for_each;
    ops.usage = array_usage;
    ops.batch = kBatchLookup | kBatchUpdate;
    return ops;
}

constexpr MapOps make_per_cpu_ops() noexcept {
    MapOps ops = make_common_ops("percpu_array");
    ops.check = per_cpu_array_check;
    ops.init = per_cpu_array_init;
    ops.value_start = per_cpu_array_value_start;
    ops.slot_distance = block_bytes;
    ops.update_slot = per_cpu_array_update;
    return ops;
}

constexpr MapOps make_ops() noexcept {
    MapOps ops = make_common_ops("array");
    ops.holds_slots = true;
    ops.holds_spin_lock = true;
    ops.check = array_check;
    ops.init = array_init;
    ops.update = array_update;
    ops.key_of = array_key_of;
    ops.value_start = array_value_start;
    ops.direct_values = array_direct_values;
    ops.cancel_all = array_cancel_all;
    return ops;
}

}  // namespace

const MapOps array_ops = make_ops();
const MapOps per_cpu_array_ops = make_per_cpu_ops();

std::errc check_array(const MapSpec& spec, std::uint32_t flags, std::string* why) {
    if (spec.max_entries == 0) {
        *why = "max_entries is 0";
        return std::errc::invalid_argument;
    }
    if (spec.key_size != sizeof(std::uint32_t)) {
        *why = "the key of an array has 4 bytes, not " + std::to_string(spec.key_size);
        return std::errc::invalid_argument;
    }
    if (spec.value_size == 0) {
        *why = "value_size is 0";
        return std::errc::invalid_argument;
    }
    if ((spec.flags & ~flags) != 0) {
        *why = "flags that this kind of array does not have";
        return std::errc::invalid_argument;
    }
    if ((spec.flags & kProgramFlags) == kProgramFlags) {
        *why = "BPF_F_RDONLY_PROG and BPF_F_WRONLY_PROG exclude each other";
        return std::errc::invalid_argument;
    }
    if (spec.value_size > INT_MAX) {
        *why = "value_size is above " + std::to_string(INT_MAX);
        return std::errc::argument_list_too_long;
    }
    return no_error;
}

std::errc check_descriptor_array(const MapSpec& spec, std::uint32_t more_flags, std::string* why) {
    if (spec.value_size != sizeof(std::uint32_t)) {
        *why = "the value of an array of descriptors has 4 bytes";
        return std::errc::invalid_argument;
    }
    return check_array(spec, kCommonFlags | more_flags, why);
}

std::errc index_next_key(Map& map, const void* key, void* next) noexcept {
    std::uint32_t index = key == nullptr ? UINT32_MAX : index_of(key);
    if (index == map.max_entries - 1) {
        return std::errc::no_such_file_or_directory;
    }
    index = index >= map.max_entries ? 0 : index + 1;
    copy_bytes(next, &index, sizeof(index));
    return no_error;
}

std::errc may_put_at(const Map& map, const void* key, std::uint64_t flags) noexcept {
    if (flags != BPF_ANY) {
        return std::errc::invalid_argument;
    }
    return index_of(key) < map.max_entries ? no_error : std::errc::argument_list_too_long;
}

std::errc allocate_impl(Map& map, std::size_t bytes, std::size_t alignment) noexcept {
    std::errc why = std::errc::not_enough_memory;
    map.impl = sync::Arena::allocate(bytes, alignment, &why);
    map.impl_bytes = bytes;
    return map.impl == nullptr ? why : no_error;
}

}  // namespace taskwork::map
