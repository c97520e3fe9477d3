// SPDX-License-Identifier: Apache-2.0
#include "cli/processes.hpp"

#include <dirent.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string_view>

#include "agent/launch.hpp"

namespace taskwork::cli {

namespace {

/// A program that may join is given this long for it.
constexpr std::uint64_t kJoinTimeNs = 200'000'000;
/// Modules are read at each scan for a second, then once a second.
constexpr std::uint64_t kModulesNs = 1'000'000'000;

std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

struct Stat {
    char state = '?';
    std::uint64_t start = 0;
    std::string name;
};

std::optional<Stat> read_stat(pid_t pid) {
    const std::string text = read_file(fmt::format("/proc/{}/stat", pid));
    // The name stands in parentheses and may hold anything, these included.
    const std::size_t open = text.find('(');
    const std::size_t close = text.rfind(')');
    if (open == std::string::npos || close == std::string::npos || close < open) {
        return std::nullopt;
    }
    Stat stat;
    stat.name = text.substr(open + 1, close - open - 1);
    std::istringstream rest(text.substr(close + 1));
    rest >> stat.state;
    std::string skipped;
    for (int field = 4; field < 22; ++field) {
        rest >> skipped;
    }
    rest >> stat.start;
    return rest ? std::optional(stat) : std::nullopt;
}

/// Children of all threads of a process. Linux without CONFIG_PROC_CHILDREN has none to tell.
std::vector<pid_t> read_children(pid_t pid) {
    std::vector<pid_t> children;
    const std::string folder = fmt::format("/proc/{}/task", pid);
    DIR* threads = ::opendir(folder.c_str());
    if (threads == nullptr) {
        return children;
    }
    while (const dirent* entry = ::readdir(threads)) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        std::istringstream list(read_file(folder + "/" + entry->d_name + "/children"));
        for (pid_t child = 0; list >> child;) {
            children.push_back(child);
        }
    }
    ::closedir(threads);
    return children;
}

std::string read_command_line(pid_t pid) {
    std::string text = read_file(fmt::format("/proc/{}/cmdline", pid));
    while (!text.empty() && text.back() == '\0') {
        text.pop_back();
    }
    std::replace(text.begin(), text.end(), '\0', ' ');
    return text;
}

bool names_domain(pid_t pid) {
    const std::string environment = '\0' + read_file(fmt::format("/proc/{}/environ", pid));
    return environment.find(std::string(1, '\0') + agent::kDomainVariable + "=") !=
               std::string::npos &&
           environment.find(std::string(1, '\0') + "LD_PRELOAD=") != std::string::npos;
}

/// Why the preload library is not in there; empty: no reason is known.
std::string why_not(pid_t pid, const std::string& program) {
    auto inspection = agent::inspect_command(program);
    if (inspection && inspection->entry != agent::Entry::yes) {
        switch (inspection->entry) {
        case agent::Entry::static_program:
            return "statically linked";
        case agent::Entry::foreign_libc:
            return "not linked with glibc";
        case agent::Entry::foreign_machine:
            return "not an x86-64 program";
        case agent::Entry::privileged:
            return "set-user-id, set-group-id or with file capabilities";
        default:
            return "of an unknown format";
        }
    }
    return names_domain(pid) ? "" : "its environment does not name the domain";
}

}  // namespace

std::vector<Module> read_modules(pid_t pid) {
    std::vector<Module> modules;
    std::ifstream maps(fmt::format("/proc/{}/maps", pid));
    for (std::string line; std::getline(maps, line);) {
        // start-end perms offset dev inode path
        std::uint64_t start = 0;
        std::uint64_t end = 0;
        std::uint64_t offset = 0;
        std::array<char, 8> permissions{};
        int path_at = 0;
        if (std::sscanf(line.c_str(), "%lx-%lx %7s %lx %*s %*s %n", &start, &end,
                        permissions.data(), &offset, &path_at) < 4 ||
            permissions[2] != 'x') {
            continue;
        }
        std::string path = line.substr(static_cast<std::size_t>(path_at));
        if (!path.starts_with('/') && path != "[vdso]") {
            continue;
        }
        modules.push_back({start, end, offset, std::move(path)});
    }
    return modules;
}

