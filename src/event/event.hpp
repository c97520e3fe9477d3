// SPDX-License-Identifier: Apache-2.0
//
// Events: what fires perf_event programs. An EventSpec says what to count and which programs to
// run; the host opens one perf event per thread and spec (user mode only, as an ordinary user may),
// aims its signal at the thread, and holds the descriptor, so nothing of ours stands in the
// application's descriptor table and the event path makes no system call. Where perf_event_open is
// forbidden the thread arms a CPU timer on itself.
//
// Programs attached with equal attributes share one kernel event: our signal is a standard one and
// coalesces, so two events of one period, which start together, would lose one of each pair.
//
//   | field                    | written by                  | read by                       |
//   |--------------------------|-----------------------------|-------------------------------|
//   | specs, attachments       | host                        | handlers                      |
//   | TaskEvent::descriptor    | host                        | the thread's handler          |
//   | TaskEvent::timer         | the thread                  | the thread                    |
//   | TaskEvent::fired ...     | the thread's handler        | host; folded when it is gone  |
//   | host_life                | host; the kernel at its end | handlers of CPU timers        |
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

struct Attachment {
    platform::Atomic<bpf::Program*> program;
    std::uint64_t cookie;
};

/// Descriptor fields of TaskEvent: a number, none, or `closed_descriptor` of a number, by which a
/// signal that was under way when the event was closed is still known as ours.
inline constexpr std::int32_t kNoDescriptor = -1;
/// Context: any.
constexpr std::int32_t closed_descriptor(std::int32_t number) noexcept { return -2 - number; }

/// Per task and spec. Counted by the handler, read by the host.
struct alignas(64) TaskEvent {
    platform::Atomic<std::int32_t> descriptor;  ///< Number in the host, as si_fd says.
    platform::Atomic<std::int32_t> timer;       ///< Id of the thread's CPU timer, plus 1; 0: none.
    platform::LocalStatistic fired;
    platform::LocalStatistic dropped_nested;  ///< An event was being handled.
    platform::LocalStatistic dropped_stack;   ///< Too little stack was left.
    platform::LocalStatistic program_ns;      ///< Time spent in the programs.
};

struct alignas(64) EventSpec {
    static constexpr unsigned kAttachmentsMax = 16;
    EventAttributes attributes;
    std::uint64_t sample_period;  ///< What programs read in bpf_perf_event_data.
    platform::Atomic<std::uint32_t> enabled;
    Attachment attachments[kAttachmentsMax];
};

/// Totals of a program or of a spec, for the report.
struct EventCounts {
    std::uint64_t fired = 0;
    std::uint64_t dropped_nested = 0;
    std::uint64_t dropped_stack = 0;
    std::uint64_t faulted = 0;     ///< Executions ended by a bad access; of a program only.
    std::uint64_t program_ns = 0;  ///< Time in the spec's programs.
    std::uint64_t counted = 0;     ///< Kernel's count: CPU ns of the threads, system time included.
    std::uint64_t threads = 0;     ///< Threads that have or had an event.
    std::uint64_t threads_refused = 0;  ///< Threads that got none: see refusal().
};

/// How events reach the threads, found out by probing.
enum class Delivery : std::uint32_t { perf, cpu_timer };

class EventTable {
public:
    static constexpr unsigned kSpecsMax = 8;

    /// Makes the table, publishes it as Root::events, and ties it to the life of the calling
    /// thread, which must be one that lives as long as the host does. Host only.
    /// Errors: not_enough_memory.
    /// Context: task.
    static std::errc create() noexcept;
    /// Context: any.
    static EventTable& get() noexcept;

    /// Context: any.
    TaskEvent& of(const task::Task& task, unsigned spec) noexcept;
    /// Descriptor of the task's one-shot event, as TaskEvent::descriptor.
    /// Context: any.
    platform::Atomic<std::int32_t>& kick_of(const task::Task& task) noexcept;
    /// Whether the host is dead, without a system call: the kernel marks a robust lock whose
    /// owner dies, by SIGKILL too.
    /// Context: any.
    [[nodiscard]] bool host_is_gone() const noexcept;

    EventSpec specs[kSpecsMax];
    platform::Atomic<std::uint32_t> spec_count;
    platform::Atomic<Delivery> delivery;           ///< Set by probe().
    platform::Atomic<std::uint32_t> include_host;  ///< 1: the host's own threads get events too.
    TaskEvent* task_events;                        ///< [task index * kSpecsMax + spec]
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
/// a millisecond), and stores it as the table's delivery if there is a table. A fallback changes
/// `wanted` to what is reached and is named in `*note` (one line for the user; empty: none).
/// Context: task.
Delivery probe(EventAttributes& wanted, std::string* note);

/// Ticks a second of the kernel's scheduler clock, which is what CPU timers reach.
/// Context: task.
std::uint64_t tick_frequency() noexcept;

/// Adds a program to the spec with these attributes (made if there is none), and opens its events
/// for the tasks that are. The spec holds a reference to the program. Returns the spec's index.
/// Errors: argument_list_too_long (specs or attachments used up), invalid_argument (neither or both
/// of period and frequency).
/// Context: task. Host only.
Result<unsigned> attach(const EventAttributes& attributes, bpf::Program& program,
                        std::uint64_t cookie);
/// Takes one attachment back; what was counted while it stood stays in counts(). The spec's events
/// are closed with its last program.
/// Context: task. Host only.
void detach(unsigned spec, bpf::Program& program) noexcept;

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

/// Arms the CPU timers of the calling thread, if that is how events are delivered; a timer ends
/// with disarm_timer, not with its thread. In the member.
/// Context: task; async-signal-safe.
void arm_timer(task::Task& task) noexcept;
/// Context: task; async-signal-safe. Before the thread's task exits.
void disarm_timer(task::Task& task) noexcept;

/// Sums over the tasks that are and were. Of a program: while it was attached, over its specs.
/// Context: task. Host only.
EventCounts counts(const bpf::Program& program) noexcept;
EventCounts counts(unsigned spec) noexcept;
/// Why the latest thread was refused an event: the errno of perf_event_open; no_error if none was.
/// Context: task. Host only.
std::errc refusal() noexcept;

}  // namespace taskwork::event
