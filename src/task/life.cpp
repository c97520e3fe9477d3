// SPDX-License-Identifier: Apache-2.0
#include "task/life.hpp"

#include <algorithm>
#include <cerrno>
#include <mutex>

#include "base/assert.hpp"
#include "sync/deferral.hpp"
#include "task/lists.hpp"
#include "task/reclaim.hpp"
#include "task/run_point.hpp"

namespace taskwork::task {

namespace {

/// A process that has been joining for this many looks is dead.
constexpr unsigned kJoiningLooks = 3;
/// Watched processes asked about at once.
constexpr std::size_t kAskedAtOnce = 64;

}  // namespace

using Guard = std::scoped_lock<platform::Mutex>;

/// Never destroyed: the worker may run until the process ends.
static Life*& of_process() noexcept {
    static Life* instance = new Life;
    return instance;
}

Life& Life::get() noexcept { return *of_process(); }

void Life::abandon() { of_process() = new Life; }

void Life::add_sweeper(Sweeper sweeper) noexcept {
    const Guard guard(lock_);
    const std::uint32_t count = sweeper_count_.load(std::memory_order_relaxed);
    if (std::find(sweepers_.begin(), sweepers_.begin() + count, sweeper) ==
        sweepers_.begin() + count) {
        TW_ASSERT(count < sweepers_.size(), "there are fewer layers than sweepers");
        sweepers_[count] = sweeper;
        // Release: pairs with the acquire in sweep_layers().
        sweeper_count_.store(count + 1, std::memory_order_release);
    }
}

void Life::set_hooks(const LifeHooks& given) noexcept {
    const Guard guard(lock_);
    hooks_ = given;
}

LifeHooks Life::hooks() noexcept {
    const Guard guard(lock_);
    return hooks_;
}

/// Every layer's part, also where one has not decided yet.
bool Life::sweep_layers(std::uint16_t owner) noexcept {
    bool done = true;
    // Acquire: pairs with the release in add_sweeper; the layer's tables are there.
    const std::uint32_t count = sweeper_count_.load(std::memory_order_acquire);
    for (std::uint32_t index = 0; index < count; ++index) {
        done = sweepers_[index](owner) && done;
    }
    return done;
}

bool Life::is_dying(std::uint16_t owner) const noexcept {
    return std::find(dying_.begin(), dying_.end(), owner) != dying_.end();
}

/// What nobody runs any more though its pid lives: the process has left the domain, or another
/// image of it has joined (exec). The sweep is that of the dead.
/// False: nobody was told that it joined.
bool Life::give_up(std::uint16_t owner) {
    const auto at = std::find_if(watched_.begin(), watched_.end(),
                                 [&](const Watched& one) { return one.process == owner; });
    if (at == watched_.end()) {
        // It left before it was ever watched, or it is dying already.
        if (is_dying(owner)) {
            return true;
        }
        dying_.push_back(owner);
        return false;
    }
    platform::unwatch_process(at->watch);
    watched_.erase(at);
    dying_.push_back(owner);
    return true;
}

/// A process of the domain is watched from its joining on.
void Life::process_joined(std::uint16_t owner) {
    Process& process = TaskTable::get().process_at(owner);
    const auto tell = [this, &process] {
        if (const auto hook = hooks().process_joined; hook != nullptr) {
            hook(process);
        }
    };
    const std::uint8_t state = sync::Pool::load(&process).state();
    if (state == kProcessDead && !give_up(owner)) {
        tell();  // It joined all the same.
    }
    if (state != kProcessAlive) {
        return;  // Gone for good; or the next one is joining there, and will say so.
    }
    for (const Watched& one : std::vector<Watched>(watched_)) {
        if (one.process == owner) {
            return;  // Heard of twice.
        }
        if (TaskTable::get().process_at(one.process).pid == process.pid) {
            give_up(one.process);
        }
    }
    if (is_dying(owner)) {
        return;
    }
    if (process.pid == platform::process_id()) {
        process.attached.store(1, std::memory_order_release);
        return;  // The host watches itself by running.
    }
    const int watch = platform::watch_process(process.pid);
    if (watch == -ESRCH) {
        dying_.push_back(owner);
    } else {
        watched_.push_back({owner, watch});
    }
    tell();
}

void Life::task_born(Task& task) {
    if (sync::Pool::load(&task).state() != kTaskAlive) {
        return;
    }
    if (const auto hook = hooks().task_born; hook != nullptr) {
        hook(task);
    }
    // The process may be waiting for its first thread's events.
    Process& process = TaskTable::get().process_at(task.process);
    if (process.attached.exchange(1, std::memory_order_acq_rel) == 0) {
        platform::futex_wake(process.attached, 1);
    }
}

void Life::bury(Task& task) {
    if (const auto hook = hooks().task_exited; hook != nullptr) {
        hook(task);
    }
    TaskTable::get().tasks.retire(&task);
}

void Life::task_exited(Task& task) {
    if (sync::Pool::load(&task).state() == kTaskExited) {
        bury(task);
    }
}

void Life::task_kicked(Task& task) {
    if (told_by_signal(task)) {
        platform::notify_thread(task.pid, task.tid);
        return;
    }
    const auto hook = hooks().kick;
    if (hook != nullptr && sync::Pool::load(&task).state() == kTaskAlive) {
        hook(task);
    }
}

/// First half of a sweep: nobody counts on the dead any more.
void Life::close_process(std::uint16_t owner) {
    TaskTable& table = TaskTable::get();
    Process& process = table.process_at(owner);
    sync::Word word = sync::Pool::load(&process);
    while (word.state() == kProcessAlive &&
           !sync::Pool::transition(&process, word, word.with_state(kProcessDead))) {
    }
    for (std::uint32_t index = 0; index < table.tasks.count(); ++index) {
        Task& task = table.task_at(index);
        word = sync::Pool::load(&task);
        if (word.owner() == owner && word.state() >= sync::kStateUser) {
            if (word.state() != kTaskExited) {
                sync::Pool::transition(&task, word, word.with_state(kTaskExited));
            }
            close_dead(task);
        }
    }
}

/// Second half: every layer has finished what the dead owned.
void Life::bury_process(std::uint16_t owner) {
    TaskTable& table = TaskTable::get();
    Process& process = table.process_at(owner);
    Reclaim::get().restore_hints();
    sync::DeferralQueue::get().settle();
    for (std::uint32_t index = 0; index < table.tasks.count(); ++index) {
        Task& task = table.task_at(index);
        sync::Word word = sync::Pool::load(&task);
        if (word.state() == kTaskAlive && word.owner() != owner) {
            // The dead may have set the flag and not sent the signal.
            if (task.pending.load(std::memory_order_seq_cst) != 0) {
                platform::notify_thread(task.pid, task.tid);
            }
            continue;
        }
        if (word.owner() != owner || word.state() < sync::kStateUser) {
            continue;
        }
        bury(task);
    }
    if (const auto hook = hooks().process_died; hook != nullptr) {
        hook(process);
    }
    table.processes.retire(&process);
}

void Life::sweep_dying() {
    std::vector<std::uint16_t> undecided;
    for (const std::uint16_t owner : dying_) {
        close_process(owner);
        if (sweep_layers(owner)) {
            bury_process(owner);
        } else {
            undecided.push_back(owner);
        }
    }
    dying_ = std::move(undecided);
}

void Life::look_for_deaths() {
    std::array<int, kAskedAtOnce> watches;
    std::array<bool, kAskedAtOnce> ended;
    // From the end: those found go from the list.
    for (std::size_t end = watched_.size(); end != 0;) {
        const std::size_t count = std::min(end, kAskedAtOnce);
        const std::size_t begin = end - count;
        for (std::size_t at = 0; at < count; ++at) {
            watches[at] = watched_[begin + at].watch;
        }
        platform::ended_processes(watches.data(), ended.data(), count);
        for (std::size_t at = count; at-- > 0;) {
            const Watched one = watched_[begin + at];
            // Where it cannot be watched (no descriptors left, an old kernel) the pid itself is
            // asked.
            if (one.watch < 0) {
                ended[at] = platform::process_is_gone(TaskTable::get().process_at(one.process).pid);
            }
            if (ended[at]) {
                dying_.push_back(one.process);
                platform::unwatch_process(one.watch);
                watched_.erase(watched_.begin() + static_cast<std::ptrdiff_t>(begin + at));
            }
        }
        end = begin;
    }
}

/// A member may die before the worker heard of it: while joining, or between joining and saying so.
void Life::look_for_unwatched() {
    TaskTable& table = TaskTable::get();
    joining_.resize(table.processes.count());
    for (std::uint32_t index = 0; index < table.processes.count(); ++index) {
        Process& process = table.process_at(index);
        const sync::Word word = sync::Pool::load(&process);
        Joining& joining = joining_[index];
        if (word.state() != kProcessJoining) {
            joining = {};
        } else if (joining.round != word.round()) {
            joining = {word.round(), 1};
        } else if (++joining.looks > kJoiningLooks) {
            // Joining is a few hundred instructions; one that was merely stopped finds itself
            // refused.
            sync::Word expected = word;
            if (sync::Pool::transition(&process, expected, word.with_state(kProcessDead))) {
                table.processes.release(&process);
            }
        }
        const auto owner = static_cast<std::uint16_t>(index);
        const bool known = process.pid == platform::process_id() || is_dying(owner) ||
                           std::any_of(watched_.begin(), watched_.end(),
                                       [&](const Watched& one) { return one.process == owner; });
        if (word.state() == kProcessAlive && !known) {
            sync::DeferralQueue::get().queue(process.joined_item);
        }
    }
}

void Life::look_for_vanished() {
    look_for_unwatched();
    TaskTable& table = TaskTable::get();
    for (std::uint32_t index = 0; index < table.tasks.count(); ++index) {
        Task& task = table.task_at(index);
        sync::Word word = sync::Pool::load(&task);
        if (word.state() == kTaskAlive && platform::thread_is_gone(task.pid, task.tid)) {
            if (sync::Pool::transition(&task, word, word.with_state(kTaskExited))) {
                close_dead(task);
                sweep_layers(kOwnerNone);
                bury(task);
            }
        }
    }
}

void Life::reset() noexcept {
    for (const Watched& one : watched_) {
        platform::unwatch_process(one.watch);
    }
    watched_.clear();
    dying_.clear();
    joining_.clear();
    const Guard guard(lock_);
    sweeper_count_.store(0, std::memory_order_relaxed);
    hooks_ = {};
}

}  // namespace taskwork::task
