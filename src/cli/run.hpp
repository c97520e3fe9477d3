// SPDX-License-Identifier: Apache-2.0
//
// `taskwork run`: the life of a domain, from the object file to the report.
#pragma once

#include "cli/options.hpp"

namespace taskwork::cli {

/// Returns the status to exit with: COMMAND's; 128 + n if signal n ended it; 125 if run itself
/// failed, after one line on standard error; 126 and 127 as env(1).
/// Context: task. Once a process, from its main thread.
int run(const RunOptions& options);

}  // namespace taskwork::cli
