// SPDX-License-Identifier: Apache-2.0
//
// The host's descriptors of every thread's counters, and the one-shot event of a kick.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <mutex>

#include "event/event.hpp"
#include "event/host.hpp"
#include "event/perf.hpp"
#include "event/timer.hpp"
#include "sync/arena.hpp"

namespace taskwork::event {

namespace {

/// As open_perf; a soft limit of descriptors in the way is raised as far as it goes.
int open_perf_within_limit(const EventAttributes& attributes, pid_t tid) noexcept {
    int descriptor = open_perf(attributes, tid);
    if (descriptor != -EMFILE) {
        return descriptor;
    }
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        if (::setrlimit(RLIMIT_NOFILE, &limit) == 0) {
            descriptor = open_perf(attributes, tid);
        }
    }
    return descriptor;
}

/// Whether a thread that could not be given an event is simply gone.
bool is_thread_gone(int error) noexcept { return error == ESRCH; }

void note_refusal(std::uint32_t events, int error) noexcept {
    if (is_thread_gone(error)) {
        return;
    }
    host().refusal = error;
    for (; events != 0; events &= events - 1) {
        host().gone[std::countr_zero(events)].threads_refused += 1;
    }
}

/// The event that a thread's turns begin after. Threads that compute for less than a period see
/// only the first few: without regularity, so that no event is favoured.
std::uint32_t first_turn(std::uint32_t events) noexcept {
    std::uint32_t skip = (host().starts++ * 0x9e3779b1U >> 16) %
                         static_cast<std::uint32_t>(std::max(1, std::popcount(events)));
    for (; skip != 0; --skip) {
        events &= events - 1;
    }
    return events == 0 ? 0 : static_cast<std::uint32_t>(std::countr_zero(events));
}

bool is_by_timer(const EventTable& table) noexcept {
    return table.delivery.load(std::memory_order_relaxed) == Delivery::cpu_timer;
}

}  // namespace

Host& host() noexcept {
    static Host state;
    return state;
}

bool is_ours_to_sample(const task::Task& task) noexcept {
    return EventTable::get().include_host.load(std::memory_order_relaxed) != 0 ||
           task.pid != sync::Arena::header().host_pid;
}

void close_counter(TaskCounter& counter) noexcept {
    const std::int32_t descriptor = counter.descriptor.load(std::memory_order_relaxed);
    if (descriptor >= 0) {
        // In this order: a handler knows the number all the time.
        counter.closed.store(descriptor, std::memory_order_release);
        counter.descriptor.store(kNoDescriptor, std::memory_order_release);
        ::close(descriptor);
    }
}

void close_counters(task::Task& task) noexcept {
    for (unsigned counter = 0; counter < EventTable::kCountersMax; ++counter) {
        close_counter(EventTable::get().counter_of(task, counter));
    }
}

void serve(task::Task& task, unsigned index, std::uint32_t concerned) noexcept {
    EventTable& table = EventTable::get();
    if (is_by_timer(table)) {
        return;  // the thread arms it
    }
    const Counter& counter = table.counters[index];
    TaskCounter& own = table.counter_of(task, index);
    const std::int32_t before = own.descriptor.load(std::memory_order_relaxed);
    if (before >= 0) {
        if (set_perf_period(before, counter.opened) == 0) {
            return;
        }
        close_counter(own);
        concerned = counter.events.load(std::memory_order_relaxed);
    }
    const int descriptor = open_perf_within_limit(counter.opened, task.tid);
    if (descriptor < 0) {
        note_refusal(concerned, -descriptor);
        return;
    }
    own.turn.store(first_turn(counter.events.load(std::memory_order_relaxed)),
                   std::memory_order_relaxed);
    // The thread must know the number before the first signal that carries it.
    own.descriptor.store(descriptor, std::memory_order_release);
    const int error = start_perf(descriptor);
    if (error != 0) {
        note_refusal(concerned, -error);
        close_counter(own);
    }
}

