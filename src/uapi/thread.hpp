// SPDX-License-Identifier: Apache-2.0
//
// The thread that calls bpf(2). Element operations and programs run on a task of the domain, so a
// thread of the host becomes one at its first call, and ceases to be one when it ends.
#pragma once

#include <optional>

#include "task/run_point.hpp"
#include "task/task.hpp"

namespace taskwork::uapi {

/// The calling thread's task, registered if need be; nullptr if the domain is closed or its table
/// of tasks is full.
/// Context: task.
task::Task* own_task();

/// A span in which map elements that the thread finds stay memory: a runtime section, and inside it
/// a sleepable reader's. At its end pending works of the thread run.
class ElementSection {
public:
    /// Context: task.
    ElementSection();
    /// False: the thread is no task (own_task()), nothing may be looked at.
    [[nodiscard]] bool entered() const noexcept { return reader_.has_value(); }

private:
    // In this order: the reader's span ends before works run.
    std::optional<task::Section> section_;
    std::optional<task::ReadSection> reader_;
};

}  // namespace taskwork::uapi
