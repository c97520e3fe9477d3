// SPDX-License-Identifier: Apache-2.0
//
// A step: one access of explored code to what others can see. The code parks before it; the
// explorer says who goes next.
#pragma once

#include <atomic>
#include <cstdint>

namespace explore {

enum class Kind : std::uint8_t {
    none,
    // Of memory.
    load,
    store,
    exchange,
    compare_exchange,
    add,
    sub,
    bit_or,
    bit_and,
    exchange_part,  ///< Of some bytes of a word: those that `expected` has set.
    compare_exchange_pair,
    plain_load,
    plain_store,
    // Of the machine and the system.
    fence,
    membarrier,
    notify,
    futex_wait,
    futex_wake,
    is_gone,
    // Of the explorer.
    resume,      ///< A blocked call returns.
    await_rest,  ///< Blocks until nothing else can move.
    forget,      ///< End of an operation: what the actor has read before no longer matters.
    end,         ///< The thread ends.
};

/// One step of the calling actor. Returns the value read, or found by a read-modify-write.
/// Outside explored code (set-up, checks at the end) it happens at once.
std::uint64_t step(Kind kind, const void* address, unsigned size, std::memory_order order,
                   std::uint64_t operand = 0, std::uint64_t expected = 0) noexcept;

/// The second word of a step on two neighbouring ones.
struct HighWord {
    std::uint64_t operand;
    std::uint64_t expected;
    std::uint64_t found;
};
/// A compare-exchange of the two words at `address`, in one step. Returns the first word found.
std::uint64_t step_pair(const void* address, std::uint64_t operand, std::uint64_t expected,
                        HighWord& high) noexcept;

/// A lock of the host is wanted while another actor has it.
void contended_lock() noexcept;

}  // namespace explore
