// SPDX-License-Identifier: Apache-2.0
//
// What programs see of tasks and processes: the structs of our BTF (kernel_btf/task_struct.h) in
// Task::view and Process::view, and what helpers need of a process besides.
//
// describe_task() (program.hpp) fills them in in the thread itself. A name changes later, and so do
// user ids; event handlers make no system calls, so they show what was found by the latest
// refresh: refresh_task() by whoever notices, in particular the host once a second.
#pragma once

#include <cstdint>

#include "bpf/kernel_btf/task_struct.h"
#include "task/task.hpp"

namespace taskwork::bpf {

struct ProcessView {
    // What programs may read: up to described_ns.
    mm_struct mm;
    /// Stands for the parent of a process whose parent is not in the domain: in the kernel every
    /// task has one, and programs do not ask.
    task_struct outside_parent;
    // The rest is for us.
    std::uint64_t described_ns;  ///< Process::start_ns of the process that it describes.
    std::uint32_t uid;           ///< Real ids.
    std::uint32_t gid;
};
static_assert(sizeof(ProcessView) <= task::kProcessViewBytes);
static_assert(sizeof(task_struct) <= task::kTaskViewBytes);

/// Context: any.
inline task_struct& task_view(task::Task& task) noexcept {
    return *reinterpret_cast<task_struct*>(task.view);
}
/// Of the task's process.
/// Context: any.
inline ProcessView& process_view(const task::Task& task) noexcept {
    return *reinterpret_cast<ProcessView*>(task::TaskTable::get().process_at(task.process).view);
}
/// The task whose view starts at `address`; nullptr if there is none. It may have exited.
/// Context: any.
task::Task* task_of_view(std::uint64_t address) noexcept;
/// Whether it is that of a ProcessView::outside_parent.
/// Context: any.
bool is_outside_parent(std::uint64_t address) noexcept;

/// Takes over the calling thread's present name, by one system call. `task` is its own.
/// Context: task, task_work.
void refresh_own_name(task::Task& task) noexcept;
/// Reads the task's name and its process's user ids again, from /proc: for a task of any process.
/// Where they cannot be read they stay as they are.
/// Context: task, irq. System calls; allocates nothing.
void refresh_task(task::Task& task) noexcept;
/// As refresh_task() for every live task; for the host.
/// Context: task, irq.
void refresh_tasks() noexcept;

}  // namespace taskwork::bpf
