// SPDX-License-Identifier: Apache-2.0
//
// The host's side of events: attachments and totals.
#include "event/event.hpp"

#include <linux/futex.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <mutex>

#include "event/host.hpp"
#include "event/perf.hpp"
#include "sync/arena.hpp"

namespace taskwork::event {

namespace {

void add(EventCounts& sum, const EventCounts& more) noexcept {
    sum.fired += more.fired;
    sum.dropped_nested += more.dropped_nested;
    sum.dropped_stack += more.dropped_stack;
    sum.program_ns += more.program_ns;
    sum.threads_refused += more.threads_refused;
}

/// What a thread has counted of the event in this round; the handler begins anew with each.
EventCounts read_counts(const TaskEvent& own, std::uint32_t round) noexcept {
    EventCounts counts;
    // Acquire: pairs with the release in on_event().
    if (own.round.load(std::memory_order_acquire) == round) {
        counts.fired = own.fired.get();
        counts.dropped_nested = own.dropped_nested.get();
        counts.dropped_stack = own.dropped_stack.get();
        counts.program_ns = own.program_ns.get();
    }
    return counts;
}

/// The lock is held.
EventCounts counts_of(unsigned event, std::uint32_t round) noexcept {
    EventCounts sum = host().gone[event];
    task::TaskTable& tasks = task::TaskTable::get();
    for (std::uint32_t index = 0; index < tasks.tasks.count(); ++index) {
        add(sum, read_counts(EventTable::get().of(tasks.task_at(index), event), round));
    }
    return sum;
}

/// What the ended events of a program had counted; nullptr: it was never attached. The lock is
/// held.
EventCounts* ended_counts(const bpf::Program& program) noexcept {
    for (Ended& ended : host().ended) {
        if (ended.program == &program && ended.program_id == program.id) {
            return &ended.counts;
        }
    }
    return nullptr;
}

/// A place for an event of this period; kEventsMax: none. One that had such an event before is
/// taken first: threads may still have its CPU timers.
unsigned free_event(const EventTable& table, std::uint64_t period) noexcept {
    unsigned found = EventTable::kEventsMax;
    for (unsigned index = EventTable::kEventsMax; index-- > 0;) {
        const Event& event = table.events[index];
        if (event.is_attached()) {
            continue;
        }
        if (event.round.load(std::memory_order_relaxed) != 0 &&
            event.sample_period.load(std::memory_order_relaxed) == period) {
            return index;
        }
        found = index;
    }
    return found;
}

bool is_in_use(const Counter& counter) noexcept {
    return counter.events.load(std::memory_order_relaxed) != 0;
}

/// The counter of these attributes, else a free one; kCountersMax: none. Free ones are taken in
/// turn, which keeps the numbers of closed descriptors known for long.
unsigned counter_for(const EventTable& table, const EventAttributes& attributes) noexcept {
    for (unsigned index = 0; index < EventTable::kCountersMax; ++index) {
        if (is_in_use(table.counters[index]) && table.counters[index].attributes == attributes) {
            return index;
        }
    }
    for (unsigned step = 1; step <= EventTable::kCountersMax; ++step) {
        const unsigned index = (host().last_counter + step) % EventTable::kCountersMax;
        if (!is_in_use(table.counters[index])) {
            return index;
        }
    }
    return EventTable::kCountersMax;
}

/// Brings a counter's kernel events in line with the set of its events. `added`: the new ones.
void update_counter(unsigned index, std::uint32_t added) noexcept {
    EventTable& table = EventTable::get();
    Counter& counter = table.counters[index];
    const std::uint32_t events = counter.events.load(std::memory_order_relaxed);
    if (events != 0) {
        counter.opened = shared_by(counter.attributes, static_cast<unsigned>(std::popcount(events)),
                                   overflow_rate_max());
    }
    if (table.stopped.load(std::memory_order_relaxed) != 0) {
        return;
    }
    for_each_live_task([&](task::Task& task) {
        if (events == 0) {
            close_counter(table.counter_of(task, index));
        } else if (is_ours_to_sample(task)) {
            serve(task, index, added);
        }
        update_sampled(task);
    });
}

/// Locks robustly for the life of the calling thread.
bool lock_for_life(pthread_mutex_t& mutex) noexcept {
    pthread_mutexattr_t attributes;
    if (::pthread_mutexattr_init(&attributes) != 0) {
        return false;
    }
    const bool locked = ::pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED) == 0 &&
                        ::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST) == 0 &&
                        ::pthread_mutex_init(&mutex, &attributes) == 0 &&
                        ::pthread_mutex_lock(&mutex) == 0;
    ::pthread_mutexattr_destroy(&attributes);
    return locked;
}

}  // namespace