const Module* find_module(const std::vector<Module>& modules, std::uint64_t address) {
    for (const Module& module : modules) {
        if (address >= module.start && address < module.end) {
            return &module;
        }
    }
    return nullptr;
}

Processes::Image* Processes::look_at(pid_t pid, std::uint64_t now_ns) {
    const std::optional<Stat> stat = read_stat(pid);
    if (!stat) {
        return nullptr;
    }
    std::vector<Image>& images = seen_[{pid, stat->start}];
    Image now;
    now.first_ns = now_ns;
    if (stat->state == 'Z' || stat->state == 'X') {
        if (images.empty()) {
            now.command = stat->name;
            now.reason = "it had ended when it was found";
            images.push_back(std::move(now));
        }
        images.back().last_ns = now_ns;
        return &images.back();
    }
    std::array<char, 4096> link{};
    const ssize_t size =
        ::readlink(fmt::format("/proc/{}/exe", pid).c_str(), link.data(), link.size() - 1);
    if (size < 0 && errno != EACCES && errno != EPERM) {
        return images.empty() ? nullptr : &images.back();
    }
    now.program = size < 0 ? "" : std::string(link.data(), static_cast<std::size_t>(size));
    if (constexpr std::string_view suffix = " (deleted)"; now.program.ends_with(suffix)) {
        now.program.resize(now.program.size() - suffix.size());
    }
    if (images.empty() || images.back().program != now.program) {
        now.command = read_command_line(pid);
        now.reason = size < 0 ? "it runs with other credentials" : why_not(pid, now.program);
        images.push_back(std::move(now));
    }
    images.back().last_ns = now_ns;
    return &images.back();
}

void Processes::read_modules_of(pid_t pid, Watch& watch, std::uint64_t now_ns) {
    watch.read_ns = now_ns;
    std::vector<Module>& known = members_[watch.member].modules;
    for (Module& module : read_modules(pid)) {
        if (std::find(known.begin(), known.end(), module) == known.end()) {
            known.push_back(std::move(module));
        }
    }
}

void Processes::joined(pid_t pid, const std::string& command) {
    if (Image* image = look_at(pid, now_ns_)) {
        image->joined = true;
    }
    std::string line = read_command_line(pid);
    members_.push_back({pid, line.empty() ? command : std::move(line), {}});
    Watch& watch = watched_[pid];
    watch = Watch{members_.size() - 1, now_ns_, now_ns_};
    read_modules_of(pid, watch, now_ns_);
}

void Processes::scan(pid_t root, std::uint64_t now_ns) {
    now_ns_ = now_ns;
    // Breadth first; a process that moves meanwhile (its parent died) is found by the next scan.
    std::vector<pid_t> waiting = read_children(root);
    for (std::size_t index = 0; index < waiting.size() && index < 65536; ++index) {
        const pid_t pid = waiting[index];
        look_at(pid, now_ns);
        const std::vector<pid_t> children = read_children(pid);
        waiting.insert(waiting.end(), children.begin(), children.end());
    }
    for (auto& [pid, watch] : watched_) {
        if (now_ns - watch.joined_ns < kModulesNs || now_ns - watch.read_ns >= kModulesNs) {
            read_modules_of(pid, watch, now_ns);
        }
    }
}

std::vector<NotEntered> Processes::not_entered() const {
    std::vector<NotEntered> list;
    for (const auto& [key, images] : seen_) {
        for (const Image& image : images) {
            if (image.joined ||
                (image.reason.empty() && image.last_ns - image.first_ns < kJoinTimeNs)) {
                continue;
            }
            list.push_back({key.pid, image.command.empty() ? image.program : image.command,
                            image.reason.empty() ? "it did not join" : image.reason});
        }
    }
    return list;
}

}  // namespace taskwork::cli
