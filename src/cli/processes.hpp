// SPDX-License-Identifier: Apache-2.0
//
// The processes of a run. Members announce themselves through the worker's hooks; what else COMMAND
// starts is told by the kernel (family.hpp) or found in /proc, so that the report can name those
// that were not entered (static programs, other credentials, a scrubbed environment).
//
// What is counted is an image: a process from one exec to the next. A member that execs a static
// program leaves the domain without a word, and counts as not entered from then on.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "cli/family.hpp"

namespace taskwork::cli {

/// An executable mapping: what turns an address into module and offset.
struct Module {
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    std::uint64_t offset = 0;  ///< Of `start` in the file.
    std::string path;
    friend bool operator==(const Module&, const Module&) = default;
};

struct ProcessReport {
    pid_t pid = 0;
    std::string command;
    std::vector<Module> modules;
};

struct NotEntered {
    pid_t pid = 0;
    std::string command;
    std::string reason;
};

/// The executable mappings of files of a process, from /proc/PID/maps; empty if it is gone.
/// Context: task.
std::vector<Module> read_modules(pid_t pid);

/// Where in `found` an address lies; nullptr: nowhere.
/// Context: task.
const Module* find_module(const std::vector<Module>& modules, std::uint64_t address);

class Processes {
public:
    /// Has the kernel tell of what COMMAND's family does, or, where it does not, looks at /proc.
    /// Context: task.
    void follow(pid_t command);
    [[nodiscard]] bool is_following() const noexcept { return family_.is_following(); }

    /// Takes what the kernel told, or looks at the tree of processes below `root` in /proc. Called
    /// every now and then; in /proc, what lives shorter than the time between may be missed.
    /// Context: task.
    void look(pid_t root);

    /// A process joined the domain at `time_ns` (CLOCK_BOOTTIME); with each exec and in each forked
    /// child anew. Called after a look() that came later than the joining.
    /// Context: task.
    void joined(pid_t pid, const std::string& command, std::uint64_t time_ns);

    /// One record of the family, in order of time.
    /// Context: task.
    void apply(const FamilyRecord& record);

    /// Members, in the order of joining, with all modules ever seen in them.
    /// Context: task.
    [[nodiscard]] std::vector<ProcessReport> members() const;
    /// What never joined. What was forked and neither joined nor ran a program is left out if it
    /// was short: it was on its way. Context: task.
    [[nodiscard]] std::vector<NotEntered> not_entered() const;
    /// Records that the kernel could not deliver: the lists may lack as many things.
    /// Context: task.
    [[nodiscard]] std::uint64_t lost() const noexcept { return family_.lost(); }

private:
    /// A process between two execs, or between fork and exec.
    struct Image {
        std::string program;  ///< Path of the executable.
        std::string command;  ///< Command line, or what is known of it.
        std::string reason;   ///< Why it cannot join; empty: none is known.
        std::uint64_t born_ns = 0;
        std::uint64_t seen_ns = 0;  ///< Last seen alive; in the family's records, its end.
        std::uint64_t start = 0;    ///< In /proc: field 22 of its stat, since pids come again.
        std::uint64_t modules_ns = 0;
        std::vector<Module> modules;
        bool execed = false;  ///< The kernel said so.
        bool ended = false;   ///< The kernel said so.
        bool joined = false;
        std::uint64_t examined_ns = 0;  ///< By examine().
    };

    void look_at(pid_t pid, std::uint64_t now_ns);
    void scan(pid_t root, std::uint64_t now_ns);
    /// Looks why a process that could have joined has not.
    static void examine(pid_t pid, Image& image, std::uint64_t now_ns);
    void read_modules_of(pid_t pid, Image& image, std::uint64_t now_ns);

    Family family_;
    std::map<pid_t, std::vector<Image>> images_;        ///< In order of time.
    std::vector<std::pair<pid_t, std::size_t>> order_;  ///< Joined images.
};

}  // namespace taskwork::cli
