// SPDX-License-Identifier: Apache-2.0
//
// Constructs: what programs may contain beyond numbers, memory and helpers. Each has rules of the
// verifier's own, so it is told how many accepted programs have it.
#pragma once

#include <array>
#include <cstdint>

#include "tests/fuzz/soundness/generator.hpp"

namespace taskwork::fuzz {

enum class Construct : std::uint8_t {
    may_goto,
    loop_at_first,  ///< Its head is the first instruction of a function.
    iterator,
    spin_lock,
    resilient_lock,
    work,
    reference,
    rcu,
    preempt,
    tail_call,
    sleeping,
};
inline constexpr std::array kConstructNames = {"may_goto",
                                               "loops at a first instruction",
                                               "iterators",
                                               "spin locks",
                                               "resilient locks",
                                               "task works",
                                               "task references",
                                               "RCU sections",
                                               "regions without preemption",
                                               "tail calls",
                                               "calls that may sleep"};

using ConstructCounts = std::array<std::uint64_t, kConstructNames.size()>;

/// Adds 1 for each that the program has.
void count_constructs(const Generated& program, ConstructCounts& counts);

}  // namespace taskwork::fuzz
