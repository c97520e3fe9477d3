// SPDX-License-Identifier: Apache-2.0
//
// What the host knows of its events beyond the arena, and its work on the descriptors of threads.
// For event.cpp and counters.cpp, under Host::lock: the main thread and the worker both come here;
// no handler does.
#pragma once

#include <mutex>
#include <vector>

#include "event/event.hpp"

namespace taskwork::event {

/// What the events of a program had counted when they ended.
struct Ended {
    const bpf::Program* program;
    std::uint32_t program_id;  ///< The table reuses the memory of programs.
    EventCounts counts;
};

struct Host {
    std::mutex lock;
    EventCounts gone[EventTable::kEventsMax]{};  ///< Of each event, on threads that are gone.
    std::vector<Ended> ended;                    ///< An entry for each program ever attached.
    unsigned last_counter = 0;
    std::uint32_t starts = 0;  ///< Counters started on threads.
    int refusal = 0;
};

/// Context: task, irq.
Host& host() noexcept;

/// The bit of an event in Counter::events.
/// Context: any.
constexpr std::uint32_t bit_of(unsigned event) noexcept { return std::uint32_t{1} << event; }

/// Whether the task's process is one that events are for.
/// Context: any.
bool is_ours_to_sample(const task::Task& task) noexcept;

/// Brings a counter of the task to Counter::opened: opens it, or gives it the new period. If there
/// is nothing to be had, that is noted for the events in the set `concerned`, or for all where an
/// open one is lost.
/// Context: task, irq. The lock is held.
void serve(task::Task& task, unsigned counter, std::uint32_t concerned) noexcept;
/// Context: task, irq. The lock is held.
void close_counter(TaskCounter& counter) noexcept;
/// Tells the task layer the interval of the thread's fastest counter or timer.
/// Context: task, irq.
void update_sampled(task::Task& task) noexcept;
/// Closes all descriptors of the task's counters.
/// Context: task, irq. The lock is held.
void close_counters(task::Task& task) noexcept;

template <class Function>
void for_each_live_task(Function&& function) noexcept {
    task::TaskTable& tasks = task::TaskTable::get();
    for (std::uint32_t index = 0; index < tasks.tasks.count(); ++index) {
        task::Task& task = tasks.task_at(index);
        if (sync::Pool::load(&task).state() == task::kTaskAlive) {
            function(task);
        }
    }
}

}  // namespace taskwork::event
