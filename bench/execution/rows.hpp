// SPDX-License-Identifier: Apache-2.0
//
// What is compared: a program of programs.bpf.c each, whose context is a Run; it does something so
// many times and says how long that took. The native twin of the same source has the same name.
#pragma once

#include <cstdint>

namespace taskwork::bench {

/// As `struct run` of bodies.h.
struct Run {
    std::uint64_t ns = 0;
    std::uint32_t thread = 0;
    std::uint32_t done = 0;  ///< Operations that did what they were to.
};

struct Subject {
    const char* name;
    const char* program;
    std::uint32_t operations;
    const char* before = nullptr;  ///< A program to be run before each run.
    bool in_threads = false;       ///< 2 to 4 threads as well, each with its own keys.
    double ns_max = 0;             ///< Goal besides the kernel's.
    bool is_of_event = false;      ///< What a program of an event may do; it fills the map `times`.
};

/// Those that are measured in other ways (side_main.cpp), by their programs' names.
inline constexpr const char* kEmpty = "empty";
inline constexpr const char* kLoad = "load";

inline constexpr Subject kSubjects[] = {
    {"empty program", kEmpty, 1},
    {"8 independent operations", "independent_arithmetic", 1000},
    {"8 dependent operations", "dependent_arithmetic", 1000},
    {"stack word, stored and loaded", "stack_words", 1600},
    {"bpf_get_current_pid_tgid", "helper_calls", 1000, nullptr, true, 2.5},
    {"bpf_get_current_uid_gid", "user_ids", 1000, nullptr, true, 2.5},
    {"bpf_get_smp_processor_id", "processor_ids", 1000},
    {"bpf_get_current_task", "current_tasks", 1000},
    {"array, lookup", "array_lookup", 1000, nullptr, true},
    {"array, lookup outside", "array_lookup_outside", 1000},
    {"array, update", "array_update", 1000, nullptr, true},
    {"hash, lookup", "hash_lookup", 1000, nullptr, true},
    {"hash, lookup, absent", "hash_lookup_absent", 1000},
    {"hash, update", "hash_update", 256, nullptr, true},
    {"hash, insertion", "hash_insert", 256, "hash_delete", true},
    {"hash, deletion", "hash_delete", 256, "hash_insert", true},
    {"hash, deletion, absent", "hash_delete_absent", 256},
    {"LRU hash, lookup", "lru_lookup", 1000, nullptr, true},
    {"LRU hash, lookup, absent", "lru_lookup_absent", 1000},
    {"LRU hash, update", "lru_update", 256, nullptr, true},
    {"LRU hash, insertion that evicts", "lru_evict", 256},
    {"ring buffer, 16 bytes", "ring_submit", 256},
    {"string of 40 bytes", "string_copy", 200},
    {"bpf_loop, a round", "loop_rounds", 1000},
    {"call of a function", "function_calls", 1000},
    {"atomic fetch and add", "atomic_add", 1000, nullptr, true},
    {"compare and exchange", "atomic_exchange", 1000},
    {"stack of 16 frames", "stack_walks", 100, nullptr, false, 0, true},
    {"tail call", "tail_calls", 33, nullptr, false, 0, true},
    {"load of 20 instructions", kLoad, 1, nullptr, false, 1e6},
};

}  // namespace taskwork::bench
