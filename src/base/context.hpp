// SPDX-License-Identifier: Apache-2.0
//
// Markers for the context in which a function may be called (DESIGN.md, "Contexts"). Each backs the
// "Context:" line that ends a function's comment.
//
//   TW_TASK_ONLY   may sleep, lock and allocate: never from a handler. Under clang it requires the
//                  `task` capability of -Wthread-safety, which a function acquires by being marked
//                  itself; handlers are not, so a call from one is diagnosed.
//   TW_NMI_SAFE    legal everywhere. clang 19 checks only conversions of function pointers.
#pragma once

#if defined(__clang__)
#define TW_NMI_SAFE [[clang::nonblocking]]
#else
#define TW_NMI_SAFE
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

}  // namespace taskwork
