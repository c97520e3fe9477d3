// SPDX-License-Identifier: Apache-2.0
//
// Programs that restrict their own system calls (seccomp). Events, callbacks and reads of user
// memory make none; the runtime's one habitual call, waking the host's worker, is given up before a
// filter is set, for it may kill: the worker then finds requests when it looks by itself, within
// some 20 ms. A work for another thread is still announced by a system call, and a fork or a new
// thread joins with the calls that joining takes.
#pragma once

namespace taskwork::agent {

/// Called before the process restricts its system calls.
/// Context: any.
void expect_filter() noexcept;

/// As expect_filter(), if a filter is in force already: it outlives exec.
/// Context: task.
void look_for_filter() noexcept;

}  // namespace taskwork::agent
