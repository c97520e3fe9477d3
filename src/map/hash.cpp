// SPDX-License-Identifier: Apache-2.0
//
// BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_PERCPU_HASH and their LRU forms towards the rest of the map
// layer; the algorithm is hash_table.cpp. A per-CPU value is its slots, one behind the other. The
// kernel's rules for it: a program writes its processor's slot in place, or makes an element whose
// other slots are 0; a user writes all of them, in place as well. An element of the LRU forms is
// referenced by a lookup of a program and by an update that finds it, not by lookups and walks of
// users.
#include <linux/bpf.h>

#include "map/hash_table.hpp"
#include "sync/arena.hpp"

namespace taskwork::map {

namespace {

/// The kernel refuses elements that its allocator could not hold in one piece.
constexpr std::uint64_t kElementBytesMax = (std::uint64_t{4} << 20) - 48;

HashTable& table_of(const Map& map) noexcept { return HashTable::of(map); }

// ---- What is asked of a creation ----------------------------------------------------------------

std::errc check_access(const MapSpec& spec, std::string* why) {
    if ((spec.flags & BPF_F_RDONLY_PROG) != 0 && (spec.flags & BPF_F_WRONLY_PROG) != 0) {
        *why = "BPF_F_RDONLY_PROG and BPF_F_WRONLY_PROG exclude each other";
        return std::errc::invalid_argument;
    }
    return no_error;
}

std::errc check_entries(const MapSpec& spec, std::string* why) {
    if (const std::errc error = check_access(spec, why); error != no_error) {
        return error;
    }
    if (spec.max_entries == 0 || spec.key_size == 0 || spec.value_size == 0) {
        *why = "max_entries, key_size or value_size is 0";
        return std::errc::invalid_argument;
    }
    if (std::uint64_t{spec.key_size} + spec.value_size >= kElementBytesMax) {
        *why = "key and value are too large";
        return std::errc::argument_list_too_long;
    }
    return no_error;
}

std::errc refuse_flags(std::string* why) {
    *why = "flags that this kind of hash does not have";
    return std::errc::invalid_argument;
}

constexpr std::uint32_t kFlags = BPF_F_NO_PREALLOC | BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY |
                                 BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG | BPF_F_ZERO_SEED;

std::errc hash_check(const MapSpec& spec, std::string* why) {
    return (spec.flags & ~kFlags) != 0 ? refuse_flags(why) : check_entries(spec, why);
}

std::errc per_cpu_hash_check(const MapSpec& spec, std::string* why) {
    if ((spec.flags & BPF_F_NUMA_NODE) != 0) {
        return refuse_flags(why);
    }
    const std::errc error = hash_check(spec, why);
    return error == no_error ? check_slot_size(spec, why) : error;
}

std::errc check_lru(const MapSpec& spec, bool has_parts_of_processors, std::string* why) {
    if ((spec.flags & ~(kFlags | BPF_F_NO_COMMON_LRU)) != 0) {
        return refuse_flags(why);
    }
    if (const std::errc error = check_access(spec, why); error != no_error) {
        return error;
    }
    if ((spec.flags & BPF_F_NO_PREALLOC) != 0) {
        *why = "an LRU hash has all its elements from the beginning";
        return errc_kernel_notsupp;
    }
    if ((spec.flags & BPF_F_NUMA_NODE) != 0 && has_parts_of_processors) {
        return refuse_flags(why);
    }
    return check_entries(spec, why);
}

std::errc lru_hash_check(const MapSpec& spec, std::string* why) {
    return check_lru(spec, (spec.flags & BPF_F_NO_COMMON_LRU) != 0, why);
}

std::errc per_cpu_lru_hash_check(const MapSpec& spec, std::string* why) {
    const std::errc error = check_lru(spec, true, why);
    return error == no_error ? check_slot_size(spec, why) : error;
}

// ---- One value ----------------------------------------------------------------------------------

std::errc hash_init(Map& map) { return HashTable::create(map, map.value_size); }

void* hash_lookup(Map& map, const void* key) noexcept {
    Element* const element = table_of(map).find(key);
    return element == nullptr ? nullptr : table_of(map).value_of(element);
}
std::errc hash_update(Map& map, const void* key, const void* value, std::uint64_t flags) noexcept {
    if ((flags & ~std::uint64_t{BPF_F_LOCK}) > BPF_EXIST ||
        ((flags & BPF_F_LOCK) != 0 && map.fields.spin_lock == kNoField)) {
        return std::errc::invalid_argument;
    }
    const auto fill = [](const Map& of, void* place, const HashWrite& write) noexcept {
        copy_value_in(of, place, write.value);
    };
    return table_of(map).update({.key = key, .value = value, .flags = flags, .fill = fill});
}
std::errc hash_lookup_and_remove(Map& map, const void* key, void* out,
                                 std::uint64_t flags) noexcept {
    if ((flags & ~std::uint64_t{BPF_F_LOCK}) != 0) {
        return std::errc::invalid_argument;
    }
    return table_of(map).remove(key, out, copy_value_out, (flags & BPF_F_LOCK) != 0);
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

// ---- A slot for each processor ------------------------------------------------------------------

std::size_t slot_bytes(const Map& map) noexcept { return round_up_8(map.value_size); }
std::size_t slots_bytes(const Map& map) noexcept {
    return slot_bytes(map) * MapTable::get().processors.count();
}

/// Behind the slots writers are counted.
std::errc create_with_slots(Map& map, std::uint32_t lists) {
    return HashTable::create(map, slots_bytes(map) + sizeof(HashTable::Writers), lists,
                             slots_bytes(map));
}
std::errc per_cpu_hash_init(Map& map) { return create_with_slots(map, 0); }

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

// ---- LRU ----------------------------------------------------------------------------------------

/// As many lists as the flags ask for. Lists of their own have equally many elements each, so there
/// may be more in all than was asked for.
std::uint32_t make_lists(Map& map) noexcept {
    if ((map.flags & BPF_F_NO_COMMON_LRU) == 0) {
        return 1;
    }
    const std::uint32_t lists = MapTable::get().processors.count();
    const std::uint64_t rounded = (std::uint64_t{map.max_entries} + lists - 1) / lists * lists;
    map.max_entries = static_cast<std::uint32_t>(rounded > UINT32_MAX ? rounded - lists : rounded);
    return lists;
}

std::errc lru_hash_init(Map& map) {
    const std::uint32_t lists = make_lists(map);
    return HashTable::create(map, map.value_size, lists);
}

std::errc per_cpu_lru_hash_init(Map& map) {
    const std::uint32_t lists = make_lists(map);
    return create_with_slots(map, lists);
}

void* lru_hash_lookup(Map& map, const void* key) noexcept {
    Element* const element = table_of(map).find(key);
    if (element == nullptr) {
        return nullptr;
    }
    HashTable::reference(*element);
    return table_of(map).value_of(element);
}

std::errc lru_hash_update(Map& map, const void* key, const void* value,
                          std::uint64_t flags) noexcept {
    return flags > BPF_EXIST ? std::errc::invalid_argument : hash_update(map, key, value, flags);
}

// ---- The kinds ----------------------------------------------------------------------------------

constexpr MapOps make_ops(const char* name) noexcept {
    MapOps ops = make_table_ops(name);
    ops.holds_slots = true;
    ops.holds_spin_lock = true;
    ops.check = hash_check;
    ops.init = hash_init;
    ops.lookup = hash_lookup;
    ops.update = hash_update;
    ops.lookup_and_remove = hash_lookup_and_remove;
    ops.key_of = hash_key_of;
    ops.value_start = hash_value_start;
    ops.cancel_all = hash_cancel_all;
    return ops;
}

constexpr MapOps make_per_cpu_ops(const char* name) noexcept {
    MapOps ops = make_table_ops(name);
    ops.check = per_cpu_hash_check;
    ops.init = per_cpu_hash_init;
    ops.lookup = hash_lookup;
    ops.lookup_and_remove = per_cpu_hash_lookup_and_remove;
    ops.value_start = per_cpu_hash_value_start;
    ops.slot_distance = slot_bytes;
    ops.update_slot = per_cpu_hash_update;
    return ops;
}

constexpr MapOps make_lru_ops() noexcept {
    MapOps ops = make_ops("lru_hash");
    ops.holds_spin_lock = false;
    ops.check = lru_hash_check;
    ops.init = lru_hash_init;
    ops.lookup = lru_hash_lookup;
    ops.lookup_by_user = hash_lookup;
    ops.update = lru_hash_update;
    return ops;
}

constexpr MapOps make_per_cpu_lru_ops() noexcept {
    MapOps ops = make_per_cpu_ops("lru_percpu_hash");
    ops.check = per_cpu_lru_hash_check;
    ops.init = per_cpu_lru_hash_init;
    ops.lookup = lru_hash_lookup;
    ops.lookup_by_user = hash_lookup;
    return ops;
}

}  // namespace

const MapOps hash_ops = make_ops("hash");
const MapOps per_cpu_hash_ops = make_per_cpu_ops("percpu_hash");
const MapOps lru_hash_ops = make_lru_ops();
const MapOps per_cpu_lru_hash_ops = make_per_cpu_lru_ops();

}  // namespace taskwork::map
