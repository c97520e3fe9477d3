// SPDX-License-Identifier: Apache-2.0
//
// wait_window.S: a system call that is not begun when something is pending.
#pragma once

#include <cstdint>

extern "C" {
/// Context: task.
long taskwork_wait_window(const void* attention, std::uintptr_t* window, const long* call) noexcept;
extern const char taskwork_wait_window_begin[];
extern const char taskwork_wait_window_end[];
extern const char taskwork_wait_window_leave[];
extern const char taskwork_wait_window_last[];
}
