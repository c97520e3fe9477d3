// SPDX-License-Identifier: Apache-2.0
//
// The processes of a run. Members announce themselves through the worker's hooks; what else COMMAND
// starts is found by following the tree of processes in /proc, so that the report can name those
// that were not entered (static programs, other credentials, a scrubbed environment).
//
// A process is a pid and the program in it: a member that execs a static program leaves the domain
// without a word, and counts as not entered from then on.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

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
    /// A process joined the domain; with each exec and in each forked child anew.
    /// Context: task.
    void joined(pid_t pid, const std::string& command);

    /// Looks at the tree of processes below `root`: new processes, new programs in them, new
    /// modules of members. Called every now and then; what lives shorter than the time between may
    /// be missed. Context: task.
    void scan(pid_t root, std::uint64_t now_ns);

    /// Members, in the order of joining, with all modules ever seen in them.
    /// Context: task.
    [[nodiscard]] const std::vector<ProcessReport>& members() const noexcept { return members_; }
    /// What never joined. A program that could join and was seen for a moment only is left out: it
    /// was on its way to join, or to another exec.
    /// Context: task.
    [[nodiscard]] std::vector<NotEntered> not_entered() const;

private:
    struct Key {
        pid_t pid;
        std::uint64_t start;  ///< Field 22 of /proc/PID/stat: pids come again.
        friend auto operator<=>(const Key&, const Key&) = default;
    };
    /// What was seen of a process between two execs.
    struct Image {
        std::string program;  ///< Target of /proc/PID/exe.
        std::string command;  ///< Command line.
        std::string reason;   ///< Why it cannot join; empty: none is known.
        std::uint64_t first_ns = 0;
        std::uint64_t last_ns = 0;
        bool joined = false;
    };
    struct Watch {
        std::size_t member;  ///< In members_.
        std::uint64_t joined_ns = 0;
        std::uint64_t read_ns = 0;
    };
    /// The image in the process now; nullptr: it is gone.
    Image* look_at(pid_t pid, std::uint64_t now_ns);
    void read_modules_of(pid_t pid, Watch& watch, std::uint64_t now_ns);

    std::vector<ProcessReport> members_;
    std::map<pid_t, Watch> watched_;  ///< Latest member of each pid.
    std::map<Key, std::vector<Image>> seen_;
    std::uint64_t now_ns_ = 0;
};

}  // namespace taskwork::cli
