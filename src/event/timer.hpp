// SPDX-License-Identifier: Apache-2.0
//
// CPU timers of the calling thread, which stand in where perf events are forbidden. They count the
// thread's CPU time, system time included, expire on the kernel's tick only, and are not inherited
// by fork; a thread's end leaves them behind, so the thread deletes them.
#pragma once

#include <csignal>
#include <cstdint>

namespace taskwork::event {

/// Which spec's timer a signal comes from; kNotATimer if from none of ours.
/// Context: any.
unsigned spec_of_timer_signal(const siginfo_t& info) noexcept;
inline constexpr unsigned kNotATimer = UINT32_MAX;

/// Arms a timer on the calling thread. Returns its id or -errno.
/// Context: task; async-signal-safe.
int create_timer(unsigned spec, std::uint64_t interval_ns) noexcept;
/// Context: task; async-signal-safe.
void delete_timer(int id) noexcept;

}  // namespace taskwork::event
