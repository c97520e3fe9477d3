// SPDX-License-Identifier: Apache-2.0
//
// Behind Task: handles of registered threads.
#include <taskwork/task.hpp>

#include "library/domain.hpp"
#include "task/run_point.hpp"
#include "task/worker.hpp"

namespace taskwork {

namespace {

std::uint64_t percentile(const task::LatencyHistogram& histogram, unsigned percent) noexcept {
    std::uint64_t total = 0;
    for (const auto& count : histogram.counts) {
        total += count.get();
    }
    std::uint64_t rank = (total * percent + 99) / 100;
    for (unsigned bucket = 0; bucket < task::LatencyHistogram::kBuckets; ++bucket) {
        const std::uint64_t here = histogram.counts[bucket].get();
        if (here >= rank && rank != 0) {
            return task::LatencyHistogram::lower_bound_ns(bucket);
        }
        rank -= here;
    }
    return 0;
}

}  // namespace

std::errc detail::register_this_thread(Module& module) noexcept {
    assume_task();
    return library::ensure_registered(module, Options{});
}

std::uint64_t detail::this_task(Module& module) noexcept {
    return register_this_thread(module) == no_error ? current_task() : 0;
}

std::uint64_t detail::current_task() noexcept {
    task::Task* me = library::self();
    if (me == nullptr) {
        return 0;
    }
    task::get(*me);
    return library::handle_of(me);
}

std::uint64_t detail::find_task(pid_t thread_id) noexcept {
    task::Task* me = library::self();
    if (me == nullptr) {
        return 0;
    }
    const task::ReadSection section(*me, sync::Flavour::sleepable);
    task::Task* found = task::TaskTable::get().find(thread_id);
    // The worker is nobody's business.
    if (found == nullptr || found->tid == task::Worker::thread_id()) {
        return 0;
    }
    task::get(*found);
    return library::handle_of(found);
}

void detail::get_task(std::uint64_t handle) noexcept {
    if (auto* task = library::resolve<task::Task>(handle); task != nullptr) {
        task::get(*task);
    }
}

void detail::put_task(std::uint64_t handle) noexcept {
    if (auto* task = library::resolve<task::Task>(handle); task != nullptr) {
        task::put(*task);
    }
}

bool detail::task_is_alive(std::uint64_t handle) noexcept {
    const auto* task = library::resolve<task::Task>(handle);
    return task != nullptr && sync::Pool::load(task).state() == task::kTaskAlive;
}

pid_t detail::task_thread_id(std::uint64_t handle) noexcept {
    const auto* task = library::resolve<task::Task>(handle);
    return task == nullptr ? 0 : task->tid;
}

TaskCounters detail::task_counters(std::uint64_t handle) noexcept {
    TaskCounters counters;
    const auto* task = library::resolve<task::Task>(handle);
    if (task == nullptr) {
        return counters;
    }
    counters.drains = task->statistics.drains.get();
    counters.drains_cut = task->statistics.drains_cut.get();
    counters.nested = task->statistics.events_nested.get();
    counters.notifications = task->statistics.notifications.get();
    counters.latency_p50_ns = percentile(task->latency, 50);
    counters.latency_p99_ns = percentile(task->latency, 99);
    counters.latency_max_ns = task->latency.max_ns.get();
    return counters;
}

std::errc unregister_this_thread() noexcept {
    assume_task();
    task::Task* me = library::self();
    if (me == nullptr || !library::in_task_context() || me->safe_draining.is_open()) {
        return std::errc::operation_not_permitted;
    }
    library::unregister_self();
    return no_error;
}

}  // namespace taskwork
