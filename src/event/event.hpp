// SPDX-License-Identifier: Apache-2.0
//
// Events: what fires perf_event programs. An *event* is one attachment of one program: its
// attributes say what is counted and how often it fires, its counts are its own. A *counter* is
// what the host opens in the kernel: a perf event per thread and distinct attributes (user mode
// only, as an ordinary user may), its signal aimed at the thread. The host holds the descriptor, so
// nothing of ours stands in the application's descriptor table and the event path makes no system
// call.
//
// Our signal is a standard one and coalesces: two counters of one period, which start together,
// would lose one of each pair for ever. So n events of equal attributes have one counter of period
// P/n, whose overflows go to them in turn: each fires every P, P/n apart, one program a signal.
//
// Where perf_event_open is forbidden the thread arms CPU timers on itself, one for each event:
// the signals of timers do not coalesce with each other.
//
//   | field                      | written by                  | read by                       |
//   |----------------------------|-----------------------------|-------------------------------|
//   | Event, Counter::events     | host                        | handlers                      |
//   | Counter, the rest          | host                        | host                          |
//   | TaskCounter::descriptor .. | host                        | the thread's handler          |
//   | TaskCounter::turn          | host before it is started;  | the thread's handler          |
//   |                            | the thread's handler        |                               |
//   | TaskEvent::timer, timer_ns | the thread                  | the thread, its handler, host |
//   | TaskEvent, the rest        | the thread's handler        | host; when it is gone, folded |
//   | host_life                  | host; the kernel at its end | handlers of CPU timers        |
#pragma once

#include <pthread.h>

#include <csignal>
#include <cstdint>
#include <string>

#include "base/result.hpp"
#include "bpf/program.hpp"
#include "task/task.hpp"

namespace taskwork::event {

enum class Source : std::uint32_t { cpu_clock, cpu_cycles };

/// What a perf_event_open call asks for, as far as we serve it. Exactly one of the two is set.
struct EventAttributes {
    Source source = Source::cpu_clock;
    std::uint64_t period = 0;     ///< Events between samples (ns for cpu_clock); 0: by frequency.
    std::uint64_t frequency = 0;  ///< Samples a second; 0: by period.
    friend bool operator==(const EventAttributes&, const EventAttributes&) = default;
};

/// One attachment of a program. The table reuses it: what a handler reads between two looks at the
/// same odd round is of one attachment.
struct alignas(64) Event {
    platform::Atomic<std::uint32_t> round;    ///< Odd: attached. Raised by attach and detach.
    platform::Atomic<std::uint32_t> counter;  ///< Index of its counter.
    platform::Atomic<bpf::Program*> program;
    platform::Atomic<std::uint64_t> cookie;
    platform::Atomic<std::uint64_t> sample_period;  ///< As programs read it; 0: not known.

    /// Context: any.
    [[nodiscard]] bool is_attached() const noexcept {
        return is_attached_in(round.load(std::memory_order_acquire));
    }
    /// Context: any.
    static constexpr bool is_attached_in(std::uint32_t round) noexcept { return round % 2 != 0; }
};

/// What the events of equal attributes are fired by.
struct alignas(64) Counter {
    platform::Atomic<std::uint32_t> events;  ///< Set of them, a bit each; 0: not in use.
    EventAttributes attributes;              ///< Of each event.
    EventAttributes opened;                  ///< What the kernel is asked for: n times as often.
};

inline constexpr std::int32_t kNoDescriptor = -1;

/// Per task and counter.
struct alignas(16) TaskCounter {
    platform::Atomic<std::int32_t> descriptor;  ///< Number in the host, as si_fd says; or none.
    platform::Atomic<std::int32_t> closed;      ///< The one before: its last signal may be pending.
    platform::Atomic<std::uint32_t> turn;       ///< Index of the event that fired last.
};

/// Per task and event. Counted by the handler, read by the host.
struct alignas(64) TaskEvent {
    platform::Atomic<std::uint32_t> round;     ///< Event::round that the counts are of.
    platform::Atomic<std::int32_t> timer;      ///< Id of the thread's CPU timer, plus 1; 0: none.
    platform::Atomic<std::uint64_t> timer_ns;  ///< Period of that timer.
    platform::LocalStatistic fired;
    platform::LocalStatistic dropped_nested;  ///< An event was being handled.
    platform::LocalStatistic dropped_stack;   ///< Too little stack was left.
    platform::LocalStatistic program_ns;      ///< Time spent in the program.
};

/// Totals of the events of a program, or of all.
struct EventCounts {
    std::uint64_t fired = 0;
    std::uint64_t dropped_nested = 0;
    std::uint64_t dropped_stack = 0;
    std::uint64_t faulted = 0;  ///< Executions ended by a bad access; of a program only.
    std::uint64_t program_ns = 0;
    std::uint64_t threads_refused = 0;  ///< Threads that got no event: see refusal().
};

/// How events reach the threads, found out by probing.
enum class Delivery : std::uint32_t { perf, cpu_timer };

class EventTable {
public:
    static constexpr unsigned kEventsMax = 32;   ///< At a time; Counter::events has a bit for each.
    static constexpr unsigned kCountersMax = 8;  ///< Distinct attributes at a time.

