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
#include "sync/arena.hpp"
#include "sync/platform.hpp"

namespace taskwork::cli {

namespace {

/// A program that may join is given this long for it.
constexpr std::uint64_t kJoinTimeNs = 200'000'000;
/// And a child that goes on to run a program, which that of a vfork does without joining.
constexpr std::uint64_t kExecTimeNs = 10 * kJoinTimeNs;
/// Who has not joined is examined so often.
constexpr std::uint64_t kExamineNs = 100'000'000;
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

/// Target of /proc/PID/exe; nothing: errno says why.
std::optional<std::string> read_program(pid_t pid) {
    std::array<char, 4096> link{};
    const ssize_t size =
        ::readlink(fmt::format("/proc/{}/exe", pid).c_str(), link.data(), link.size() - 1);
    if (size < 0) {
        return std::nullopt;
    }
    std::string program(link.data(), static_cast<std::size_t>(size));
    if (constexpr std::string_view suffix = " (deleted)"; program.ends_with(suffix)) {
        program.resize(program.size() - suffix.size());
    }
    return program;
}

/// Why the preload library is not loaded into a program; empty: no reason is known.
std::string why_not_by_file(const std::string& program) {
    auto inspection = agent::inspect_command(program);
    if (!inspection) {
        return {};
    }
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
        return {};
    }
}

/// `command_line`: as just read; empty if the process has ended.
std::string why_not_by_environment(pid_t pid, const std::string& command_line) {
    const std::string environment = '\0' + read_file(fmt::format("/proc/{}/environ", pid));
    const auto names = [&](std::string_view variable) {
        return environment.find(std::string(1, '\0').append(variable).append("=")) !=
               std::string::npos;
    };
    return command_line.empty() || (names(agent::kDomainVariable) && names("LD_PRELOAD"))
               ? ""
               : "its environment does not name the domain";
}

/// What a process has mapped at an address, if it is not the arena; empty: nothing.
std::string mapped_at(pid_t pid, std::uintptr_t address) {
    std::ifstream maps(fmt::format("/proc/{}/maps", pid));
    for (std::string line; std::getline(maps, line);) {
        std::uint64_t start = 0;
        std::uint64_t end = 0;
        int path_at = 0;
        if (std::sscanf(line.c_str(), "%lx-%lx %*s %*s %*s %*s %n", &start, &end, &path_at) < 2 ||
            address < start || address >= end) {
            continue;
        }
        if (line.find("taskwork-arena") != std::string::npos) {
            return "";
        }
        const std::string path = line.substr(static_cast<std::size_t>(path_at));
        return path.empty() ? "memory of its own" : path;
    }
    return "";
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

void Processes::apply(const FamilyRecord& record) {
    std::vector<Image>& images = images_[record.pid];
    switch (record.kind) {
    case FamilyRecord::Kind::forked: {
        Image image;
        if (const auto parent = images_.find(record.parent);
            parent != images_.end() && !parent->second.empty()) {
            image = parent->second.back();
        }
        image.born_ns = image.seen_ns = record.time_ns;
        image.reason.clear();
        image.execed = image.ended = image.joined = false;
        images.push_back(std::move(image));
        break;
    }
    case FamilyRecord::Kind::execed: {
        if (!images.empty()) {
            images.back().seen_ns = record.time_ns;
        }
        Image image;
        image.command = record.text;
        image.born_ns = image.seen_ns = record.time_ns;
        image.execed = true;
        images.push_back(std::move(image));
        break;
    }
    case FamilyRecord::Kind::mapped: {
        if (images.empty() || !record.text.starts_with('/')) {
            break;
        }
        Image& image = images.back();
        image.seen_ns = record.time_ns;
        if (image.execed && image.program.empty()) {
            // The first mapping after an exec is the program.
            image.program = record.text;
            image.reason = why_not_by_file(image.program);
            if (read_program(record.pid) == image.program) {  // it still lives, in this image
                const std::string line = read_command_line(record.pid);
                image.command = line.empty() ? image.command : line;
                if (image.reason.empty()) {
                    image.reason = why_not_by_environment(record.pid, line);
                }
            }
        }
        const Module module{record.start, record.end, record.offset, record.text};
        if (std::find(image.modules.begin(), image.modules.end(), module) == image.modules.end()) {
            image.modules.push_back(module);
        }
        break;
    }
    case FamilyRecord::Kind::exited:
        if (!images.empty()) {
            images.back().seen_ns = record.time_ns;
            images.back().ended = true;
        }
        break;
    }
}

void Processes::follow(pid_t command) {
    if (family_.follow(command)) {
        // It was there before anybody looked, so the kernel will not tell of its start.
        Image image;
        image.program = read_program(command).value_or("");
        image.command = read_command_line(command);
        image.execed = true;
        images_[command].push_back(std::move(image));
    }
}

void Processes::look(pid_t root) {
    const std::uint64_t now = platform::boot_ns();
    if (!family_.is_following()) {
        scan(root, now);
        return;
    }
    for (const FamilyRecord& record : family_.take()) {
        apply(record);
    }
    for (auto& [pid, images] : images_) {
        if (!images.empty()) {
            examine(pid, images.back(), now);
        }
    }
}

void Processes::examine(pid_t pid, Image& image, std::uint64_t now_ns) {
    const std::uint64_t since = std::max(image.born_ns, image.examined_ns);
    if (image.joined || image.ended || !image.reason.empty() || now_ns - since < kExamineNs) {
        return;
    }
    image.examined_ns = now_ns;
    if (const std::string what = mapped_at(pid, sync::kArenaBase); !what.empty()) {
        image.reason = "the arena's address is taken by " + what;
    }
}

void Processes::look_at(pid_t pid, std::uint64_t now_ns) {
    const std::optional<Stat> stat = read_stat(pid);
    if (!stat) {
        return;
    }
    std::vector<Image>& images = images_[pid];
    const bool is_known = !images.empty() && images.back().start == stat->start;
    Image now;
    now.start = stat->start;
    now.born_ns = now.seen_ns = now_ns;
    if (stat->state == 'Z' || stat->state == 'X') {
        if (!is_known) {
            now.command = stat->name;
            now.reason = "it had ended when it was found";
            images.push_back(std::move(now));
        }
        return;
    }
    const std::optional<std::string> program = read_program(pid);
    if (!program && errno != EACCES && errno != EPERM) {
        return;
    }
    now.program = program.value_or("");
    if (!is_known || images.back().program != now.program) {
        now.command = read_command_line(pid);
        now.reason = program ? why_not_by_file(*program) : "it runs with other credentials";
        if (now.reason.empty()) {
            now.reason = why_not_by_environment(pid, now.command);
        }
        images.push_back(std::move(now));
    }
    images.back().seen_ns = now_ns;
    examine(pid, images.back(), now_ns);
}

void Processes::scan(pid_t root, std::uint64_t now_ns) {
    // Breadth first; a process that moves meanwhile (its parent died) is found by the next scan.
    std::vector<pid_t> waiting = read_children(root);
    for (std::size_t index = 0; index < waiting.size() && index < 65536; ++index) {
        const pid_t pid = waiting[index];
        look_at(pid, now_ns);
        const std::vector<pid_t> children = read_children(pid);
        waiting.insert(waiting.end(), children.begin(), children.end());
    }
    for (auto& [pid, images] : images_) {
        if (images.empty() || !images.back().joined || images.back().seen_ns != now_ns) {
            continue;
        }
        Image& image = images.back();
        if (now_ns - image.born_ns < kModulesNs || now_ns - image.modules_ns >= kModulesNs) {
            read_modules_of(pid, image, now_ns);
        }
    }
}

void Processes::read_modules_of(pid_t pid, Image& image, std::uint64_t now_ns) {
    image.modules_ns = now_ns;
    for (Module& module : read_modules(pid)) {
        if (std::find(image.modules.begin(), image.modules.end(), module) == image.modules.end()) {
            image.modules.push_back(std::move(module));
        }
    }
}

void Processes::joined(pid_t pid, const std::string& command, std::uint64_t time_ns) {
    if (!family_.is_following()) {
        look_at(pid, time_ns);
    }
    std::vector<Image>& images = images_[pid];
    // The latest image that there was when it joined. In /proc it may have been found later.
    std::size_t index = images.size();
    while (index > 0 && family_.is_following() && images[index - 1].born_ns > time_ns) {
        --index;
    }
    if (index == 0) {  // COMMAND, which was there before anybody looked
        Image image;
        image.born_ns = image.seen_ns = time_ns;
        images.insert(images.begin(), std::move(image));
        index = 1;
    }
    Image& image = images[--index];
    image.joined = true;
    if (index + 1 == images.size()) {
        const std::string line = read_command_line(pid);
        image.command = !line.empty() ? line : image.command.empty() ? command : image.command;
        if (const auto program = read_program(pid)) {
            image.program = *program;
        }
        read_modules_of(pid, image, time_ns);
    }
    order_.emplace_back(pid, index);
}

std::vector<ProcessReport> Processes::members() const {
    std::vector<ProcessReport> list;
    for (const auto& [pid, index] : order_) {
        const Image& image = images_.at(pid)[index];
        list.push_back({pid, image.command, image.modules});
    }
    return list;
}

std::vector<NotEntered> Processes::not_entered() const {
    std::vector<NotEntered> list;
    for (const auto& [pid, images] : images_) {
        for (std::size_t index = 0; index < images.size(); ++index) {
            const Image& image = images[index];
            const bool is_sure = image.execed || !image.reason.empty();
            const bool lives = is_following() && !image.ended && index + 1 == images.size();
            const std::uint64_t seen_ns = lives ? platform::boot_ns() : image.seen_ns;
            const std::uint64_t on_its_way_ns =
                index + 1 < images.size() ? kExecTimeNs : kJoinTimeNs;
            if (image.joined || (!is_sure && seen_ns - image.born_ns < on_its_way_ns)) {
                continue;
            }
            std::string reason = image.reason;
            if (reason.empty()) {
                // The kernel stops telling at a change of credentials, before the first mapping.
                reason = image.execed && image.program.empty() ? "it took other credentials"
                                                               : "it did not join";
            }
            list.push_back(
                {pid, image.command.empty() ? image.program : image.command, std::move(reason)});
        }
    }
    return list;
}

}  // namespace taskwork::cli
