// SPDX-License-Identifier: Apache-2.0
//
// `taskwork verify`: what the verifier says of each program of an object, and whether that is what
// the object's own tags expect. docs/verifier.md describes output, tags and limits.
#pragma once

#include "cli/options.hpp"

namespace taskwork::cli {

inline constexpr int kExitNotAll = 1;     ///< A program was rejected, or not as expected.
inline constexpr int kExitNotLoaded = 2;  ///< An object could not be loaded.

/// Prints to standard output (with --json=- to standard error). Returns the exit status: 0, one of
/// the above, kExitFailed. Context: task.
int verify(const VerifyOptions& options);

}  // namespace taskwork::cli
