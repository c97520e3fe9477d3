// SPDX-License-Identifier: Apache-2.0
//
// Fibers: a switch of stacks inside one thread, by hand, for swapcontext makes a system call each
// time.
#pragma once

#include <cstddef>

namespace explore {

inline constexpr std::size_t kStackBytes = 64 * 1024;

/// Keeps the caller's registers on its stack, whose pointer goes to *from; goes on where `to` was
/// left.
void switch_stack(void** from, void* to) noexcept asm("explore_switch_stack");

/// A stack on which the first switch calls entry(argument).
void* prepare_stack(std::byte* top, void (*entry)(unsigned), unsigned argument) noexcept;

}  // namespace explore
