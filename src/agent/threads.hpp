// SPDX-License-Identifier: Apache-2.0
//
// Births and deaths of the application's threads, and its forks.
//
// pthread_create and thrd_create of the application start the thread through us. Threads that libc
// makes for itself (timers with SIGEV_THREAD, asynchronous I/O, name look-ups) and raw clone are
// not seen; libc blocks all signals in its own. vfork and posix_spawn are left alone.
#pragma once

#include <pthread.h>
#include <system_error>
#include <threads.h>

namespace taskwork::agent {

struct ThreadHooks {
    /// In the new thread, before the application's function. Context: task.
    void (*started)() noexcept;
    /// In a thread that ends (return, pthread_exit, cancellation), in the last round of destructors
    /// of thread-specific data; those of the application that come later in that round are not
    /// covered. Context: task.
    void (*exiting)() noexcept;
    /// In the child of fork or _Fork, on its only thread, once. Context: task; async-signal-safe,
    /// for _Fork may be called in a handler.
    void (*forked_child)() noexcept;
    /// When exit() or the end of main() takes the process down, on the thread that does it; other
    /// threads still run. Context: task.
    void (*process_exiting)() noexcept;
};

/// Puts the hooks in force, the calling thread's `exiting` included. Its `started` is not called.
/// Errors: EAGAIN (no key for thread-specific data), ENOMEM.
/// Context: task. Once, at start.
std::errc install_thread_hooks(const ThreadHooks& hooks) noexcept;

/// pthread_create(3) for the application. EAGAIN also when there is no memory for the argument.
/// Context: task.
int application_pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                               void* (*function)(void*), void* argument) noexcept;

/// thrd_create(3) for the application.
/// Context: task.
int application_thrd_create(thrd_t* thread, thrd_start_t function, void* argument) noexcept;

/// _Fork(3) for the application.
/// Context: any.
pid_t application_fork_without_hooks() noexcept;

/// Tells that the process exits.
/// Context: task.
void application_exiting() noexcept;

}  // namespace taskwork::agent