    /// Makes the table, publishes it as Root::events, and ties it to the life of the calling
    /// thread, which must be one that lives as long as the host does. Host only.
    /// Errors: not_enough_memory.
    /// Context: task.
    static std::errc create() noexcept;
    /// Context: any.
    static EventTable& get() noexcept;

    /// Context: any.
    TaskEvent& of(const task::Task& task, unsigned event) noexcept;
    /// Context: any.
    TaskCounter& counter_of(const task::Task& task, unsigned counter) noexcept;
    /// Descriptor of the task's one-shot event.
    /// Context: any.
    platform::Atomic<std::int32_t>& kick_of(const task::Task& task) noexcept;
    /// Whether the host is dead, without a system call: the kernel marks a robust lock whose
    /// owner dies, by SIGKILL too.
    /// Context: any.
    [[nodiscard]] bool host_is_gone() const noexcept;

    Event events[kEventsMax];
    Counter counters[kCountersMax];
    platform::Atomic<std::uint32_t> stopped;       ///< 1: sampling has ended.
    platform::Atomic<Delivery> delivery;           ///< Set by probe().
    platform::Atomic<std::uint32_t> include_host;  ///< 1: the host's own threads get events too.
    TaskEvent* task_events;                        ///< [task index * kEventsMax + event]
    TaskCounter* task_counters;                    ///< [task index * kCountersMax + counter]
    platform::Atomic<std::int32_t>* kicks;         ///< [task index]
    pthread_mutex_t host_life;
};

/// In every process before its first task: hooks the handler of the task layer.
/// Context: task; async-signal-safe.
void join() noexcept;

/// Whether a signal has the looks of an event of ours, whichever thread's and whether it still
/// runs. For threads that are no tasks any more; the handler of a task knows its events exactly.
/// Context: any.
bool is_event_signal(const siginfo_t& info) noexcept;

/// Whether a signal is an event of this task.
/// Context: any (own thread).
bool is_event_of(const task::Task& task, const siginfo_t& info) noexcept;

/// Finds out what the machine allows, by opening and running an event on the calling thread (about
/// a millisecond), and stores it as the table's delivery if there is a table. `programs`: how many
/// are to be attached with these attributes. A fallback, or a rate that cannot be had for so many,
/// changes `wanted` to what each reaches and is named in `*note` (one line for the user; empty:
/// none).
/// Context: task.
Delivery probe(EventAttributes& wanted, unsigned programs, std::string* note);

/// Ticks a second of the kernel's scheduler clock, which is what CPU timers reach.
/// Context: task.
std::uint64_t tick_frequency() noexcept;

/// Attaches a program to an event of its own, on all threads that are tasks and will be. The event
/// holds a reference to the program. A thread that is sampled by CPU timers is reached when it
/// calls arm_timer. Returns the event's index. Errors: argument_list_too_long (kEventsMax events,
/// or kCountersMax different attributes, in use), invalid_argument (neither or both of period and
/// frequency).
/// Context: task. Host only.
Result<unsigned> attach(const EventAttributes& attributes, bpf::Program& program,
                        std::uint64_t cookie);
/// Ends an event; what it has counted stays in the counts of its program.
/// Context: task. Host only.
void detach(unsigned event) noexcept;

/// Opens / closes the events of one thread; called by the worker's life hooks. Threads of the host
/// are left out unless include_host is set. Where the soft limit of descriptors is reached it is
/// raised to the hard one (not before: a command started later would inherit it).
/// Context: irq. Host only.
void open_for(task::Task& task) noexcept;
void close_for(task::Task& task) noexcept;
/// Resume mode's kick: a one-shot event that fires in user mode only, so a blocked target does not
/// feel it. Made at the first kick, reused, closed with the task.
/// Context: irq. Host only.
void kick(task::Task& task) noexcept;
/// Ends sampling: all events closed, CPU timers ignored from now on. Idempotent.
/// Context: task. Host only.
void stop_all() noexcept;

/// Arms the CPU timers that the calling thread lacks, if that is how events are delivered; a timer
/// ends with disarm_timer, not with its thread. In the member.
/// Context: task; async-signal-safe.
void arm_timer(task::Task& task) noexcept;
/// Context: task; async-signal-safe. Before the thread's task exits.
void disarm_timer(task::Task& task) noexcept;

/// Sums over the tasks that are and were, of a program's events that are and were; of all events.
/// Context: task. Host only.
EventCounts counts(const bpf::Program& program) noexcept;
EventCounts counts() noexcept;
/// Why the latest thread was refused an event: the errno of perf_event_open; no_error if none was.
/// Context: task. Host only.
std::errc refusal() noexcept;

}  // namespace taskwork::event
