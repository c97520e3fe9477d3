// SPDX-License-Identifier: Apache-2.0
//
// The contexts of DESIGN.md, section 2, as far as code has to tell them apart.
//
// A function whose "Context:" line is not `any` says so to clang as well, whose thread-safety
// analysis then diagnoses a call from code that may run in a handler:
//
//   TW_TASK_ONLY   Context: task. May sleep, lock and allocate.
//   TW_NOT_NMI     Context: irq, or task, irq. May lock and allocate.
//
// Whoever calls such a function carries the marker too; what carries none is taken to be legal in
// every context. Where unmarked code knows where it is (the body of a thread, a lambda that is
// called at once) it says so by assume_task() or assume_not_nmi(). A call through a pointer to a
// function is not seen. Functions for task_work alone carry no marker.
#pragma once

#if defined(__clang__)
#define TW_TASK_ONLY [[clang::requires_capability(::taskwork::context_of_caller)]]
#define TW_NOT_NMI [[clang::requires_shared_capability(::taskwork::context_of_caller)]]
#define TW_ASSUMES_TASK [[clang::assert_capability(::taskwork::context_of_caller)]]
#define TW_ASSUMES_NOT_NMI [[clang::assert_shared_capability(::taskwork::context_of_caller)]]
#define TW_CONTEXT [[clang::capability("context")]]
#else
#define TW_TASK_ONLY
#define TW_NOT_NMI
#define TW_ASSUMES_TASK
#define TW_ASSUMES_NOT_NMI
#define TW_CONTEXT
#endif

namespace taskwork {

/// The levels at which a thread runs our code; a higher one may interrupt a lower one, and none
/// interrupts itself (a nested event is dropped). Used as an index.
enum class Level : unsigned {
    task = 0,
    task_work = 1,
    nmi = 2,
};
inline constexpr unsigned level_count = 3;

/// What the markers name: held alone in task context, shared with it in irq. It exists for the
/// compiler only.
class TW_CONTEXT CallerContext{};
inline constexpr CallerContext context_of_caller{};

/// Tells the compiler that the code from here on runs in task context. It checks nothing.
TW_ASSUMES_TASK inline void assume_task() noexcept {}
/// As assume_task(), for the worker.
TW_ASSUMES_NOT_NMI inline void assume_not_nmi() noexcept {}

}  // namespace taskwork
