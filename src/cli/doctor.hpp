// SPDX-License-Identifier: Apache-2.0
//
// `taskwork doctor`: what will work on this machine, a line each, and what to do where it will not.
#pragma once

namespace taskwork::cli {

/// Prints to standard output. Returns 0 if `taskwork run` will work, else 1.
/// Context: task.
int doctor();

}  // namespace taskwork::cli