void update_sampled(task::Task& task) noexcept {
    EventTable& table = EventTable::get();
    std::uint32_t fastest = 0;
    const auto consider = [&](const EventAttributes& attributes) {
        const std::uint32_t interval = interval_us_of(attributes);
        fastest = fastest == 0 ? interval : std::min(fastest, interval);
    };
    for (unsigned index = 0; index < EventTable::kCountersMax; ++index) {
        if (table.counter_of(task, index).descriptor.load(std::memory_order_relaxed) >= 0) {
            consider(table.counters[index].opened);
        }
    }
    for (unsigned index = 0; is_by_timer(table) && index < EventTable::kEventsMax; ++index) {
        const TaskEvent& own = table.of(task, index);
        if (own.timer.load(std::memory_order_relaxed) != 0 && is_timed(own, table.events[index])) {
            consider({.period = own.timer_ns.load(std::memory_order_relaxed)});
        }
    }
    task.sampled.store(fastest, std::memory_order_release);
}

void open_for(task::Task& task) noexcept {
    const std::lock_guard guard(host().lock);
    EventTable& table = EventTable::get();
    if (table.stopped.load(std::memory_order_relaxed) != 0 || is_by_timer(table) ||
        !is_ours_to_sample(task)) {
        return;
    }
    for (unsigned index = 0; index < EventTable::kCountersMax; ++index) {
        const std::uint32_t events = table.counters[index].events.load(std::memory_order_relaxed);
        const bool is_open =
            table.counter_of(task, index).descriptor.load(std::memory_order_relaxed) >= 0;
        if (events != 0 && !is_open) {
            serve(task, index, events);
        }
    }
    update_sampled(task);
}

void kick(task::Task& task) noexcept {
    const std::lock_guard guard(host().lock);
    platform::Atomic<std::int32_t>& field = EventTable::get().kick_of(task);
    std::int32_t descriptor = field.load(std::memory_order_relaxed);
    if (descriptor < 0) {
        EventAttributes soon;
        soon.period = 10'000;  // ns; the kernel's timers go no lower
        descriptor = open_perf_within_limit(soon, task.tid);
        if (descriptor < 0) {
            if (!is_thread_gone(-descriptor)) {
                // No way to reach it in user mode only. A late work is worse than an interrupted
                // call, which SA_RESTART takes up again for the most part.
                platform::notify_thread(task.pid, task.tid);
            }
            return;
        }
        field.store(descriptor, std::memory_order_release);
    }
    if (start_perf_once(descriptor) != 0) {
        platform::notify_thread(task.pid, task.tid);
    }
}

void arm_timer(task::Task& task) noexcept {
    EventTable& table = EventTable::get();
    if (!is_by_timer(table) || table.stopped.load(std::memory_order_relaxed) != 0 ||
        !is_ours_to_sample(task)) {
        return;
    }
    for (unsigned index = 0; index < EventTable::kEventsMax; ++index) {
        const Event& event = table.events[index];
        TaskEvent& own = table.of(task, index);
        const std::int32_t timer = own.timer.load(std::memory_order_relaxed);
        if (!event.is_attached() || (timer != 0 && is_timed(own, event))) {
            continue;
        }
        if (timer != 0) {
            delete_timer(timer - 1);  // of an event that was in this place before
        }
        const std::uint64_t period = timer_period_of(event);
        own.timer_ns.store(period, std::memory_order_relaxed);  // before its first signal
        const int id = create_timer(index, period);
        own.timer.store(id >= 0 ? id + 1 : 0, std::memory_order_relaxed);
    }
    update_sampled(task);
}

void disarm_timer(task::Task& task) noexcept {
    EventTable& table = EventTable::get();
    if (!is_by_timer(table)) {
        return;
    }
    for (unsigned index = 0; index < EventTable::kEventsMax; ++index) {
        const std::int32_t timer = table.of(task, index).timer.load(std::memory_order_relaxed);
        if (timer != 0) {
            delete_timer(timer - 1);
            table.of(task, index).timer.store(0, std::memory_order_relaxed);
        }
    }
}

}  // namespace taskwork::event
