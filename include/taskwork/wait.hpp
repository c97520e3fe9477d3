// SPDX-License-Identifier: Apache-2.0
//
// Waits that a work interrupts. What a loop does by hand,
//
//     safe_point();           // nothing to do
//                             // <-- a work scheduled here would be noticed after the wait only
//     poll(...);
//
// these do without the gap: they return with EINTR, at once or out of the wait, if something is
// pending for the calling thread that safe_point() would run. They run no callback declared
// at_safe_point themselves: the caller goes through its safe point and waits again.
//
// What is scheduled in signal mode interrupts the wait. What is scheduled in resume mode before the
// wait begins is seen too; later it does not disturb (have the descriptor of event_descriptor()
// polled for that).
//
// ppoll and epoll_pwait are closed by the kernel's own means, the signal mask that they set as they
// block. A futex wait has none: there the handler of our signal moves a thread that stands between
// check and system call out of the wait.
//
// Not cancellation points. On a thread that is not registered they wait as libc's do.
#pragma once

#include <poll.h>
#include <sys/epoll.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <ctime>
#include <system_error>

namespace taskwork {

/// ppoll(2), the timeout relative and unchanged. Returns -1 and sets errno; EINTR also as above.
/// Context: task.
[[gnu::visibility("default")]] int ppoll(pollfd* descriptors, nfds_t count, const timespec* timeout,
                                         const sigset_t* mask = nullptr) noexcept;

/// epoll_pwait(2), the timeout in milliseconds, -1: none. Returns -1 and sets errno; EINTR also as
/// above.
/// Context: task.
[[gnu::visibility("default")]] int epoll_pwait(int epoll, epoll_event* events, int count,
                                               int timeout_ms,
                                               const sigset_t* mask = nullptr) noexcept;

/// Waits while `word` holds `expected`, for a wake of this process (FUTEX_WAIT_PRIVATE), at most
/// the relative `timeout` (nullptr: for ever). No error: woken (perhaps spuriously). Errors:
/// interrupted (as above, or by another handler), timed_out, resource_unavailable_try_again (`word`
/// holds something else), invalid_argument (the timeout).
/// Context: task.
[[gnu::visibility("default")]] std::errc futex_wait(const std::atomic<std::uint32_t>& word,
                                                    std::uint32_t expected,
                                                    const timespec* timeout = nullptr) noexcept;

/// Wakes up to `count` threads that wait on `word`, by these functions or others.
/// Context: any. One system call.
[[gnu::visibility("default")]] void futex_wake(std::atomic<std::uint32_t>& word,
                                               int count) noexcept;

}  // namespace taskwork
