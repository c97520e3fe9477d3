// SPDX-License-Identifier: Apache-2.0
//
// The contexts of DESIGN.md, section 2, as far as code has to tell them apart.
#pragma once

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
