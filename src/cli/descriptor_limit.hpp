// SPDX-License-Identifier: Apache-2.0
//
// `ulimit -n` and run. libbpf's own words for too few descriptors mislead, so run asks before. A
// soft limit in the way is raised for run itself; COMMAND is started under the one that was found.
#pragma once

#include <sys/resource.h>

#include "base/result.hpp"

namespace taskwork::cli {

class DescriptorLimit {
public:
    /// Context: task.
    DescriptorLimit() noexcept;

    /// Makes room for `count` descriptors beside those that are open. Errors:
    /// too_many_files_open (the hard limit is in the way; the line names it).
    /// Context: task.
    Result<void> reserve(unsigned count);

    /// Back to the limit that was found, and up again: around the start of COMMAND.
    /// Context: task.
    void restore() const noexcept;
    void raise_again() const noexcept;

private:
    rlimit found_{};
    rlimit wanted_{};
};

}  // namespace taskwork::cli
