// SPDX-License-Identifier: Apache-2.0
//
// The one signal that serves events and notifications, and the marks by which our handler tells its
// own from the application's.
//
// SIGURG is standard (cannot fail at the queue limit), coalescing, and ignored by default (cannot
// kill a program between execve and our start). Notifications carry SI_QUEUE and a value that no
// program sends by accident; perf events carry a positive si_code and the event's descriptor.
#pragma once

#include <csignal>
#include <cstdint>

namespace taskwork::sync {

inline constexpr int kSignal = SIGURG;

/// si_value of a notification, the same in all processes of a domain. A domain of one process has a
/// mark of its own, set before its first task: another copy of this code may live beside it.
inline constexpr std::uint64_t kNotifyMark = 0x7461736b776f726bULL;  // "taskwork"
inline constinit std::uint64_t notify_mark = kNotifyMark;

}  // namespace taskwork::sync
