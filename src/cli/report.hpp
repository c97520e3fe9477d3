// SPDX-License-Identifier: Apache-2.0
//
// What `taskwork run` has to say at the end, as plain data. run.cpp gathers it; report_text.cpp and
// report_json.cpp print it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bpf/program.hpp"
#include "cli/btf_value.hpp"
#include "cli/host.hpp"
#include "cli/memory_watch.hpp"
#include "cli/processes.hpp"
#include "defer/task_work.hpp"
#include "event/event.hpp"

namespace taskwork::cli {

inline constexpr unsigned kScheduleResults = 7;
/// Names of bpf::ScheduleResult, in order: what the kfuncs returned.
inline constexpr std::array<const char*, kScheduleResults> kScheduleResultNames = {
    "ok", "EBUSY", "ENOMEM", "ESRCH", "EBADF", "ENOENT", "other"};

struct ProgramReport {
    std::string name;
    event::EventCounts events;
    std::uint64_t runs = 0;
    std::uint64_t run_ns = 0;  ///< Time in these.
    std::uint64_t callbacks = 0;
    std::uint64_t callback_ns = 0;
    std::array<std::uint64_t, kScheduleResults> schedules{};
    std::string last_fault;  ///< What and where; empty: none.
};

/// What came out of a ring buffer.
struct RingReport {
    std::uint64_t records = 0;
    std::uint64_t bytes = 0;
    std::uint64_t dropped = 0;  ///< Reservations that did not fit.
};

struct MapReport {
    std::string name;
    std::string type;
    Json elements = Json::array();  ///< {"key":, "value":} each.
    std::uint64_t refused = 0;      ///< Updates that found no memory.
    std::optional<RingReport> ring;
};

struct Report {
    std::vector<std::string> command;
    int exit_status = 0;  ///< The one that run ends with.
    int signal = 0;       ///< That ended COMMAND; 0: none.
    std::uint64_t elapsed_ns = 0;
    std::uint64_t user_ns = 0;  ///< User-mode CPU time of COMMAND and the children it waited for.
    std::uint64_t system_ns = 0;
    std::string event;               ///< What was sampled, in words.
    std::vector<std::string> notes;  ///< Fallbacks and shortages, a line each.

    std::vector<ProgramReport> programs;
    defer::WorkCounts works;
    TaskTotals tasks;
    std::uint64_t tasks_refused = 0;  ///< Threads that found the table full.
    std::uint64_t processes_refused = 0;
    std::uint64_t threads_refused = 0;  ///< Threads that got no event.
    /// Runs of programs that found all processor numbers taken (map/processors.hpp).
    std::uint64_t processors_shared = 0;
    std::vector<MapReport> maps;
    std::vector<ProcessReport> processes;
    std::vector<NotEntered> not_entered;
    std::vector<HeldBack> held_back;  ///< Threads that grace periods had to wait for.
};

/// The report as `run` prints it to standard error, ending with a newline.
/// Context: task.
std::string report_text(const Report& report);

/// The report as one JSON document, ending with a newline. Its members are described in
/// docs/report.md.
/// Context: task.
std::string report_json(const Report& report);

/// 12345678 as "12,345,678".
/// Context: task.
std::string with_commas(std::uint64_t number);

/// A duration as a person says it: "870 ns", "12.3 us", "4.56 ms", "1.2 s".
/// Context: task.
std::string duration_text(std::uint64_t ns);

}  // namespace taskwork::cli
