// SPDX-License-Identifier: Apache-2.0
//
// Signals of the `run` process. They are blocked and read from a descriptor, so that nothing is
// ever interrupted; COMMAND is started with the mask that was there before.
#pragma once

#include <csignal>
#include <vector>

#include "base/result.hpp"

namespace taskwork::cli {

class Signals {
public:
    struct Arrival {
        int number;
        bool from_terminal;  ///< The kernel sent it, to the whole process group.
    };

    /// Blocks what run takes, for this thread and those it starts. Errors: those of signalfd.
    /// Context: task. Once, before the first thread.
    Result<void> take();

    /// Readable when a signal has arrived.
    [[nodiscard]] int descriptor() const noexcept { return descriptor_; }
    /// The mask before take().
    [[nodiscard]] const sigset_t& mask_before() const noexcept { return before_; }
    /// What has arrived, in order.
    /// Context: task.
    [[nodiscard]] std::vector<Arrival> arrivals() const;

private:
    int descriptor_ = -1;
    sigset_t before_{};
};

}  // namespace taskwork::cli
