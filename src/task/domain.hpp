// SPDX-License-Identifier: Apache-2.0
//
// The worker without its thread: the tables of a domain, and one round of what is to be done in it.
// Worker (task/worker.hpp) has a thread run rounds; a test or an explorer of interleavings may call
// them in its place.
#pragma once

#include <cstdint>

#include "base/context.hpp"
#include "base/errc.hpp"
#include "sync/deferral.hpp"
#include "task/task.hpp"

namespace taskwork::task {

/// How large the tables are. `items`: of the deferral queue; each task needs four, each process and
/// each pool one.
struct DomainLimits {
    std::uint32_t tasks = TaskTable::kTasksDefault;
    std::uint32_t processes = TaskTable::kProcessesDefault;
    std::uint32_t items = sync::DeferralQueue::kItemsDefault;
};

/// Creates the tables that the layers up to this one need (grace periods, deferral queue, tasks) in
/// the arena and says who handles their requests. Errors: not_enough_memory.
/// Context: task. Host only.
TW_TASK_ONLY std::errc create_domain(const DomainLimits& limits) noexcept;

/// Everything that is to be done now, once: requests, deaths, grace periods. `thorough`: also what
/// is looked for about once a second (members and threads that vanished without a word).
/// The calling thread is a task of the host.
/// Context: irq.
TW_NOT_NMI void run_round(bool thorough);

/// Whether a grace period or a sweep is under way: the next round should come soon.
/// Context: irq.
TW_NOT_NMI bool round_wanted_soon();

/// Forgets what was under way, and whom the layers above have added. While there is no worker.
/// Context: task.
TW_TASK_ONLY void reset_rounds() noexcept;

}  // namespace taskwork::task
