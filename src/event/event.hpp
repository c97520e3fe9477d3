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
#pragma once

#include <csignal>
#include <cstdint>

#include "base/result.hpp"
#include "bpf/program.hpp"
#include "task/task.hpp"

namespace taskwork::event {

enum class Source : std::uint32_t { cpu_clock, cpu_cycles };

/// What a perf_event_open call asks for, as far as we serve it.
struct EventAttributes {
    Source source = Source::cpu_clock;
    std::uint64_t period = 0;   ///< Events between samples (ns for cpu_clock); 0: by frequency.
    std::uint64_t frequency = 0;  ///< Samples a second; 0: by period.
    friend bool operator==(const EventAttributes&, const EventAttributes&) = default;
};

struct Attachment {
    platform::Atomic<bpf::Program*> program;
    std::uint64_t cookie;
};

/// Per task and spec. Counted by the handler, read by the host.
struct alignas(64) TaskEvent {
    platform::Atomic<std::int32_t> descriptor;  ///< Number in the host, as si_fd says; -1: none.
    platform::Atomic<std::uint32_t> timer_armed;
    platform::LocalStatistic fired;
    platform::LocalStatistic program_ns;  ///< Time spent in the programs.
    std::uint64_t opened_ns;
};

struct alignas(64) EventSpec {
    static constexpr unsigned kAttachmentsMax = 16;
    EventAttributes attributes;
    platform::Atomic<std::uint32_t> enabled;
    Attachment attachments[kAttachmentsMax];
};

/// Per-program totals for the report.
struct EventCounts {
    std::uint64_t fired = 0;
    std::uint64_t dropped_nested = 0;
    std::uint64_t dropped_stack = 0;
    std::uint64_t faulted = 0;
};

/// How events reach the threads, found out by probing.
enum class Delivery : std::uint32_t { perf, cpu_timer };

class EventTable {
public:
    static constexpr unsigned kSpecsMax = 8;
    /// Host only. Errors: not_enough_memory.
    /// Context: task.
    static std::errc create() noexcept;
    static EventTable& get() noexcept;
    EventSpec specs[kSpecsMax];
    platform::Atomic<std::uint32_t> spec_count;
    Delivery delivery;
    std::uint64_t timer_frequency;  ///< Reached by the CPU timer (kernel tick).
    TaskEvent* task_events;  ///< [task index * kSpecsMax + spec]
    TaskEvent& of(const task::Task& task, unsigned spec) noexcept;
};

/// In every process before its first task: hooks the handler of the task layer.
/// Context: task; async-signal-safe.
void join() noexcept;

/// Finds out what the machine allows: perf or CPU timer, hardware counters. A fallback is named in
/// `*note` (one line for the user), empty if none. Errors: none that end a run.
/// Context: task. Host only.
Delivery probe(EventAttributes& wanted, std::string* note);

/// Adds a program to the spec with these attributes (made if there is none). Returns the spec's
/// index. Errors: argument_list_too_long (specs or attachments used up).
/// Context: task. Host only.
Result<unsigned> attach(const EventAttributes& attributes, bpf::Program& program,
                        std::uint64_t cookie);
/// Context: task. Host only.
void detach(unsigned spec, bpf::Program& program) noexcept;

/// Opens / closes the events of one thread; called by the worker's life hooks. The number of
/// descriptors is limited by RLIMIT_NOFILE, which the host raises to its hard limit.
/// Context: irq. Host only.
void open_for(task::Task& task) noexcept;
void close_for(task::Task& task) noexcept;
/// Resume mode's kick: a one-shot event that fires in user mode only.
/// Context: irq. Host only.
void kick(task::Task& task) noexcept;
/// Ends sampling: all events closed, timers told to stop.
/// Context: task. Host only.
void stop_all() noexcept;

/// Arms the CPU timer on the calling thread if that is how events are delivered. In the member.
/// Context: task.
void arm_timer(task::Task& task) noexcept;

/// Sums over tasks that are and were.
/// Context: task. Host only.
EventCounts counts(const bpf::Program& program) noexcept;

}  // namespace taskwork::event
