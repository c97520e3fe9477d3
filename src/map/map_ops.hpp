// SPDX-License-Identifier: Apache-2.0
//
// What a kind of map implements. The table of a kind is found by the map's type: pointers to
// functions are of one process, so none is ever stored in the arena.
#pragma once

#include <string>

#include "map/map.hpp"

namespace taskwork::map {

using ElementFunction = long (*)(const void* key, void* value, void* argument) noexcept;

/// Entries that a kind does not have are nullptr; map.cpp gives the kernel's error for them.
/// Contexts are those of the functions of map.hpp that they serve.
struct MapOps {
    const char* name;
    bool holds_slots;      ///< Whether values may have a task-work slot, a timer, a work queue.
    bool holds_spin_lock;  ///< Whether values may have a spin lock.

    /// MAP_CREATE's checks of sizes and flags, in the kernel's order; `why` says what was wrong.
    std::errc (*check)(const MapSpec& spec, std::string* why);
    /// Makes the kind's state; map.impl and map.impl_bytes on success. Errors: not_enough_memory.
    std::errc (*init)(Map& map);
    /// Gives it all back. Nobody can reach the map any more.
    void (*destroy)(Map& map) noexcept;

    void* (*lookup)(Map& map, const void* key) noexcept;
    /// If that of a user is another: one that is no reference to the element.
    void* (*lookup_by_user)(Map& map, const void* key) noexcept;
    std::errc (*update)(Map& map, const void* key, const void* value, std::uint64_t flags) noexcept;
    std::errc (*remove)(Map& map, const void* key) noexcept;
    std::errc (*next_key)(Map& map, const void* key, void* next) noexcept;
    std::errc (*lookup_and_remove)(Map& map, const void* key, void* out,
                                   std::uint64_t flags) noexcept;
    long (*for_each)(Map& map, ElementFunction function, void* argument) noexcept;

    const void* (*key_of)(const Map& map, std::uintptr_t value, std::uint32_t* index) noexcept;
    /// Start of the value that holds `address`, 0 if none does.
    std::uintptr_t (*value_start)(const Map& map, std::uintptr_t address) noexcept;
    std::errc (*direct_values)(const Map& map, void** base, std::size_t* bytes) noexcept;

    /// Cancels the works of all elements, reachable or not.
    void (*cancel_all)(Map& map) noexcept;
    void (*sweep)(Map& map, std::uint16_t dead_owner) noexcept;
    Usage (*usage)(const Map& map) noexcept;

    /// Kinds without keys: bpf_map_push_elem, bpf_map_pop_elem, bpf_map_peek_elem.
    std::errc (*push)(Map& map, const void* value, std::uint64_t flags) noexcept;
    std::errc (*pop)(Map& map, void* out) noexcept;
    std::errc (*peek)(Map& map, void* value) noexcept;

    /// Per-CPU kinds; what the others are given and return is then the slot of processor 0, and
    /// `update` is not there. Bytes from a slot to the next processor's.
    std::size_t (*slot_distance)(const Map& map) noexcept;
    /// Of one slot; of all, if `processor` is kEveryProcessor: `value` has one for each then.
    std::errc (*update_slot)(Map& map, const void* key, const void* value, std::uint64_t flags,
                             std::uint32_t processor) noexcept;

    /// Copies a value out for a user, of kinds whose values no program gets.
    std::errc (*copy)(Map& map, const void* key, void* out) noexcept;

    /// The last user has gone; besides cancel_all().
    void (*users_left)(Map& map) noexcept;

    /// Batch commands that the kind has, of the BatchCommand bits.
    unsigned batch;
};

enum BatchCommand : unsigned {
    kBatchLookup = 1,
    kBatchUpdate = 2,
    kBatchDelete = 4,
    kBatchLookupAndDelete = 8,
};

extern const MapOps array_ops;
extern const MapOps hash_ops;
extern const MapOps ring_buffer_ops;
extern const MapOps per_cpu_array_ops;
extern const MapOps per_cpu_hash_ops;
extern const MapOps lru_hash_ops;
extern const MapOps per_cpu_lru_hash_ops;
extern const MapOps array_of_maps_ops;
extern const MapOps hash_of_maps_ops;
extern const MapOps stack_trace_ops;
extern const MapOps program_array_ops;
extern const MapOps perf_event_array_ops;
extern const MapOps queue_ops;
extern const MapOps stack_ops;
extern const MapOps bloom_filter_ops;
extern const MapOps lpm_trie_ops;

/// Whether the slots of a per-CPU value are small enough. Errors: argument_list_too_long.
/// Context: task.
std::errc check_slot_size(const MapSpec& spec, std::string* why);

/// nullptr for a type that we do not have.
/// Context: any.
const MapOps* ops_of(std::uint32_t type) noexcept;

}  // namespace taskwork::map
