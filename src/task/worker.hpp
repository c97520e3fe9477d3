// SPDX-License-Identifier: Apache-2.0
//
// The worker: the host's thread that does what handlers must not (context irq), in rounds
// (task/domain.hpp). It runs the deferral queue, drives grace periods and releases what they
// covered (task/reclaim.hpp), watches the processes of the domain and sweeps after a death
// (task/life.hpp).
#pragma once

#include <cstdint>

#include "base/context.hpp"
#include "base/result.hpp"
#include "sync/pool.hpp"
#include "task/task.hpp"

namespace taskwork::task {

inline constexpr std::uint16_t kOwnerNone = UINT16_MAX;

/// A layer's part of the sweep: everything in its pools that names `owner`. False: something could
/// not be decided yet (another thread is in a bounded step); the worker asks again next round, so a
/// sweeper may run several times for one death. Context: irq.
/// `owner` is kOwnerNone when a single thread vanished: only works on closed lists are looked for.
using Sweeper = bool (*)(std::uint16_t owner) noexcept;

/// Called by the worker when a task or process appears or goes. Context: irq.
struct LifeHooks {
    void (*task_born)(Task& task) noexcept = nullptr;
    void (*task_exited)(Task& task) noexcept = nullptr;
    void (*process_joined)(Process& process) noexcept = nullptr;
    void (*process_died)(Process& process) noexcept = nullptr;
    void (*kick)(Task& task) noexcept = nullptr;  ///< One-shot event for resume mode.
};

class Worker {
public:
    /// Creates the domain's tables that the layers up to this one need (grace periods, deferral
    /// queue, tasks) in the arena, joins the host itself, registers the calling thread, starts the
    /// worker thread. Errors: not_enough_memory, resource_unavailable_try_again (no thread).
    /// Context: task. Host only.
    /// `processes_max` 1: a domain of this process alone.
    TW_TASK_ONLY static Result<void>
    start(std::uint32_t tasks_max, std::uint32_t processes_max = TaskTable::kProcessesDefault);
    /// Stops the thread after one more round and closes the domain. Idempotent.
    /// Context: task.
    TW_TASK_ONLY static void stop() noexcept;
    /// In a forked child: forgets the parent's worker, whose thread the child does not have, with
    /// everything that it held. Before the child's own start().
    /// Context: task.
    TW_TASK_ONLY static void abandon();
    /// The thread id of this process's worker; 0: none.
    /// Context: any.
    static std::int32_t thread_id() noexcept;

    /// Before the first member joins. Order of sweepers: as added.
    /// Context: task.
    TW_TASK_ONLY static void add_sweeper(Sweeper sweeper) noexcept;
    TW_TASK_ONLY static void set_life_hooks(const LifeHooks& hooks) noexcept;

    /// Has the worker release what is retired in `pool`, by `finish` (nullptr: release_retired())
    /// once the grace period has ended: of brief sections alone if `brief_only` (bare addresses are
    /// never held by programs), else of both flavours. Returns the doorbell for Pool::init.
    /// Context: task.
    TW_TASK_ONLY static std::uint32_t adopt_pool(sync::Pool& pool,
                                                 void (*finish)(sync::Pool&, void*) noexcept,
                                                 bool brief_only = false);
    /// The opposite, before the pool's memory is released. Waits until the worker has let go of it.
    /// Context: task.
    TW_TASK_ONLY static void disown_pool(sync::Pool& pool) noexcept;

    /// Has the worker call `function(argument)` once a grace period of both flavours has ended.
    /// Context: task, irq. Allocates (host memory).
    TW_NOT_NMI static void after_grace_period(void (*function)(void*) noexcept, void* argument);
    /// As after_grace_period(), within about a second: to ask again after what may take long.
    /// Context: task, irq. Allocates (host memory).
    TW_NOT_NMI static void after_a_while(void (*function)(void*) noexcept, void* argument);
    static constexpr std::uint64_t kNoTimeout = UINT64_MAX;
    /// Waits until every sleepable and brief section open now has closed and the worker has run
    /// what was queued before; false: a section was open still when the worker looked after
    /// `timeout_ns`. A worker that gets no processor is waited for however long. Without a worker
    /// true. Never from the worker itself, nor inside a section.
    /// Context: task.
    TW_TASK_ONLY static bool synchronize(std::uint64_t timeout_ns = kNoTimeout) noexcept;
    /// Runs one round in the calling thread; for tests that stand in for the worker.
    /// Context: irq.
    TW_NOT_NMI static void run_once(std::uint64_t timeout_ns) noexcept;
};

}  // namespace taskwork::task
