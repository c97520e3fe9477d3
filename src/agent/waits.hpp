// SPDX-License-Identifier: Apache-2.0
//
// Resuming libc's waits that our signal has interrupted.
//
// Some calls return EINTR after any handler, SA_RESTART or not. Where the kernel's own task work
// (TWA_SIGNAL) restarts them silently, so do we, for the time that remains; where it does not
// (epoll_wait, sigtimedwait, semop), neither do we.
//
//   wrapper: mark the thread as waiting ──> libc's function ──> EINTR and `resume`? ──> again
//   handler: saved RAX is -EINTR, the instruction before is `syscall`, the stack pointer just below
//            the mark, and no signal pending that the application handles ──> set `resume`
//
// An application's handler that runs between our decision and the repeated call does not end the
// wait, just as one that runs shortly before the call would not. sigsuspend, ppoll and pselect have
// no such gap: the kernel blocks again, on the way out of the interrupted call, what their mask
// opens.
//
// Nothing here has a destructor: the functions are cancellation points, and asynchronous
// cancellation may unwind from any instruction, for which C++ keeps no landing pads.
#pragma once

#include <cerrno>
#include <cstdint>
#include <ctime>
#include <limits>
#include <sys/time.h>

#include "agent/masks.hpp"
#include "agent/thread_signals.hpp"

namespace taskwork::agent {

/// When a relative wait ends.
class Deadline {
public:
    static constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

    /// `wait_ns` from now on `clock`; kNever, or more than 292 years: never.
    /// Context: any.
    explicit Deadline(std::int64_t wait_ns, clockid_t clock = CLOCK_MONOTONIC) noexcept
        : clock_(clock) {
        if (wait_ns == kNever || __builtin_add_overflow(now(), wait_ns, &end_ns_)) {
            end_ns_ = kNever;
        }
    }

    /// Context: any.
    [[nodiscard]] bool never() const noexcept { return end_ns_ == kNever; }

    /// What remains, 0 when it is past.
    /// Context: any.
    [[nodiscard]] std::int64_t remaining_ns() const noexcept {
        if (never()) {
            return kNever;
        }
        const std::int64_t left = end_ns_ - now();
        return left > 0 ? left : 0;
    }

    /// Context: any.
    [[nodiscard]] timespec remaining() const noexcept {
        const std::int64_t left = remaining_ns();
        return {left / kSecond, static_cast<long>(left % kSecond)};
    }

    /// `time` in nanoseconds, kNever if that is too much (or absent).
    /// Context: any.
    static std::int64_t to_ns(const timespec* time) noexcept {
        std::int64_t ns;
        if (time == nullptr || __builtin_mul_overflow(time->tv_sec, kSecond, &ns) ||
            __builtin_add_overflow(ns, time->tv_nsec, &ns)) {
            return kNever;
        }
        return ns;
    }

    static constexpr std::int64_t kSecond = 1'000'000'000;

private:
    [[nodiscard]] std::int64_t now() const noexcept {
        timespec time{};
        clock_gettime(clock_, &time);
        return time.tv_sec * kSecond + time.tv_nsec;
    }

    clockid_t clock_;
    std::int64_t end_ns_ = 0;
};

/// Calls `call(again)` until it ends for a reason that the application is to see; `again` is false
/// the first time. `failed(result)` tells whether a result is an EINTR. `masked`: the mask that the
/// call brings, or nullptr.
/// Context: task, task_work. Cancellation point if `call` is one.
template <typename Call, typename Failed>
auto resume_wait(const MaskedWait* masked, Call&& call, Failed&& failed) {
    WaitMark& mark = thread_signals.wait;
    const WaitMark outer = mark;  // of a wait that the handler we are in has interrupted
    bool again = false;
    for (;;) {
        mark.resume = false;
        mark.delivered = false;
        mark.has_mask = masked != nullptr && masked->mask() != nullptr;
        mark.mask = mark.has_mask ? masked->asked() : 0;
        mark.frame = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
        const auto result = call(again);
        const bool repeat = failed(result) && mark.resume && !mark.delivered;
        if (!repeat) {
            mark = outer;
            return result;
        }
        again = true;
    }
}

/// The same for calls that return -1 and set errno.
/// Context: task, task_work.
template <typename Call>
auto resume_wait(const MaskedWait* masked, Call&& call) {
    return resume_wait(masked, call, [](auto result) { return result == -1 && errno == EINTR; });
}

/// clock_nanosleep(2) for the application, by which libc's other sleeps are made: 0 or the error
/// number. `remaining` is written when the sleep is relative and a signal of the application's
/// ends it; it may be `request`.
/// Context: task, task_work. Cancellation point.
int application_sleep(clockid_t clock, int flags, const timespec* request, timespec* remaining);

}  // namespace taskwork::agent
