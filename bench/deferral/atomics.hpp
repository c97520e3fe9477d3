// SPDX-License-Identifier: Apache-2.0
//
// How many atomic read-modify-writes does a piece of code execute? Counted in the machine code that
// runs, by the processor's trap flag, so that the floor follows the code.
#pragma once

#include <cstdint>
#include <string>

#include "report.hpp"

namespace taskwork::bench {

struct AtomicCounts {
    std::uint64_t compare_exchanges = 0;  ///< lock cmpxchg, cmpxchg16b
    std::uint64_t others = 0;             ///< lock anything else, xchg with memory, mfence
    std::uint64_t clock_reads = 0;        ///< rdtsc, rdtscp
    std::uint64_t system_calls = 0;
    std::uint64_t instructions = 0;
    [[nodiscard]] std::uint64_t total() const { return compare_exchanges + others; }
    [[nodiscard]] std::string text() const;
};

/// Runs body(argument) once, an instruction at a time. A first call warms nothing up: call the body
/// before. Context: task.
AtomicCounts count_atomics(void (*body)(void* argument), void* argument);

/// Registers the floor "<so many atomics>": as many uncontended read-modify-writes of the same
/// kinds on lines that the processor has. Returns the benchmark's name; equal counts share one.
/// Context: task.
std::string atomics_floor(const AtomicCounts& counts);

}  // namespace taskwork::bench
