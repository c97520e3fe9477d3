// SPDX-License-Identifier: Apache-2.0
//
// Events for tests without perf events: a timer of the calling thread that sends our signal, which
// the hook below takes for an event.
#pragma once

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

#include "sync/signal.hpp"
#include "task/run_point.hpp"
#include "task/task.hpp"

namespace taskwork::task {

/// For set_event_hook(): an expired timer is an event.
inline bool is_timer_event(const Task&, const siginfo_t& info) noexcept {
    return info.si_code == SI_TIMER;
}

/// Stops with its destructor; an event may still be under way then.
class EventTimer {
public:
    /// Of the calling thread; stopped. Raw system calls: libc's allocates, which a forked child
    /// should not. Context: task.
    explicit EventTimer(std::uint64_t interval_us) : interval_ns_(interval_us * 1000) {
        struct sigevent event{};
        event.sigev_notify = SIGEV_THREAD_ID;
        event.sigev_signo = sync::kSignal;
        event._sigev_un._tid = current()->tid;
        if (interval_us == 0 ||
            ::syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer_) != 0) {
            timer_ = -1;
        }
    }
    ~EventTimer() {
        if (timer_ >= 0) {
            ::syscall(SYS_timer_delete, timer_);
        }
    }
    EventTimer(const EventTimer&) = delete;
    EventTimer& operator=(const EventTimer&) = delete;

    /// The first event comes within an interval; when, `random` decides. Context: task.
    void start(std::uint64_t random) noexcept {
        set(interval_ns_, 1 + random % (interval_ns_ + 1));
    }
    /// Context: task.
    void stop() noexcept { set(0, 0); }

private:
    void set(std::uint64_t interval_ns, std::uint64_t first_ns) noexcept {
        if (timer_ < 0) {
            return;
        }
        struct itimerspec period{};
        period.it_interval.tv_nsec = static_cast<long>(interval_ns);
        period.it_value.tv_nsec = static_cast<long>(first_ns);
        ::syscall(SYS_timer_settime, timer_, 0, &period, nullptr);
    }

    int timer_ = -1;
    std::uint64_t interval_ns_;
};

}  // namespace taskwork::task
