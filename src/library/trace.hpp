// SPDX-License-Identifier: Apache-2.0
//
// The ring of the transition trace. A writer takes a number, invalidates the slot, fills it, and
// publishes the number last; a reader believes a slot whose number is the expected one before and
// after it has read.
#pragma once

#include <atomic>
#include <cstdint>

#include "defer/transition.hpp"

namespace taskwork::library {

struct Record {
    std::atomic<std::uint64_t> number;  ///< 1 + which record; 0: being written.
    std::atomic<std::uint64_t> ns;
    std::atomic<std::uint64_t> work;     ///< {arena index : 32, round : 32}
    std::atomic<std::uint64_t> threads;  ///< {who did it : 32, target : 32}
    std::atomic<std::uint64_t> callable;
    std::atomic<std::uint64_t> transition;
};
static_assert(sizeof(Record) == 48);

struct Sample {
    std::uint64_t ns;
    std::uint32_t work;
    std::uint32_t round;
    std::int32_t thread;
    std::int32_t target;
    std::uint64_t callable;  ///< Address of the function that invokes it.
    defer::Transition transition;
};

/// Oldest first.
/// Context: task.
void for_each_record(void (*function)(void* argument, const Sample& sample), void* argument);

}  // namespace taskwork::library
