// SPDX-License-Identifier: Apache-2.0
//
// Behind safe_point(): the word that it looks at, and the descriptor that brings a loop to it.
#pragma once

#include <atomic>
#include <cstdint>

#include "task/task.hpp"

namespace taskwork::library {

/// Not zero when a safe point of the thread has something to do.
/// Context: any.
const std::atomic<std::uint64_t>& attention_word(const task::Task& task) noexcept;

/// Makes the calling thread's safe points look at its task; at none.
/// Context: task.
void set_attention(const task::Task& task) noexcept;
/// Context: any (own thread).
void forget_attention() noexcept;
[[nodiscard]] bool has_attention() noexcept;

/// Makes the task's event descriptor readable, if it has one; not readable.
/// Context: any. At most one system call.
bool raise_event(task::Task& task) noexcept;
void lower_event(task::Task& task) noexcept;
/// Nobody can raise it any more.
/// Context: any.
void close_event_descriptor(task::Task& task) noexcept;

}  // namespace taskwork::library
