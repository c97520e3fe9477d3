// SPDX-License-Identifier: Apache-2.0
#include "bpf/jit/perf_map.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "task/task.hpp"

namespace taskwork::bpf::jit {

namespace {

/// What has been named so far, as lines. Never destroyed: the worker may outlive main's statics.
struct Named {
    std::mutex lock;
    std::string lines;
};
Named& named() {
    static auto* instance = new Named;
    return *instance;
}

/// Adds to the map of a process; `anew`: what an earlier one of this number has left goes.
void write_lines(std::int32_t pid, const std::string& lines, bool anew) noexcept {
    char path[64];
    std::snprintf(path, sizeof(path), "/tmp/perf-%" PRId32 ".map", pid);
    // Anybody may have put a link there.
    const int fd = ::open(
        path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | (anew ? O_TRUNC : O_APPEND), 0600);
    if (fd < 0) {
        return;
    }
    for (std::size_t done = 0; done < lines.size();) {
        const ssize_t written = ::write(fd, lines.data() + done, lines.size() - done);
        if (written <= 0) {
            break;
        }
        done += static_cast<std::size_t>(written);
    }
    ::close(fd);
}

bool is_wanted() noexcept {
    const char* setting = std::getenv("TASKWORK_PERF_MAP");
    return setting != nullptr && std::strcmp(setting, "1") == 0;
}

}  // namespace

void name_native(const NativeCode& native, std::string_view program,
                 const std::map<std::uint32_t, std::string>& names) {
    if (!is_wanted()) {
        return;
    }
    std::string lines;
    for (std::uint32_t i = 0; i < native.function_count; ++i) {
        const Place& place = native.functions[i];
        const std::uint32_t end =
            i + 1 < native.function_count ? native.functions[i + 1].offset : native.bytes;
        char range[64];
        std::snprintf(range, sizeof(range), "%" PRIxPTR " %" PRIx32 " bpf_prog_",
                      reinterpret_cast<std::uintptr_t>(native.code) + place.offset,
                      end - place.offset);
        lines.append(range).append(program);
        if (place.insn != 0) {
            const auto found = names.find(place.insn);
            lines.append("_").append(found == names.end() ? std::to_string(place.insn)
                                                          : found->second);
        }
        lines.append("\n");
    }
    Named& all = named();
    const std::scoped_lock guard(all.lock);
    all.lines += lines;
    task::TaskTable& table = task::TaskTable::get();
    for (std::uint32_t index = 0; index < table.processes.count(); ++index) {
        const task::Process& process = table.process_at(index);
        if (sync::Pool::load(&process).state() >= sync::kStateUser && process.pid != 0) {
            write_lines(process.pid, lines, false);
        }
    }
}

void write_perf_map(std::int32_t pid) {
    if (!is_wanted()) {
        return;
    }
    Named& all = named();
    const std::scoped_lock guard(all.lock);
    write_lines(pid, all.lines, true);
}

}  // namespace taskwork::bpf::jit
