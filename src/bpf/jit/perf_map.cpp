// SPDX-License-Identifier: Apache-2.0
#include "bpf/jit/perf_map.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <mutex>

#include "bpf/jit/switches.hpp"
#include "task/task.hpp"

namespace taskwork::bpf::jit {

namespace {

/// What has been named so far, as lines. Never destroyed: the worker may outlive main's statics.
struct Lines {
    std::mutex lock;
    Named<std::string> named;

    [[nodiscard]] std::string all() const {
        std::string lines;
        named.each([&](const std::string& some) { lines += some; });
        return lines;
    }
};
Lines& known() {
    static auto* instance = new Lines;
    return *instance;
}

/// Adds to the map of a process; `anew`: what it holds, perhaps of an earlier process, goes.
void write_lines(std::int32_t pid, const std::string& lines, bool anew) noexcept {
    char path[64];
    std::snprintf(path, sizeof(path), "/tmp/perf-%" PRId32 ".map", pid);
    // Anybody may have put something there: a link, a pipe that nobody reads, a file of his own.
    const int fd = ::open(
        path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600);
    if (fd < 0) {
        return;
    }
    struct stat status{};
    bool good = ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
                status.st_uid == ::geteuid() && status.st_nlink == 1 &&
                (!anew || ::ftruncate(fd, 0) == 0);
    for (std::size_t done = 0; good && done < lines.size();) {
        const ssize_t written = ::write(fd, lines.data() + done, lines.size() - done);
        good = written > 0;
        done += static_cast<std::size_t>(good ? written : 0);
    }
    ::close(fd);
}

}  // namespace

void name_for_perf(const Symbols& symbols) {
    assume_task();
    std::string lines;
    for (const Symbol& function : symbols.functions) {
        char range[64];
        std::snprintf(range, sizeof(range), "%" PRIxPTR " %zx ", function.address, function.bytes);
        lines.append(range).append(function.name).append("\n");
    }
    Lines& book = known();
    const std::scoped_lock guard(book.lock);
    bool anew = false;
    book.named.replace(symbols.begin, symbols.end, [&](const std::string&) { anew = true; }) =
        lines;
    if (anew) {
        lines = book.all();
    }
    task::TaskTable& table = task::TaskTable::get();
    for (std::uint32_t index = 0; index < table.processes.count(); ++index) {
        const task::Process& process = table.process_at(index);
        if (sync::Pool::load(&process).state() >= sync::kStateUser && process.pid != 0) {
            write_lines(process.pid, lines, anew);
        }
    }
}

void write_perf_map(std::int32_t pid) {
    assume_task();  // or the worker's
    if (!is_on(Switch::perf_map)) {
        return;
    }
    Lines& book = known();
    const std::scoped_lock guard(book.lock);
    write_lines(pid, book.all(), true);
}

}  // namespace taskwork::bpf::jit