std::errc EventTable::create() noexcept {
    const std::uint32_t tasks = task::TaskTable::get().tasks.count();
    std::errc why = no_error;
    auto* table = static_cast<EventTable*>(
        sync::Arena::allocate(sizeof(EventTable), alignof(EventTable), &why));
    auto* events = static_cast<TaskEvent*>(
        sync::Arena::allocate(sizeof(TaskEvent) * kEventsMax * tasks, alignof(TaskEvent), &why));
    auto* counters = static_cast<TaskCounter*>(
        sync::Arena::allocate(sizeof(TaskCounter) * kCountersMax * tasks, 64, &why));
    auto* kicks = static_cast<platform::Atomic<std::int32_t>*>(
        sync::Arena::allocate(sizeof(platform::Atomic<std::int32_t>) * tasks, 64, &why));
    if (table == nullptr || events == nullptr || counters == nullptr || kicks == nullptr) {
        return why == no_error ? std::errc::not_enough_memory : why;
    }
    for (std::uint32_t index = 0; index < tasks; ++index) {
        kicks[index].store(kNoDescriptor, std::memory_order_relaxed);
        for (unsigned counter = 0; counter < kCountersMax; ++counter) {
            TaskCounter& own = counters[index * kCountersMax + counter];
            own.descriptor.store(kNoDescriptor, std::memory_order_relaxed);
            own.closed.store(kNoDescriptor, std::memory_order_relaxed);
        }
    }
    table->task_events = events;
    table->task_counters = counters;
    table->kicks = kicks;
    table->delivery.store(Delivery::perf, std::memory_order_relaxed);
    if (!lock_for_life(table->host_life)) {
        return std::errc::not_enough_memory;
    }
    {
        // A process may be the host of one domain after another (tests).
        const std::lock_guard guard(host().lock);
        host().refusal = 0;
        host().ended.clear();
        std::fill(std::begin(host().gone), std::end(host().gone), EventCounts{});
    }
    sync::Arena::set_root(sync::Root::events, table);
    return no_error;
}

EventTable& EventTable::get() noexcept {
    return *sync::Arena::root<EventTable>(sync::Root::events);
}

TaskEvent& EventTable::of(const task::Task& task, unsigned event) noexcept {
    return task_events[task::TaskTable::get().tasks.index_of(&task) * kEventsMax + event];
}

TaskCounter& EventTable::counter_of(const task::Task& task, unsigned counter) noexcept {
    return task_counters[task::TaskTable::get().tasks.index_of(&task) * kCountersMax + counter];
}

platform::Atomic<std::int32_t>& EventTable::kick_of(const task::Task& task) noexcept {
    return kicks[task::TaskTable::get().tasks.index_of(&task)];
}

bool EventTable::host_is_gone() const noexcept {
    // The futex word of a lock is its first; robust_list's protocol puts the mark there.
    const auto word = __atomic_load_n(&host_life.__data.__lock, __ATOMIC_RELAXED);
    return (static_cast<std::uint32_t>(word) & FUTEX_OWNER_DIED) != 0;
}

