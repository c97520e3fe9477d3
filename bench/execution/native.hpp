// SPDX-License-Identifier: Apache-2.0
//
// The bodies of the rows as the compiler of C++ makes them, over our maps without a program around.
#pragma once

#include <string>

#include "execution/rows.hpp"

namespace taskwork::bench {

/// Makes this process a domain. Context: task. Once.
void start_native();
/// Whether there is a twin of this row.
bool has_native(const Subject& row);
/// Median of `runs`, in ns an operation; `error` says what went wrong. Context: task.
double measure_native(const Subject& row, unsigned runs, std::string& error);

}  // namespace taskwork::bench
