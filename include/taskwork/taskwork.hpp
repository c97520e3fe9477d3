// SPDX-License-Identifier: Apache-2.0
//
// taskwork as a library: "call this later, in that thread", from any context, a signal handler that
// has just interrupted malloc included.
//
//     constinit taskwork::Work work;                      // a global, for a handler to use
//     taskwork::Task me = taskwork::this_task();          // registers the calling thread
//     std::errc error = taskwork::schedule(               // from a handler, or another thread
//         work, me, taskwork::at_safe_point([]() noexcept { report(); }), taskwork::Mode::resume);
//     taskwork::safe_point();                             // report() runs here
//
//   domain.hpp      what the process has: init(), counters, version
//   task.hpp        a thread of the process
//   work.hpp        what is to be called, once a schedule; schedule, cancel, state
//   safe_point.hpp  where callbacks run that may do anything; event descriptor; HandlerScope
//   wait.hpp        waits that a work interrupts, without a gap
//   trace.hpp       transitions of works as a Chrome/Perfetto trace
//
// Behind "Context:" each function says where it may be called:
//
//   task   ordinary code of a thread, also a callback declared at_safe_point. Not a signal handler,
//          not a callback declared anywhere.
//   any    everywhere: neither locks nor allocates, keeps errno, makes no system call but those
//          that notify.
//
// docs/library.md has the guarantees, errors and lifetimes in one place, docs/versions.md what may
// change between versions.
#pragma once

#include <taskwork/domain.hpp>
#include <taskwork/safe_point.hpp>
#include <taskwork/task.hpp>
#include <taskwork/trace.hpp>
#include <taskwork/wait.hpp>
#include <taskwork/work.hpp>