Result<unsigned> attach(const EventAttributes& attributes, bpf::Program& program,
                        std::uint64_t cookie) {
    if ((attributes.period == 0) == (attributes.frequency == 0)) {
        return Error{std::errc::invalid_argument,
                     "an event has either a period or a frequency, not both and not neither"};
    }
    const std::lock_guard guard(host().lock);
    EventTable& table = EventTable::get();
    const std::uint64_t period = period_of(attributes);
    const unsigned index = free_event(table, period);
    const unsigned counter_index = counter_for(table, attributes);
    if (index == EventTable::kEventsMax) {
        return Error{std::errc::argument_list_too_long,
                     "more than " + std::to_string(EventTable::kEventsMax) + " events at a time"};
    }
    if (counter_index == EventTable::kCountersMax) {
        return Error{std::errc::argument_list_too_long,
                     "more than " + std::to_string(EventTable::kCountersMax) +
                         " events with different attributes at a time"};
    }
    if (ended_counts(program) == nullptr) {
        host().ended.push_back({&program, program.id, {}});  // here: detach() must not need memory
    }
    bpf::get_program(program);

    // Release, all of them: a handler that sees one of these sees that the round before has ended.
    Event& event = table.events[index];
    event.counter.store(counter_index, std::memory_order_release);
    event.program.store(&program, std::memory_order_release);
    event.cookie.store(cookie, std::memory_order_release);
    event.sample_period.store(period, std::memory_order_release);
    // Release: pairs with the acquire in read_event().
    event.round.store(event.round.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    Counter& counter = table.counters[counter_index];
    if (!is_in_use(counter)) {
        counter.attributes = attributes;
        host().last_counter = counter_index;
    }
    counter.events.fetch_or(bit_of(index), std::memory_order_release);
    update_counter(counter_index, bit_of(index));
    return index;
}

void detach(unsigned index) noexcept {
    bpf::Program* program = nullptr;
    {
        const std::lock_guard guard(host().lock);
        EventTable& table = EventTable::get();
        Event& event = table.events[index];
        const std::uint32_t round = event.round.load(std::memory_order_relaxed);
        if (!Event::is_attached_in(round)) {
            return;
        }
        const std::uint32_t counter = event.counter.load(std::memory_order_relaxed);
        table.counters[counter].events.fetch_and(~bit_of(index), std::memory_order_release);
        event.round.store(round + 1, std::memory_order_release);
        update_counter(counter, 0);
        program = event.program.load(std::memory_order_relaxed);
        add(*ended_counts(*program), counts_of(index, round));
        host().gone[index] = EventCounts{};
    }
    // Handlers that still hold it are inside sleepable sections, which the release waits out.
    bpf::put_program(*program);
}

void close_for(task::Task& task) noexcept {
    const std::lock_guard guard(host().lock);
    EventTable& table = EventTable::get();
    // Its handlers cannot run any more: the memory serves another thread next.
    for (unsigned index = 0; index < EventTable::kEventsMax; ++index) {
        const std::uint32_t round = table.events[index].round.load(std::memory_order_relaxed);
        if (round == 0) {
            continue;  // nobody's ever
        }
        TaskEvent& own = table.of(task, index);
        if (Event::is_attached_in(round)) {
            add(host().gone[index], read_counts(own, round));
        }
        own.round.store(0, std::memory_order_relaxed);
        own.timer.store(0, std::memory_order_relaxed);
    }
    close_counters(task);
    for (unsigned index = 0; index < EventTable::kCountersMax; ++index) {
        table.counter_of(task, index).closed.store(kNoDescriptor, std::memory_order_relaxed);
    }
    const std::int32_t kick =
        table.kick_of(task).exchange(kNoDescriptor, std::memory_order_relaxed);
    if (kick >= 0) {
        ::close(kick);
    }
    task.sampled.store(0, std::memory_order_relaxed);
}

void stop_all() noexcept {
    const std::lock_guard guard(host().lock);
    EventTable::get().stopped.store(1, std::memory_order_release);
    for_each_live_task([](task::Task& task) {
        close_counters(task);
        task.sampled.store(0, std::memory_order_relaxed);
    });
}

EventCounts counts(const bpf::Program& program) noexcept {
    const std::lock_guard guard(host().lock);
    const EventCounts* ended = ended_counts(program);
    EventCounts sum = ended == nullptr ? EventCounts{} : *ended;
    for (unsigned index = 0; index < EventTable::kEventsMax; ++index) {
        const Event& event = EventTable::get().events[index];
        const std::uint32_t round = event.round.load(std::memory_order_relaxed);
        if (Event::is_attached_in(round) &&
            event.program.load(std::memory_order_relaxed) == &program) {
            add(sum, counts_of(index, round));
        }
    }
    sum.faulted = program.faults.load(std::memory_order_relaxed);
    return sum;
}

EventCounts counts() noexcept {
    const std::lock_guard guard(host().lock);
    EventCounts sum;
    for (const Ended& ended : host().ended) {
        add(sum, ended.counts);
    }
    for (unsigned index = 0; index < EventTable::kEventsMax; ++index) {
        const std::uint32_t round =
            EventTable::get().events[index].round.load(std::memory_order_relaxed);
        if (Event::is_attached_in(round)) {
            add(sum, counts_of(index, round));
        }
    }
    return sum;
}

std::errc refusal() noexcept {
    const std::lock_guard guard(host().lock);
    return static_cast<std::errc>(host().refusal);
}

}  // namespace taskwork::event
