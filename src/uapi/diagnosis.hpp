// SPDX-License-Identifier: Apache-2.0
//
// One line for a person beside the errno: bpf(2) can say -EINVAL only, which is what a program with
// a helper we lack gets, and a program with a broken instruction too. Whoever refuses something for
// a reason that a number does not tell says it here.
#pragma once

#include <string>

namespace taskwork::uapi {

/// Remembers the reason. The latest wins, whatever thread it comes from.
/// Context: task.
void set_diagnosis(std::string text);

/// The reason of the latest refusal; empty if there was none since clear_diagnosis().
/// Context: task.
std::string last_diagnosis();

/// Context: task.
void clear_diagnosis();

}  // namespace taskwork::uapi
