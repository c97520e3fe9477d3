// SPDX-License-Identifier: Apache-2.0
//
// The host's side of events: specs, attachments, the descriptors of every thread's events, totals.
#include "event/event.hpp"

#include <linux/futex.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>
#include <vector>

#include "event/perf.hpp"
#include "event/timer.hpp"
#include "sync/arena.hpp"

namespace taskwork::event {

namespace {

/// One attachment of a program, past ones included: what its spec had counted when it began, and
/// when it ended.
struct Span {
    const bpf::Program* program = nullptr;
    std::uint32_t program_id = 0;  ///< The table reuses the memory of programs.
    unsigned spec = 0;
    bool ended = false;
    EventCounts begin{};
    EventCounts end{};
};

/// What the host knows of its events beyond the arena. The main thread and the worker both come
/// here; no handler does.
struct Host {
    std::mutex lock;
    EventCounts gone[EventTable::kSpecsMax]{};  ///< Of threads whose events were closed.
    std::vector<Span> spans;
    bool stopped = false;
    int refusal = 0;
};

Host& host() {
    static Host state;
    return state;
}

void add(EventCounts& sum, const EventCounts& more) noexcept {
    sum.fired += more.fired;
    sum.dropped_nested += more.dropped_nested;
    sum.dropped_stack += more.dropped_stack;
    sum.program_ns += more.program_ns;
    sum.counted += more.counted;
    sum.threads += more.threads;
    sum.threads_refused += more.threads_refused;
}

EventCounts read_statistics(const TaskEvent& event) noexcept {
    EventCounts counts;
    counts.fired = event.fired.get();
    counts.dropped_nested = event.dropped_nested.get();
    counts.dropped_stack = event.dropped_stack.get();
    counts.program_ns = event.program_ns.get();
    return counts;
}

/// Only when the thread's handler cannot run any more: the memory serves another thread next.
void fold(TaskEvent& event, unsigned spec) noexcept {
    add(host().gone[spec], read_statistics(event));
    event.fired.set(0);
    event.dropped_nested.set(0);
    event.dropped_stack.set(0);
    event.program_ns.set(0);
}

void close_event(platform::Atomic<std::int32_t>& field, EventCounts* counts) noexcept {
    const std::int32_t descriptor = field.load(std::memory_order_relaxed);
    if (descriptor < 0) {
        return;
    }
    if (counts != nullptr) {
        counts->counted += read_perf(descriptor);
    }
    field.store(closed_descriptor(descriptor), std::memory_order_relaxed);
    ::close(descriptor);
}

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

void note_refusal(unsigned spec, int error) noexcept {
    if (!is_thread_gone(error)) {
        host().gone[spec].threads_refused += 1;
        host().refusal = error;
    }
}

Delivery delivery_of(const EventTable& table) noexcept {
    return table.delivery.load(std::memory_order_relaxed);
}

bool is_ours_to_sample(const task::Task& task) noexcept {
    return EventTable::get().include_host.load(std::memory_order_relaxed) != 0 ||
           task.pid != sync::Arena::header().host_pid;
}

void update_sampled(task::Task& task) noexcept {
    EventTable& table = EventTable::get();
    std::uint32_t fastest = 0;
    for (unsigned spec = 0; spec < table.spec_count.load(std::memory_order_relaxed); ++spec) {
        const TaskEvent& event = table.of(task, spec);
        const bool runs = event.descriptor.load(std::memory_order_relaxed) >= 0 ||
                          (delivery_of(table) == Delivery::cpu_timer &&
                           event.timer.load(std::memory_order_relaxed) != 0);
        if (!runs || table.specs[spec].enabled.load(std::memory_order_relaxed) == 0) {
            continue;
        }
        const std::uint32_t interval = interval_us_of(table.specs[spec].attributes);
        if (fastest == 0 || interval < fastest) {
            fastest = interval;
        }
    }
    task.sampled.store(fastest, std::memory_order_release);
}

/// Opens one event. The lock is held.
void open_event(task::Task& task, unsigned spec) noexcept {
    EventTable& table = EventTable::get();
    TaskEvent& event = table.of(task, spec);
    if (event.descriptor.load(std::memory_order_relaxed) >= 0 ||
        table.specs[spec].enabled.load(std::memory_order_relaxed) == 0) {
        return;
    }
    if (delivery_of(table) == Delivery::cpu_timer) {
        return;  // the thread arms it
    }
    const int descriptor = open_perf_within_limit(table.specs[spec].attributes, task.tid);
    if (descriptor < 0) {
        note_refusal(spec, -descriptor);
        return;
    }
    // The thread must know the number before the first signal that carries it.
    event.descriptor.store(descriptor, std::memory_order_release);
    const int error = start_perf(descriptor);
    if (error != 0) {
        note_refusal(spec, -error);
        close_event(event.descriptor, nullptr);
        return;
    }
    host().gone[spec].threads += 1;
}

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

/// The lock is held.
EventCounts counts_of_spec(unsigned spec) noexcept {
    EventTable& table = EventTable::get();
    EventCounts sum = host().gone[spec];
    task::TaskTable& tasks = task::TaskTable::get();
    for (std::uint32_t index = 0; index < tasks.tasks.count(); ++index) {
        const TaskEvent& event = table.of(tasks.task_at(index), spec);
        add(sum, read_statistics(event));
        const std::int32_t descriptor = event.descriptor.load(std::memory_order_relaxed);
        if (descriptor >= 0) {
            sum.counted += read_perf(descriptor);
        }
    }
    return sum;
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
        sync::Arena::allocate(sizeof(TaskEvent) * kSpecsMax * tasks, alignof(TaskEvent), &why));
    auto* kicks = static_cast<platform::Atomic<std::int32_t>*>(
        sync::Arena::allocate(sizeof(platform::Atomic<std::int32_t>) * tasks, 64, &why));
    if (table == nullptr || events == nullptr || kicks == nullptr) {
        return why == no_error ? std::errc::not_enough_memory : why;
    }
    for (std::uint32_t index = 0; index < tasks; ++index) {
        kicks[index].store(kNoDescriptor, std::memory_order_relaxed);
        for (unsigned spec = 0; spec < kSpecsMax; ++spec) {
            events[index * kSpecsMax + spec].descriptor.store(kNoDescriptor,
                                                              std::memory_order_relaxed);
        }
    }
    table->task_events = events;
    table->kicks = kicks;
    table->delivery.store(Delivery::perf, std::memory_order_relaxed);
    if (!lock_for_life(table->host_life)) {
        return std::errc::not_enough_memory;
    }
    {
        // A process may be the host of one domain after another (tests).
        const std::lock_guard guard(host().lock);
        host().stopped = false;
        host().refusal = 0;
        host().spans.clear();
        for (EventCounts& counts : host().gone) {
            counts = EventCounts{};
        }
    }
    sync::Arena::set_root(sync::Root::events, table);
    return no_error;
}

EventTable& EventTable::get() noexcept {
    return *sync::Arena::root<EventTable>(sync::Root::events);
}

TaskEvent& EventTable::of(const task::Task& task, unsigned spec) noexcept {
    return task_events[task::TaskTable::get().tasks.index_of(&task) * kSpecsMax + spec];
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
    const unsigned count = table.spec_count.load(std::memory_order_relaxed);
    unsigned index = 0;
    while (index < count && table.specs[index].attributes != attributes) {
        ++index;
    }
    if (index == EventTable::kSpecsMax) {
        return Error{std::errc::argument_list_too_long, "more than " +
                                                            std::to_string(EventTable::kSpecsMax) +
                                                            " events with different attributes"};
    }
    EventSpec& spec = table.specs[index];
    Attachment* free = nullptr;
    for (Attachment& attachment : spec.attachments) {
        if (attachment.program.load(std::memory_order_relaxed) == nullptr) {
            free = &attachment;
            break;
        }
    }
    if (free == nullptr) {
        return Error{std::errc::argument_list_too_long,
                     "more than " + std::to_string(EventSpec::kAttachmentsMax) +
                         " programs attached to one event"};
    }
    Span span;
    span.program = &program;
    span.program_id = program.id;
    span.spec = index;
    span.begin = counts_of_spec(index);
    host().spans.push_back(span);

    bpf::get_program(program);
    if (index == count) {
        spec.attributes = attributes;
        spec.sample_period = period_of(attributes);
    }
    free->cookie = cookie;
    // Release: pairs with the acquire in run_programs().
    free->program.store(&program, std::memory_order_release);
    spec.enabled.store(host().stopped ? 0 : 1, std::memory_order_release);
    if (index == count) {
        // Release: pairs with the acquire in spec_of().
        table.spec_count.store(count + 1, std::memory_order_release);
    }
    for_each_live_task([&](task::Task& task) {
        if (is_ours_to_sample(task)) {
            open_event(task, index);
            update_sampled(task);
        }
    });
    return index;
}

void detach(unsigned index, bpf::Program& program) noexcept {
    {
        const std::lock_guard guard(host().lock);
        EventTable& table = EventTable::get();
        EventSpec& spec = table.specs[index];
        bool found = false;
        bool others = false;
        for (Attachment& attachment : spec.attachments) {
            const bpf::Program* attached = attachment.program.load(std::memory_order_relaxed);
            if (attached == &program && !found) {
                attachment.program.store(nullptr, std::memory_order_release);
                found = true;
            } else if (attached != nullptr) {
                others = true;
            }
        }
        if (!found) {
            return;
        }
        if (!others) {
            spec.enabled.store(0, std::memory_order_release);
            for_each_live_task([&](task::Task& task) {
                close_event(table.of(task, index).descriptor, &host().gone[index]);
                update_sampled(task);
            });
        }
        for (Span& span : host().spans) {
            if (span.program == &program && span.program_id == program.id && span.spec == index &&
                !span.ended) {
                span.end = counts_of_spec(index);
                span.ended = true;
                break;
            }
        }
    }
    // Handlers that still hold it are inside sleepable sections, which the release waits out.
    bpf::put_program(program);
}

void open_for(task::Task& task) noexcept {
    const std::lock_guard guard(host().lock);
    if (host().stopped || !is_ours_to_sample(task)) {
        return;
    }
    EventTable& table = EventTable::get();
    for (unsigned spec = 0; spec < table.spec_count.load(std::memory_order_relaxed); ++spec) {
        open_event(task, spec);
    }
    if (delivery_of(table) ==
        Delivery::perf) {  // else the thread says so itself, once it has a timer
        update_sampled(task);
    }
}

void close_for(task::Task& task) noexcept {
    const std::lock_guard guard(host().lock);
    EventTable& table = EventTable::get();
    for (unsigned spec = 0; spec < EventTable::kSpecsMax; ++spec) {
        TaskEvent& event = table.of(task, spec);
        close_event(event.descriptor, &host().gone[spec]);
        if (event.timer.exchange(0, std::memory_order_relaxed) != 0) {
            host().gone[spec].threads += 1;
        }
        fold(event, spec);
    }
    close_event(table.kick_of(task), nullptr);
    task.sampled.store(0, std::memory_order_relaxed);
}

void kick(task::Task& task) noexcept {
    const std::lock_guard guard(host().lock);
    EventTable& table = EventTable::get();
    platform::Atomic<std::int32_t>& field = table.kick_of(task);
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

void stop_all() noexcept {
    const std::lock_guard guard(host().lock);
    host().stopped = true;
    EventTable& table = EventTable::get();
    for (EventSpec& spec : table.specs) {
        spec.enabled.store(0, std::memory_order_release);
    }
    for_each_live_task([&](task::Task& task) {
        for (unsigned spec = 0; spec < EventTable::kSpecsMax; ++spec) {
            close_event(table.of(task, spec).descriptor, &host().gone[spec]);
        }
        task.sampled.store(0, std::memory_order_relaxed);
    });
}

void arm_timer(task::Task& task) noexcept {
    EventTable& table = EventTable::get();
    if (delivery_of(table) != Delivery::cpu_timer) {
        return;
    }
    for (unsigned spec = 0; spec < table.spec_count.load(std::memory_order_acquire); ++spec) {
        TaskEvent& event = table.of(task, spec);
        const bool wanted = table.specs[spec].enabled.load(std::memory_order_acquire) != 0 &&
                            is_ours_to_sample(task);
        if (!wanted || event.timer.load(std::memory_order_relaxed) != 0) {
            continue;
        }
        const std::uint64_t period = period_of(table.specs[spec].attributes);
        const int id = create_timer(spec, period != 0 ? period : 1'000'000);
        if (id >= 0) {
            event.timer.store(id + 1, std::memory_order_relaxed);
        }
    }
    update_sampled(task);
}

void disarm_timer(task::Task& task) noexcept {
    EventTable& table = EventTable::get();
    if (delivery_of(table) != Delivery::cpu_timer) {
        return;
    }
    for (unsigned spec = 0; spec < EventTable::kSpecsMax; ++spec) {
        const std::int32_t timer = table.of(task, spec).timer.load(std::memory_order_relaxed);
        if (timer != 0) {
            // The field stays: close_for() counts the thread by it.
            delete_timer(timer - 1);
        }
    }
}

EventCounts counts(unsigned spec) noexcept {
    const std::lock_guard guard(host().lock);
    return counts_of_spec(spec);
}

EventCounts counts(const bpf::Program& program) noexcept {
    const std::lock_guard guard(host().lock);
    EventCounts sum;
    for (const Span& span : host().spans) {
        if (span.program != &program || span.program_id != program.id) {
            continue;
        }
        const EventCounts end = span.ended ? span.end : counts_of_spec(span.spec);
        EventCounts part;
        part.fired = end.fired - span.begin.fired;
        part.dropped_nested = end.dropped_nested - span.begin.dropped_nested;
        part.dropped_stack = end.dropped_stack - span.begin.dropped_stack;
        part.program_ns = end.program_ns - span.begin.program_ns;
        part.counted = end.counted - span.begin.counted;
        part.threads = end.threads - span.begin.threads;
        part.threads_refused = end.threads_refused - span.begin.threads_refused;
        add(sum, part);
    }
    sum.faulted = program.faults.load(std::memory_order_relaxed);
    return sum;
}

std::errc refusal() noexcept {
    const std::lock_guard guard(host().lock);
    return static_cast<std::errc>(host().refusal);
}

}  // namespace taskwork::event
