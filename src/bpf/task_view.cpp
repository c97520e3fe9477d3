// SPDX-License-Identifier: Apache-2.0
#include "bpf/task_view.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "base/raw_system_call.hpp"
#include "bpf/program.hpp"
#include "sync/platform.hpp"

namespace taskwork::bpf {

namespace {

/// A file of /proc in a buffer of its own, NUL terminated; empty if it cannot be read. No stdio: a
/// forked child may run this where malloc's lock is held for ever.
class ProcFile {
public:
    /// /proc/PID/task/TID/NAME.
    ProcFile(std::int32_t pid, std::int32_t tid, const char* name) noexcept {
        char path[64];
        char* end = append(path, "/proc/");
        end = append(end, pid);
        end = append(end, "/task/");
        end = append(end, tid);
        end = append(end, "/");
        append(end, name);
        const long file = raw_system_call(SYS_openat, AT_FDCWD, reinterpret_cast<long>(path),
                                          O_RDONLY | O_CLOEXEC);
        if (file < 0) {
            return;
        }
        const long size =
            raw_system_call(SYS_read, file, reinterpret_cast<long>(text_), sizeof(text_) - 1);
        raw_system_call(SYS_close, file);
        text_[size > 0 ? size : 0] = '\0';
    }
    [[nodiscard]] const char* text() const noexcept { return text_; }

private:
    static char* append(char* to, const char* text) noexcept {
        const std::size_t length = std::strlen(text);
        std::memcpy(to, text, length + 1);
        return to + length;
    }
    static char* append(char* to, std::int32_t number) noexcept {
        char digits[12];
        std::size_t at = sizeof(digits);
        do {
            digits[--at] = static_cast<char>('0' + number % 10);
            number /= 10;
        } while (number != 0);
        std::memcpy(to, digits + at, sizeof(digits) - at);
        return to + (sizeof(digits) - at);
    }
    char text_[1024] = {};
};

std::uint64_t parse_number(const char* text) noexcept {
    std::uint64_t number = 0;
    for (; *text >= '0' && *text <= '9'; ++text) {
        number = number * 10 + static_cast<std::uint64_t>(*text - '0');
    }
    return number;
}

/// Field `wanted` of /proc/PID/stat, numbered as in proc(5); 0 if it is not there.
std::uint64_t stat_field(const char* stat, unsigned wanted) noexcept {
    // The second field is a name in parentheses, which may itself hold blanks and parentheses.
    const char* at = std::strrchr(stat, ')');
    for (unsigned field = 2; at != nullptr && field < wanted; ++field) {
        at = std::strchr(at + 1, ' ');
    }
    return at == nullptr ? 0 : parse_number(at + 1);
}

std::uint64_t status_field(const char* status, const char* label) noexcept {
    const char* at = std::strstr(status, label);
    return at == nullptr ? 0 : parse_number(at + std::strlen(label));
}

/// Two stores: a reader in a handler never sees a name without its NUL.
void set_name(task_struct& view, const char* name) noexcept {
    alignas(8) char padded[sizeof(view.comm)] = {};
    for (std::size_t i = 0; i + 1 < sizeof(padded) && name[i] != '\0' && name[i] != '\n'; ++i) {
        padded[i] = name[i];
    }
    std::uint64_t words[2];
    std::memcpy(words, padded, sizeof(words));
    auto* comm = reinterpret_cast<std::uint64_t*>(view.comm);
    __atomic_store_n(&comm[0], words[0], __ATOMIC_RELAXED);
    __atomic_store_n(&comm[1], words[1], __ATOMIC_RELAXED);
}

void read_user_ids(const task::Task& task) noexcept {
    const ProcFile status(task.pid, task.pid, "status");
    if (status.text()[0] == '\0') {
        return;
    }
    ProcessView& process = process_view(task);
    process.uid = static_cast<std::uint32_t>(status_field(status.text(), "\nUid:\t"));
    process.gid = static_cast<std::uint32_t>(status_field(status.text(), "\nGid:\t"));
}

/// Identity and times of the thread `tid`, from its stat and comm files.
void describe_thread(task_struct& view, std::int32_t pid, std::int32_t tid,
                     const ProcFile& stat) noexcept {
    view.pid = tid;
    view.tgid = pid;
    // In clock ticks of 1/100 s since boot, on every x86-64 Linux.
    constexpr std::uint64_t kTickNs = 10'000'000;
    const std::uint64_t now = platform::now_ns();
    const std::uint64_t suspended = platform::boot_ns() - now;
    view.start_boottime = stat_field(stat.text(), 22) * kTickNs;
    view.start_time = view.start_boottime > suspended ? view.start_boottime - suspended : 0;
    const ProcFile name(pid, tid, "comm");
    set_name(view, name.text());
}

void describe_process(const task::Task& task, const task::Process& process) noexcept {
    ProcessView& view = process_view(task);
    {
        const ProcFile file(task.pid, task.pid, "stat");
        const char* stat = file.text();
        view.mm = mm_struct{
            .start_code = stat_field(stat, 26),
            .end_code = stat_field(stat, 27),
            .start_data = stat_field(stat, 45),
            .end_data = stat_field(stat, 46),
            .start_brk = stat_field(stat, 47),
            .brk = static_cast<std::uint64_t>(raw_system_call(SYS_brk, 0)),
            .start_stack = stat_field(stat, 28),
            .arg_start = stat_field(stat, 48),
            .arg_end = stat_field(stat, 49),
            .env_start = stat_field(stat, 50),
            .env_end = stat_field(stat, 51),
        };
    }
    const auto parent = static_cast<std::int32_t>(raw_system_call(SYS_getppid));
    const ProcFile parent_stat(parent, parent, "stat");
    describe_thread(view.outside_parent, parent, parent, parent_stat);
    view.outside_parent.mm = nullptr;
    view.outside_parent.group_leader = &view.outside_parent;
    view.outside_parent.real_parent = &view.outside_parent;
    view.outside_parent.parent = &view.outside_parent;
    view.uid = static_cast<std::uint32_t>(raw_system_call(SYS_getuid));
    view.gid = static_cast<std::uint32_t>(raw_system_call(SYS_getgid));
    view.described_ns = process.start_ns;
}

}  // namespace

task::Task* task_of_view(std::uint64_t address) noexcept {
    sync::Pool& tasks = task::TaskTable::get().tasks;
    if (!tasks.contains(address)) {
        return nullptr;
    }
    auto* task =
        static_cast<task::Task*>(tasks.at(tasks.index_of(reinterpret_cast<const void*>(address))));
    return reinterpret_cast<std::uint64_t>(task->view) == address ? task : nullptr;
}

bool is_outside_parent(std::uint64_t address) noexcept {
    sync::Pool& processes = task::TaskTable::get().processes;
    if (!processes.contains(address)) {
        return false;
    }
    const auto* process = static_cast<const task::Process*>(
        processes.at(processes.index_of(reinterpret_cast<const void*>(address))));
    return reinterpret_cast<std::uint64_t>(process->view) + offsetof(ProcessView, outside_parent) ==
           address;
}

void describe_task(task::Task& task) noexcept {
    task::TaskTable& table = task::TaskTable::get();
    const task::Process& process = table.process_at(task.process);
    ProcessView& process_seen = process_view(task);
    if (process_seen.described_ns != process.start_ns) {
        describe_process(task, process);
    }
    task_struct& view = task_view(task);
    const ProcFile stat(task.pid, task.tid, "stat");
    describe_thread(view, task.pid, task.tid, stat);
    view.mm = &process_seen.mm;
    task::Task* leader = task.tid == task.pid ? &task : table.find(task.pid);
    view.group_leader = &task_view(leader != nullptr ? *leader : task);
    task::Task* parent = table.find(process_seen.outside_parent.pid);
    view.real_parent = parent != nullptr ? &task_view(*parent) : &process_seen.outside_parent;
    view.parent = view.real_parent;
}

void refresh_own_name(task::Task& task) noexcept {
    char name[sizeof(task_struct::comm)] = {};
    if (raw_system_call(SYS_prctl, PR_GET_NAME, reinterpret_cast<long>(name)) == 0) {
        set_name(task_view(task), name);
    }
}

void refresh_task(task::Task& task) noexcept {
    if (const ProcFile name(task.pid, task.tid, "comm"); name.text()[0] != '\0') {
        set_name(task_view(task), name.text());
    }
    if (task.tid == task.pid) {
        read_user_ids(task);
    }
}

void refresh_tasks() noexcept {
    sync::Pool& tasks = task::TaskTable::get().tasks;
    for (std::uint32_t i = 0; i < tasks.count(); ++i) {
        void* task = tasks.at(i);
        if (sync::Pool::load(task).state() == task::kTaskAlive) {
            refresh_task(*static_cast<task::Task*>(task));
        }
    }
}

}  // namespace taskwork::bpf
