// SPDX-License-Identifier: Apache-2.0
//
// The handlers of the preload library: one for kSignal, which serves perf events and task-work
// notifications, and one for SIGSEGV and SIGBUS, which recovers faults of our own reads of user
// memory. What is ours is decided by two hooks, so that this part knows nothing of the layers that
// serve it; what is not ours reaches the application as if we were not there:
//
//   kSignal          on_signal says no: the application's handler runs with its mask, SA_SIGINFO,
//                    SA_RESETHAND and SA_NODEFER obeyed; if it believes the signal blocked, it
//                    waits, as it does while one of ours is served. Not obeyed: SA_ONSTACK (our
//                    handler is on the current stack already), absence of SA_RESTART (system calls
//                    are restarted). A foreign signal that meets one of ours still pending
//                    coalesces with it, as standard signals do.
//   SIGSEGV, SIGBUS  on_fault says no: handler, or death by the default action. SIG_IGN ignores
//   what
//                    was sent by a process; a real fault kills then too, as the kernel has it.
//
// The handler for kSignal runs on the current stack, with SA_RESTART, nestable by kSignal itself
// (the hook drops nested events), everything else but the synchronous faults blocked. If the
// interrupted code had SIGSEGV or SIGBUS blocked, they are opened first: a fault of our own would
// kill the program otherwise.
#pragma once

#include <csignal>
#include <system_error>

#include "agent/kernel_signal.hpp"

namespace taskwork::agent {

struct SignalHooks {
    /// Serves kSignal; true if this one was ours. It looks for its own work in any case, for
    /// signals coalesce. Context: nmi.
    bool (*on_signal)(int signal, siginfo_t* info, void* ucontext) noexcept;
    /// Whether a kSignal is one of ours, without serving it. Context: any.
    bool (*is_ours)(const siginfo_t& info) noexcept;
    /// Whether a filter may kill for system calls, so that none may be made that can be left out.
    /// Context: any.
    bool (*is_quiet)() noexcept;
    /// Recovers a fault of ours by changing the context; true if it did. Context: nmi.
    bool (*on_fault)(int signal, siginfo_t* info, void* ucontext) noexcept;
};

/// Installs the handlers and takes over the dispositions; from here on the replaced libc functions
/// are in force. A mask that blocks kSignal in the calling thread is taken as the application's
/// wish. Errors: EALREADY when done before; as sigaction(2). Context: task. Once, at start, from
/// the only thread.
std::errc install_handlers(const SignalHooks& hooks) noexcept;

/// Whether a kSignal that was taken past the handler is one of ours.
/// Context: any. After install_handlers.
bool is_own_signal(const siginfo_t& info) noexcept;

/// Called at the end of a handler of ours that the application is not to notice: if the context
/// shows one of libc's waits, interrupted, and nothing else will interrupt it, the wait goes on.
/// Where system calls are to be left out it goes on in any case, as if what else has come had come
/// shortly before it.
/// The handler that install_handlers installs does so itself. Context: nmi. Cheap unless a wait was
/// interrupted; then one system call, or a few.
void note_interrupted_wait(const ucontext_t* context) noexcept;

}  // namespace taskwork::agent
