// SPDX-License-Identifier: Apache-2.0
//
// The life and death of tasks and processes, as the worker sees it: it is told of births and exits
// by the deferral queue, watches every member, and sweeps after those that died.
//
//   joined --watch--> watched --its end, or it left--> dying --sweep, till all have decided--> gone
//
//   sweep of process P:  reader slots of its tasks closed -> lists closed -> every layer's sweeper
//   finishes or cancels what P owned -> pools' hints restored -> tasks with a pending flag notified
//   again -> tasks and process retired
//
// Everything but the hooks and sweepers is the worker's own. What it asks of the system goes
// through the platform: a build for exploration runs it as it is.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/context.hpp"
#include "sync/platform.hpp"
#include "task/task.hpp"
#include "task/worker.hpp"

namespace taskwork::task {

class Life {
public:
    /// The host's. Context: any.
    static Life& get() noexcept;
    /// In a forked child: starts anew, whatever state the parent's is in.
    /// Context: task.
    TW_TASK_ONLY static void abandon();

    /// See Worker. Context: task.
    TW_TASK_ONLY void add_sweeper(Sweeper sweeper) noexcept;
    TW_TASK_ONLY void set_hooks(const LifeHooks& hooks) noexcept;

    /// Items of the deferral queue. Worker only.
    /// Context: irq.
    TW_NOT_NMI void process_joined(std::uint16_t index);
    TW_NOT_NMI void task_born(Task& task);
    TW_NOT_NMI void task_exited(Task& task);
    TW_NOT_NMI void task_kicked(Task& task);

    /// Moves watched processes that have ended to the dying. Worker only.
    /// Context: irq.
    TW_NOT_NMI void look_for_deaths();
    /// Sweeps the dying; those of whom a layer could not decide yet stay. Worker only.
    /// Context: irq.
    TW_NOT_NMI void sweep_dying();
    /// Finds members that died before anybody heard of them, and threads that ended by a raw system
    /// call, without their last run point. Worker only.
    /// Context: irq.
    TW_NOT_NMI void look_for_vanished();
    /// Whether somebody is still being swept. Worker only.
    /// Context: irq.
    TW_NOT_NMI bool is_sweeping() const noexcept { return !dying_.empty(); }

    /// Forgets everybody, hooks and sweepers too. While there is no worker.
    /// Context: task.
    TW_TASK_ONLY void reset() noexcept;

private:
    struct Watched {
        std::uint16_t process;
        int watch;  ///< platform::watch_process()'s; negative: only the pid can be asked.
    };
    /// A process seen joining, and for how many looks.
    struct Joining {
        std::uint32_t round = 0;
        unsigned looks = 0;
    };

    LifeHooks hooks() noexcept;
    bool sweep_layers(std::uint16_t owner) noexcept;
    TW_NOT_NMI bool give_up(std::uint16_t owner);
    TW_NOT_NMI void bury(Task& task);
    TW_NOT_NMI void close_process(std::uint16_t owner);
    TW_NOT_NMI void bury_process(std::uint16_t owner);
    TW_NOT_NMI void look_for_unwatched();
    bool is_dying(std::uint16_t owner) const noexcept;

    platform::Mutex lock_;  ///< Of `hooks_`, and among those who add sweepers.
    LifeHooks hooks_;
    /// Added to while the worker runs: the count is published last.
    std::array<Sweeper, 8> sweepers_{};
    platform::Atomic<std::uint32_t> sweeper_count_;

    std::vector<Watched> watched_;
    std::vector<std::uint16_t> dying_;
    std::vector<Joining> joining_;  ///< By index of the process.
};

}  // namespace taskwork::task
