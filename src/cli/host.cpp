// SPDX-License-Identifier: Apache-2.0
#include "cli/host.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <mutex>
#include <utility>

#include "bpf/jit/perf_map.hpp"
#include "bpf/jit/switches.hpp"
#include "event/event.hpp"
#include "sync/arena.hpp"
#include "task/worker.hpp"
#include "uapi/uapi.hpp"

namespace taskwork::cli {

namespace {

/// What the worker's hooks leave for the main thread.
struct Life {
    std::mutex lock;
    std::mutex members;  ///< Held: see hold_members().
    std::vector<LifeEvent> events;
    TaskTotals gone;
    int descriptor = -1;  ///< eventfd
};

// Never destroyed: the worker may outlive main's statics.
Life& life() {
    static auto* instance = new Life;
    return *instance;
}

bool is_of_host(const task::Task& task) noexcept { return task.pid == platform::process_id(); }

void add(TaskTotals& totals, const task::Task& task) noexcept {
    totals.threads += 1;
    totals.drains += task.statistics.drains.get();
    totals.drains_cut += task.statistics.drains_cut.get();
    totals.notifications += task.statistics.notifications.get();
    totals.resets += task.statistics.resets.get();
    totals.latency.add(task.latency);
}

// The host's own tasks come before the tables of the layers above do.

void on_task_born(task::Task& task) noexcept {
    if (!is_of_host(task)) {
        const std::lock_guard guard(life().members);
        event::open_for(task);
    }
}

void on_task_exited(task::Task& task) noexcept {
    if (is_of_host(task)) {
        return;
    }
    event::close_for(task);
    const std::lock_guard guard(life().lock);
    add(life().gone, task);
}

void tell(LifeEvent::Kind kind, const task::Process& process) noexcept {
    {
        const std::lock_guard guard(life().lock);
        life().events.push_back({kind, process.pid, process.start_ns, process.command});
    }
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written =
        ::write(life().descriptor, &one, sizeof one);  // full: readable anyway
}

void on_process_joined(task::Process& process) noexcept {
    assume_not_nmi();  // the worker's hook
    bpf::jit::write_perf_map(process.pid);
    tell(LifeEvent::Kind::joined, process);
}
void on_process_died(task::Process& process) noexcept { tell(LifeEvent::Kind::died, process); }

}  // namespace

Result<void> Host::start() {
    if (Result<void> checked = bpf::jit::check_switches(); !checked) {
        return checked;
    }
    life().descriptor = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (life().descriptor < 0) {
        return Error{last_errc(), "domain: no descriptor for the worker's messages"};
    }
    if (Result<void> arena = sync::Arena::create(sync::kArenaSizeDefault); !arena) {
        return arena;
    }
    // Before the worker starts, which calls them.
    task::Worker::set_life_hooks({.task_born = on_task_born,
                                  .task_exited = on_task_exited,
                                  .process_joined = on_process_joined,
                                  .process_died = on_process_died,
                                  .kick = event::kick});
    if (Result<void> worker = task::Worker::start(task::TaskTable::kTasksDefault); !worker) {
        return worker;
    }
    return uapi::start();
}

void Host::stop() noexcept { task::Worker::stop(); }

std::unique_lock<std::mutex> Host::hold_members() { return std::unique_lock(life().members); }

int Host::life_descriptor() noexcept { return life().descriptor; }

std::vector<LifeEvent> Host::take_life_events() {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t read = ::read(life().descriptor, &count, sizeof count);
    const std::lock_guard guard(life().lock);
    return std::exchange(life().events, {});
}

bool Host::has_dead_member() noexcept {
    task::TaskTable& table = task::TaskTable::get();
    for (std::uint32_t index = 0; index < table.processes.count(); ++index) {
        const task::Process& process = table.process_at(index);
        // A zombie still has a pid; whoever is to wait for it may take long.
        if (sync::Pool::load(&process).state() >= sync::kStateUser && process.pid != 0 &&
            ::kill(process.pid, 0) != 0 && errno == ESRCH) {
            return true;
        }
    }
    return false;
}

TaskTotals Host::task_totals() {
    const std::lock_guard guard(life().lock);
    TaskTotals totals = life().gone;
    task::TaskTable& table = task::TaskTable::get();
    for (std::uint32_t index = 0; index < table.tasks.count(); ++index) {
        const task::Task& task = table.task_at(index);
        const std::uint8_t state = sync::Pool::load(&task).state();
        if (state >= sync::kStateUser && !is_of_host(task)) {
            add(totals, task);
        }
    }
    return totals;
}

}  // namespace taskwork::cli
