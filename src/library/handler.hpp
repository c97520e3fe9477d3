// SPDX-License-Identifier: Apache-2.0
//
// The library's handler of SIGURG, and the waits that it interrupts.
#pragma once

#include <csignal>
#include <cstdint>
#include <system_error>

#include "base/context.hpp"
#include "library/domain.hpp"

namespace taskwork::library {

/// Takes SIGURG over; what is not ours goes on to the handler that was there. Idempotent, also in a
/// forked child. Errors: as sigaction(2).
/// Context: task.
TW_TASK_ONLY std::errc install_handler() noexcept;

/// Nesting of HandlerScopes on threads that are not registered.
/// Context: any (own thread).
unsigned& foreign_handler_depth() noexcept;

/// Has the thread's resume-mode kicks closed and its descriptors forgotten.
/// Context: irq.
void forget_kick(task::Task& task) noexcept;
/// Brings a thread that computes to a run point without disturbing a wait: by a one-shot perf event
/// that fires in user mode only. Where perf events are forbidden it does nothing: the thread's next
/// run point comes by itself.
/// Context: irq.
void kick(task::Task& task) noexcept;
/// The same, if the worker has kicked it before; false: it has to. The caller is inside a brief
/// section. Context: any. One system call.
bool kick_now(task::Task& task) noexcept;
/// Whether the signal is such an event of the thread.
/// Context: nmi.
bool is_kick(const task::Task& task, const siginfo_t& info) noexcept;

/// Moves the interrupted code out of a futex wait that it was about to begin, if there is something
/// for its safe point.
/// Context: nmi.
void leave_wait(task::Task& task, void* ucontext) noexcept;

}  // namespace taskwork::library
