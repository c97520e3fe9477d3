// SPDX-License-Identifier: Apache-2.0
//
// How much memory a piece of code has at its peak: this program's operator new counts.
#pragma once

#include <cstddef>

namespace taskwork::bench {

/// From its construction on, of this thread: bytes that were allocated and not given back, at most.
class MemoryPeak {
public:
    /// Context: task.
    MemoryPeak();
    /// Context: task.
    [[nodiscard]] std::size_t bytes() const;

private:
    std::ptrdiff_t before_;
};

}  // namespace taskwork::bench
