// SPDX-License-Identifier: Apache-2.0
#include "task/task.hpp"

#include <bit>
#include <new>

#include "base/assert.hpp"
#include "sync/arena.hpp"
#include "sync/deferral.hpp"
#include "task/lists.hpp"
#include "task/run_point.hpp"
#include "task/worker.hpp"

namespace taskwork::task {

namespace {

/// Which Process this process is; valid while the fork cookie is the one it was joined under.
void set_self(Process* process, std::uint64_t cookie) noexcept {
    platform::ProcessState& self = platform::this_process();
    self.process.store(process, std::memory_order_relaxed);
    // Release: pairs with the acquire in current_process().
    self.cookie.store(cookie, std::memory_order_release);
}

bool domain_closed() noexcept {
    return sync::Arena::header().closed.load(std::memory_order_relaxed) != 0;
}

/// Copies at most size - 1 characters and always ends with NUL.
void copy_name(char* to, std::size_t size, const char* from) noexcept {
    std::size_t index = 0;
    for (; from != nullptr && index + 1 < size && from[index] != '\0'; ++index) {
        to[index] = from[index];
    }
    to[index] = '\0';
}

void clear(LatencyHistogram& histogram) noexcept {
    for (auto& count : histogram.counts) {
        count.set(0);
    }
    histogram.max_ns.set(0);
}

}  // namespace

namespace {

/// In Task::references: nobody but the handles needs the block.
constexpr std::uint32_t kUnneeded = std::uint32_t{1} << 31;

/// Nobody has the block any more. The references are forgotten before it can be claimed, not when
/// it is: its next claimer may die in between, and it would count as unneeded already.
void release(sync::Pool& pool, Task& task) noexcept {
    free_hook(task);
    task.references.store(0, std::memory_order_relaxed);
    pool.release(&task);
}

/// The worker has waited out the grace period.
void free_task(sync::Pool& pool, void* object) noexcept {
    auto& task = *static_cast<Task*>(object);
    if (task.references.fetch_or(kUnneeded, std::memory_order_acq_rel) == 0) {
        release(pool, task);
    }
}

}  // namespace

void get(Task& task) noexcept { task.references.fetch_add(1, std::memory_order_relaxed); }

void put(Task& task) noexcept {
    if (task.references.fetch_sub(1, std::memory_order_acq_rel) - 1 == kUnneeded) {
        release(TaskTable::get().tasks, task);
    }
}

std::size_t TaskTable::bytes(std::uint32_t tasks_max, std::uint32_t processes_max) noexcept {
    return sizeof(TaskTable) + sync::Pool::bytes(tasks_max, sizeof(Task)) +
           sync::Pool::bytes(processes_max, sizeof(Process)) + sizeof(std::int32_t) * tasks_max;
}

std::errc TaskTable::create(std::uint32_t tasks_max, std::uint32_t processes_max) noexcept {
    std::errc why{};
    void* memory = sync::Arena::allocate(sizeof(TaskTable), 64, &why);
    if (memory == nullptr) {
        return why;
    }
    auto* table = new (memory) TaskTable;
    void* tasks = sync::Arena::allocate(sync::Pool::bytes(tasks_max, sizeof(Task)), 64, &why);
    void* processes =
        sync::Arena::allocate(sync::Pool::bytes(processes_max, sizeof(Process)), 64, &why);
    void* tids = sync::Arena::allocate(sizeof(*table->tids) * tasks_max, 64, &why);
    if (tasks == nullptr || processes == nullptr || tids == nullptr) {
        return why;
    }
    table->tids = static_cast<platform::Atomic<std::int32_t>*>(tids);
    table->tasks.init(tasks, tasks_max, sizeof(Task), Worker::adopt_pool(table->tasks, free_task));
    table->processes.init(processes, processes_max, sizeof(Process),
                          Worker::adopt_pool(table->processes, nullptr));
    auto& queue = sync::DeferralQueue::get();
    // Each control block has its deferral items for good: a thread in any context finds them ready.
    for (std::uint32_t index = 0; index < tasks_max; ++index) {
        Task& task = table->task_at(index);
        // Closed until a thread has it: nothing can be pushed onto nobody.
        task.works.store(kListClosed, std::memory_order_relaxed);
        task.safe_works.store(kListClosed, std::memory_order_relaxed);
        const auto argument = reinterpret_cast<std::uint64_t>(&task);
        task.born_item = queue.add_item(sync::DeferralKind::task_born, argument);
        task.exited_item = queue.add_item(sync::DeferralKind::task_exited, argument);
        task.compact_item = queue.add_item(sync::DeferralKind::task_compact, argument);
        task.kick_item = queue.add_item(sync::DeferralKind::task_kick, argument);
        if (task.kick_item == 0) {
            return std::errc::not_enough_memory;
        }
    }
    for (std::uint32_t index = 0; index < processes_max; ++index) {
        Process& process = table->process_at(index);
        process.joined_item = queue.add_item(sync::DeferralKind::process_joined, index);
        if (process.joined_item == 0) {
            return std::errc::not_enough_memory;
        }
    }
    sync::Arena::set_root(sync::Root::tasks, table);
    return no_error;
}

Task* TaskTable::find(std::int32_t tid) noexcept {
    for (std::uint32_t index = 0; index < tasks.count(); ++index) {
        // Acquire: pairs with the release in register_current.
        if (tids[index].load(std::memory_order_acquire) != tid) {
            continue;
        }
        Task& task = task_at(index);
        if (sync::Pool::load(&task).state() == kTaskAlive && task.tid == tid) {
            return &task;
        }
    }
    return nullptr;
}

Process* current_process() noexcept {
    const platform::ProcessState& self = platform::this_process();
    return self.cookie.load(std::memory_order_acquire) == platform::fork_cookie()
               ? static_cast<Process*>(self.process.load(std::memory_order_relaxed))
               : nullptr;
}

std::errc join_process(const char* command_name) noexcept {
    if (current_process() != nullptr) {
        return no_error;
    }
    if (domain_closed()) {
        return std::errc::no_such_process;
    }
    if (!platform::fork_cookie_renew()) {
        return std::errc::not_enough_memory;
    }
    sync::GracePeriods::register_process();
    TaskTable& table = TaskTable::get();
    auto* process = static_cast<Process*>(table.processes.claim(0, kProcessJoining));
    if (process == nullptr) {
        table.processes_refused.fetch_add(1, std::memory_order_relaxed);
        return std::errc::not_enough_memory;
    }
    sync::Word word = sync::Pool::load(process);
    process->pid.set(platform::process_id());
    process->start_ns.set(platform::boot_ns());
    process->attached.store(0, std::memory_order_relaxed);
    copy_name(process->command, sizeof(process->command), command_name);
    const auto index = static_cast<std::uint16_t>(table.processes.index_of(process));
    if (word.state() != kProcessJoining ||
        !sync::Pool::transition(process, word, word.with_state(kProcessAlive).with_owner(index))) {
        return std::errc::no_such_process;  // Stopped so long that the worker took it for dead.
    }
    set_self(process, platform::fork_cookie());
    sync::DeferralQueue::get().queue(process->joined_item);
    return no_error;
}

void leave_process() noexcept {
    set_self(nullptr, 0);
    platform::fork_cookie_clear();
}

void close_left_process(Process& process) noexcept {
    sync::Word word = sync::Pool::load(&process);
    sync::Pool::transition(&process, word, word.with_state(kProcessDead));
    sync::DeferralQueue::get().queue(process.joined_item);
}

std::errc register_current(std::uintptr_t stack_low, std::uintptr_t stack_high,
                           void (*prepare)(Task&) noexcept) noexcept {
    if (current() != nullptr) {
        return no_error;
    }
    Process* process = current_process();
    if (process == nullptr || domain_closed()) {
        return std::errc::no_such_process;
    }
    TaskTable& table = TaskTable::get();
    const auto owner = static_cast<std::uint16_t>(table.processes.index_of(process));
    auto* task = static_cast<Task*>(table.tasks.claim(owner, kTaskBorn));
    if (task == nullptr) {
        table.tasks_refused.fetch_add(1, std::memory_order_relaxed);
        return std::errc::not_enough_memory;
    }
    task->pid.set(process->pid);
    const std::int32_t tid = platform::thread_id();
    task->tid.set(tid);
    table.tids[table.index_of(*task)].store(tid, std::memory_order_release);
    task->process.set(owner);
    task->lane = static_cast<std::uint16_t>(table.index_of(*task));
    task->sampled.store(0, std::memory_order_relaxed);
    task->section.reset();
    task->nmi.reset();
    task->draining.reset();
    task->safe_draining.reset();
    task->attention.store(0, std::memory_order_relaxed);
    task->stack_low = stack_low;
    task->stack_high = stack_high;
    for (auto& slot : task->readers) {
        slot.reset();
    }
    task->pending.store(0, std::memory_order_relaxed);
    task->take_sequence.store(0, std::memory_order_relaxed);
    task->husks.store(0, std::memory_order_relaxed);
    task->statistics = TaskStatistics{};
    clear(task->latency);
    if (prepare != nullptr) {
        prepare(*task);
    }
    // Release: pairs with the acquire in push(); the list opens when the rest is ready.
    task->safe_works.store(0, std::memory_order_release);
    task->works.store(0, std::memory_order_release);
    sync::Word word = sync::Pool::load(task);
    if (word.state() != kTaskBorn ||
        !sync::Pool::transition(task, word, word.with_state(kTaskAlive))) {
        return std::errc::no_such_process;  // The process is leaving: the worker has closed it.
    }
    platform::ThreadState& state = platform::this_thread();
    // A handler between the two stores must not trust the task under an old cookie.
    state.cookie.set(platform::fork_cookie());
    platform::signal_fence();
    state.task.set(task);
    sync::DeferralQueue::get().queue(task->born_item);
    return no_error;
}

void exit_current(bool process_ends) noexcept {
    Task* task = current();
    if (task == nullptr) {
        return;
    }
    recover(*task, platform::stack_pointer());
    if (task->is_inside()) {
        return;  // A callback that ends its thread: the sweep for vanished threads takes it.
    }
    drain(*task);
    drain_safe(*task);
    close_and_run(*task);
    sync::Word word = sync::Pool::load(task);
    if (word.state() == kTaskAlive) {
        sync::Pool::transition(task, word, word.with_state(kTaskExited));
    }
    platform::ThreadState& state = platform::this_thread();
    state.task.set(nullptr);
    platform::signal_fence();
    auto& queue = sync::DeferralQueue::get();
    if (process_ends) {
        queue.queue_quietly(task->exited_item);
    } else {
        queue.queue(task->exited_item);
    }
}

void LatencyHistogram::record(std::uint64_t ns) noexcept {
    // Eight steps an octave: the three bits after the leading one.
    unsigned bucket = static_cast<unsigned>(ns);
    if (ns >= 8) {
        const auto octave = static_cast<unsigned>(std::bit_width(ns)) - 1;
        bucket = (octave - 2) * 8 + static_cast<unsigned>((ns >> (octave - 3)) & 7);
    }
    counts[bucket < kBuckets ? bucket : kBuckets - 1].increment();
    if (ns > max_ns.get()) {
        max_ns.set(ns);
    }
}

std::uint64_t LatencyHistogram::lower_bound_ns(unsigned bucket) noexcept {
    if (bucket < 8) {
        return bucket;
    }
    const unsigned octave = bucket / 8 + 2;
    return (std::uint64_t{8} | (bucket % 8)) << (octave - 3);
}

}  // namespace taskwork::task
