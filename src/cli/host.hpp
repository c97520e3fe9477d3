// SPDX-License-Identifier: Apache-2.0
//
// This process as the host of a domain: arena, worker, tables, the hooks through which the worker
// tells of tasks and processes, and the totals of tasks that are gone.
#pragma once

#include <sys/types.h>

#include <mutex>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "cli/latency.hpp"

namespace taskwork::cli {

/// Sums of the statistics of all tasks of members, live and gone.
struct TaskTotals {
    std::uint64_t threads = 0;
    std::uint64_t drains = 0;         ///< Lists of works taken.
    std::uint64_t drains_cut = 0;     ///< Drains ended by their budget.
    std::uint64_t notifications = 0;  ///< Signals sent to other threads.
    std::uint64_t resets = 0;         ///< Sections found open after a longjmp.
    LatencyTotals latency;
};

struct LifeEvent {
    enum class Kind { joined, died } kind = Kind::joined;
    pid_t pid = 0;
    std::uint64_t time_ns = 0;  ///< joined: when, CLOCK_BOOTTIME.
    std::string command;
};

class Host {
public:
    /// Makes this process a host and the calling thread its main one; bpf(2) is answered from now
    /// on. Errors: as Arena::create, Worker::start and uapi::start, each one line.
    /// Context: task. Once.
    static Result<void> start();
    /// Ends the domain: members' calls fail from now on, the worker ends.
    /// Context: task.
    static void stop() noexcept;

    /// While it is held no thread of a member gets its events; COMMAND, which waits for its first
    /// thread's, does not run on (for half a second at most). Blocks the worker: hold it briefly.
    /// Context: task.
    static std::unique_lock<std::mutex> hold_members();

    /// Readable while there are life events.
    /// Context: task.
    static int life_descriptor() noexcept;
    /// What has happened since the last call, in order.
    /// Context: task.
    static std::vector<LifeEvent> take_life_events();

    /// Whether a process of the domain has ended and has not been swept yet.
    /// Context: task.
    static bool has_dead_member() noexcept;
    /// Context: task.
    static TaskTotals task_totals();
};

}  // namespace taskwork::cli
