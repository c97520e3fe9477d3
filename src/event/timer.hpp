// SPDX-License-Identifier: Apache-2.0
//
// CPU timers of the calling thread, which stand in where perf events are forbidden. They count the
// thread's CPU time, system time included, expire on the kernel's tick only, and are not inherited
// by fork; a thread's end leaves them behind, so the thread deletes them.
#pragma once

#include <csignal>
#include <cstdint>

#include "event/event.hpp"

namespace taskwork::event {

/// Which event's timer a signal comes from; kNotATimer if from none of ours.
/// Context: any.
unsigned event_of_timer_signal(const siginfo_t& info) noexcept;
inline constexpr unsigned kNotATimer = UINT32_MAX;

/// The period of the timer that fires an event.
/// Context: any.
inline std::uint64_t timer_period_of(const Event& event) noexcept {
    const std::uint64_t period = event.sample_period.load(std::memory_order_acquire);
    return period != 0 ? period : 1'000'000;
}

/// Whether the thread's timer in this place has the event's period, and was not made for one that
/// was there before: then it serves.
/// Context: any.
inline bool is_timed(const TaskEvent& own, const Event& event) noexcept {
    return event.is_attached() &&
           own.timer_ns.load(std::memory_order_relaxed) == timer_period_of(event);
}

/// Arms a timer on the calling thread. Returns its id or -errno.
/// Context: task; async-signal-safe.
int create_timer(unsigned event, std::uint64_t interval_ns) noexcept;
/// Context: task; async-signal-safe.
void delete_timer(int id) noexcept;

}  // namespace taskwork::event
