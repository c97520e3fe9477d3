// SPDX-License-Identifier: Apache-2.0
//
// The one seam between the concurrency core (sync, task, defer, map) and the machine: atomics,
// single-instruction counters, thread-local state, futex, signals, time. Nothing else in those
// layers names std::atomic, a system call or a thread-local variable, so that the same source can
// be built against another platform_native.hpp in which every access is a scheduling point. The
// choice is made by the include path alone: this header includes <platform_native.hpp>.
#pragma once

#include <platform_native.hpp>
