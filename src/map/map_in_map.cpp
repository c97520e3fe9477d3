// SPDX-License-Identifier: Apache-2.0
#include "map/map_in_map.hpp"

#include <linux/bpf.h>

#include "map/array.hpp"
#include "map/hash_table.hpp"
#include "sync/arena.hpp"

namespace taskwork::map {

namespace {

/// Address of a map; 0: none.
using Cell = platform::Atomic<std::uint64_t>;

/// Users are one at a time here; nobody else changes an outer map.
platform::Mutex changes;

struct Change {
    Change() noexcept { changes.lock(); }
    ~Change() { changes.unlock(); }
    Change(const Change&) = delete;
    Change& operator=(const Change&) = delete;
};

Map* map_in(const Cell& cell) noexcept {
    // Acquire: pairs with the release of what put it there; the map is whole.
    return reinterpret_cast<Map*>(cell.load(std::memory_order_acquire));
}
void put_if_any(Map* inner) noexcept {
    if (inner != nullptr) {
        put_reference(*inner);
    }
}

/// What both kinds ask of a creation behind the rules of array and hash.
std::errc check_inner(const MapSpec& spec, std::string* why) {
    if (spec.inner == nullptr) {
        *why = "it needs a map to be made with";
        return std::errc::bad_file_descriptor;
    }
    if (is_outer(*spec.inner)) {
        *why = "maps of maps of maps are not possible";
        return std::errc::invalid_argument;
    }
    if (spec.inner->type == BPF_MAP_TYPE_PROG_ARRAY) {
        *why = "a map of this type cannot be an element";
        return errc_kernel_notsupp;
    }
    return no_error;
}

// ---- Array
// ---------------------------------------------------------------------------------------

Cell* cells(const Map& map) noexcept { return static_cast<Cell*>(map.impl); }

std::errc array_check(const MapSpec& spec, std::string* why) {
    const std::errc error = check_descriptor_array(spec, 0, why);
    return error == no_error ? check_inner(spec, why) : error;
}

std::errc array_init(Map& map) {
    return allocate_impl(map, (map.max_entries * sizeof(Cell) + 63) & ~std::size_t{63}, 64);
}

void array_destroy(Map& map) noexcept {
    for (std::uint32_t index = 0; index < map.max_entries; ++index) {
        put_if_any(map_in(cells(map)[index]));
    }
    sync::Arena::release(map.impl, map.impl_bytes);
}

void* array_lookup(Map& map, const void* key) noexcept {
    const std::uint32_t index = index_of(key);
    return index < map.max_entries ? map_in(cells(map)[index]) : nullptr;
}

Map* exchange(Map& map, std::uint32_t index, Map* inner) noexcept {
    return reinterpret_cast<Map*>(cells(map)[index].exchange(reinterpret_cast<std::uint64_t>(inner),
                                                             std::memory_order_acq_rel));
}

std::errc array_remove(Map& map, const void* key) noexcept {
    const std::uint32_t index = index_of(key);
    if (index >= map.max_entries) {
        return std::errc::argument_list_too_long;
    }
    Map* const old = exchange(map, index, nullptr);
    put_if_any(old);
    return old == nullptr ? std::errc::no_such_file_or_directory : no_error;
}

Usage array_usage(const Map& map) noexcept {
    Usage usage;
    for (std::uint32_t index = 0; index < map.max_entries; ++index) {
        usage.elements += map_in(cells(map)[index]) != nullptr ? 1U : 0U;
    }
    usage.bytes = map.impl_bytes;
    return usage;
}

constexpr MapOps make_array_ops() noexcept {
    MapOps ops{};
    ops.name = "array_of_maps";
    ops.check = array_check;
    ops.init = array_init;
    ops.destroy = array_destroy;
    ops.lookup = array_lookup;
    ops.remove = array_remove;
    ops.next_key = index_next_key;
    ops.usage = array_usage;
    ops.batch = kBatchLookup | kBatchUpdate;
    return ops;
}

// ---- Hash
// ----------------------------------------------------------------------------------------

HashTable& table_of(const Map& map) noexcept { return HashTable::of(map); }

std::errc hash_check(const MapSpec& spec, std::string* why) {
    if (spec.value_size != sizeof(std::uint32_t)) {
        *why = "the value of a map of maps has 4 bytes";
        return std::errc::invalid_argument;
    }
    const std::errc error = hash_ops.check(spec, why);
    return error == no_error ? check_inner(spec, why) : error;
}

std::errc hash_init(Map& map) { return HashTable::create(map, sizeof(Cell)); }

void hash_destroy(Map& map) noexcept {
    table_of(map).for_each(
        [](const void*, void* value, void*) noexcept {
            put_if_any(map_in(*static_cast<Cell*>(value)));
            return 0L;
        },
        nullptr);
    table_destroy(map);
}

void* hash_lookup(Map& map, const void* key) noexcept {
    Element* const found = table_of(map).find(key);
    return found == nullptr ? nullptr
                            : map_in(*reinterpret_cast<Cell*>(table_of(map).value_of(found)));
}

std::errc hash_put(Map& map, const void* key, Map& inner, std::uint64_t flags) noexcept {
    if (flags > BPF_EXIST) {
        return std::errc::invalid_argument;
    }
    const auto fill = [](const Map&, void* place, const HashWrite& write) noexcept {
        static_cast<Cell*>(place)->store(reinterpret_cast<std::uint64_t>(write.value),
                                         std::memory_order_relaxed);
    };
    return table_of(map).update({.key = key, .value = &inner, .flags = flags, .fill = fill});
}

std::errc hash_remove(Map& map, const void* key) noexcept {
    const Change change;
    auto* const old = static_cast<Map*>(hash_lookup(map, key));
    const std::errc error = table_of(map).remove(key, nullptr);
    if (error == no_error) {
        put_if_any(old);
    }
    return error;
}

std::errc hash_lookup_and_remove(Map& map, const void* key, void* out, std::uint64_t) noexcept {
    const Change change;
    auto* const old = static_cast<Map*>(hash_lookup(map, key));
    if (old == nullptr) {
        return std::errc::no_such_file_or_directory;
    }
    copy_bytes(out, &old->id, sizeof(old->id));
    const std::errc error = table_of(map).remove(key, nullptr);
    put_reference(*old);
    return error;
}

constexpr MapOps make_hash_ops() noexcept {
    MapOps ops = make_table_ops("hash_of_maps");
    ops.check = hash_check;
    ops.init = hash_init;
    ops.destroy = hash_destroy;
    ops.lookup = hash_lookup;
    ops.remove = hash_remove;
    ops.lookup_and_remove = hash_lookup_and_remove;
    return ops;
}

}  // namespace

const MapOps array_of_maps_ops = make_array_ops();
const MapOps hash_of_maps_ops = make_hash_ops();

InnerShape shape_of(const Map& map) noexcept {
    return {map.type, map.key_size, map.value_size, map.max_entries, map.flags, map.fields};
}

bool fits_into(const Map& inner, const InnerShape& shape) noexcept {
    InnerShape own = shape_of(inner);
    if (shape.type != BPF_MAP_TYPE_ARRAY || (shape.flags & BPF_F_INNER_MAP) != 0) {
        own.max_entries = shape.max_entries;
    }
    return own == shape;
}

std::errc may_put_inner(const Map& outer, const void* key, std::uint64_t flags) noexcept {
    return outer.type == BPF_MAP_TYPE_HASH_OF_MAPS ? no_error : may_put_at(outer, key, flags);
}

std::errc put_inner(Map& outer, const void* key, Map& inner, std::uint64_t flags) noexcept {
    if (const std::errc error = may_put_inner(outer, key, flags); error != no_error) {
        return error;
    }
    if (!fits_into(inner, outer.inner)) {
        return std::errc::invalid_argument;
    }
    get_reference(inner);
    Map* old = nullptr;
    if (outer.type == BPF_MAP_TYPE_ARRAY_OF_MAPS) {
        old = exchange(outer, index_of(key), &inner);
    } else {
        const Change change;
        old = find_inner(outer, key);
        const std::errc error = hash_put(outer, key, inner, flags);
        if (error != no_error) {
            put_reference(inner);
            return error;
        }
    }
    put_if_any(old);
    return no_error;
}

std::uint32_t inner_id(const void* place) noexcept {
    const Map* inner = map_in(*static_cast<const Cell*>(place));
    return inner == nullptr ? 0 : inner->id;
}

Map* find_inner(Map& outer, const void* key) noexcept {
    return static_cast<Map*>(lookup(outer, key));
}

}  // namespace taskwork::map
