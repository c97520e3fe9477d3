// SPDX-License-Identifier: Apache-2.0
//
// The kernel's perf events, as far as we use them: one a thread, user mode only, its overflows
// delivered to that thread as our signal. The signal carries the descriptor's number in si_fd and a
// positive si_code (POLL_IN), which no user process can forge.
#pragma once

#include <sys/types.h>

#include <algorithm>
#include <cstdint>

#include "event/event.hpp"

namespace taskwork::event {

/// The period that `attributes` come to, in the unit of the counter; 0 if only the kernel can tell
/// (a frequency of cycles).
/// Context: any.
constexpr std::uint64_t period_of(const EventAttributes& attributes) noexcept {
    if (attributes.period != 0) {
        return attributes.period;
    }
    return attributes.source == Source::cpu_clock && attributes.frequency != 0
               ? 1'000'000'000U / attributes.frequency
               : 0;
}

/// Time between two events in microseconds, at least 1; of cycles, as if of a 1 GHz processor.
/// Context: any.
constexpr std::uint32_t interval_us_of(const EventAttributes& attributes) noexcept {
    const std::uint64_t interval =
        attributes.frequency != 0 ? 1'000'000U / attributes.frequency : attributes.period / 1000;
    if (interval == 0) {
        return 1;
    }
    return interval > UINT32_MAX ? UINT32_MAX : static_cast<std::uint32_t>(interval);
}

/// Overflows a second that the kernel gives one event on one thread at most: its timers go no lower
/// than 10 us, and kernel.perf_event_max_sample_rate holds for all events.
/// Context: task, irq.
std::uint64_t overflow_rate_max() noexcept;

/// What one counter has to be opened with so that each n-th of its overflows fires every n-th of
/// `events` events with these attributes; no faster than `rate_max` overflows a second.
/// Context: any.
constexpr EventAttributes shared_by(const EventAttributes& attributes, unsigned events,
                                    std::uint64_t rate_max) noexcept {
    EventAttributes shared = attributes;
    const std::uint64_t period = period_of(attributes);
    if (period == 0) {
        shared.frequency = std::min(attributes.frequency * events, rate_max);
        return shared;
    }
    shared.frequency = 0;
    const bool is_time = attributes.source == Source::cpu_clock;
    shared.period = std::max(period / events, is_time ? 1'000'000'000U / rate_max : 1U);
    return shared;
}

/// Opens an event on a thread, stopped, with its signals aimed at that thread. Returns the
/// descriptor (close-on-exec) or -errno, perf_event_open's: EACCES, EPERM (forbidden), ENOSYS,
/// ENOENT, EOPNOTSUPP (no such counter), ESRCH (no such thread), EMFILE.
/// Context: task, irq.
int open_perf(const EventAttributes& attributes, pid_t tid) noexcept;

/// Lets it run until it is closed. 0 or -errno.
/// Context: task, irq.
int start_perf(int descriptor) noexcept;

/// Lets it run until its next overflow. 0 or -errno.
/// Context: task, irq.
int start_perf_once(int descriptor) noexcept;

/// Gives it the period or frequency of `attributes`, which it was opened with but for that; a new
/// period begins. Returns 0 or -errno: EINVAL (a frequency above
/// kernel.perf_event_max_sample_rate). Context: task, irq.
int set_perf_period(int descriptor, const EventAttributes& attributes) noexcept;

/// What it has counted so far: CPU ns (system time included) or cycles. 0 if it cannot be read.
/// Context: task, irq.
std::uint64_t read_perf(int descriptor) noexcept;

}  // namespace taskwork::event
