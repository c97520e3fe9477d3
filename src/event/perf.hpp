// SPDX-License-Identifier: Apache-2.0
//
// The kernel's perf events, as far as we use them: one a thread, user mode only, its overflows
// delivered to that thread as our signal. The signal carries the descriptor's number in si_fd and a
// positive si_code (POLL_IN), which no user process can forge.
#pragma once

#include <sys/types.h>

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

/// What it has counted so far: CPU ns (system time included) or cycles. 0 if it cannot be read.
/// Context: task, irq.
std::uint64_t read_perf(int descriptor) noexcept;

}  // namespace taskwork::event
