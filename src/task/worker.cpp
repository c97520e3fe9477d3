// SPDX-License-Identifier: Apache-2.0
#include "task/worker.hpp"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <unordered_set>
#include <vector>

#include "base/assert.hpp"
#include "sync/arena.hpp"
#include "sync/deferral.hpp"
#include "task/lists.hpp"
#include "task/run_point.hpp"

namespace taskwork::task {

namespace {

/// Longest sleep: how late the death of a member is noticed at worst.
constexpr std::uint64_t kPollNs = 20'000'000;
/// While a grace period runs its end is looked for this often.
constexpr std::uint64_t kGracePollNs = 500'000;
/// How often live tasks are checked for threads that vanished without saying so; how long
/// after_a_while() is.
constexpr std::uint64_t kVanishedNs = 1'000'000'000;
/// A process that has been joining for this many such looks is dead.
constexpr unsigned kJoiningLooks = 3;

struct AdoptedPool {
    sync::Pool* pool;
    void (*finish)(sync::Pool&, void*) noexcept;
    bool brief_only;
    std::uint32_t doorbell;
};

/// Something to be done after a grace period: an object of a pool, or a call.
struct Waiting {
    sync::Pool* pool;
    void (*finish)(sync::Pool&, void*) noexcept;
    void (*call)(void*) noexcept;
    void* argument;
    bool brief_only;
};

struct Batch {
    sync::GraceTicket ticket;
    std::vector<Waiting> brief;
    std::vector<Waiting> both;
};

struct Watched {
    std::uint16_t process;
    int pidfd;
};

/// A process seen joining, and for how many looks.
struct Joining {
    std::uint32_t round = 0;
    unsigned looks = 0;
};

struct State {
    std::mutex lock;  ///< Of `adopted`, `fresh`, `later`, and the counts of synchronize().
    std::condition_variable settled;
    std::vector<AdoptedPool> adopted;
    std::vector<Waiting> fresh;
    std::vector<Waiting> later;  ///< Go to `fresh` at the next look for the vanished.
    std::unordered_set<const void*> collected;  ///< Objects in `fresh` and in batches: each once.
    std::uint64_t rounds_wanted = 0;
    std::uint64_t rounds_done = 0;

    /// Added to while the worker runs: the count is published last.
    std::array<Sweeper, 8> sweepers{};
    std::atomic<unsigned> sweeper_count{0};
    LifeHooks life_hooks;  ///< Under `lock`; see hooks().
    std::thread thread;
    std::atomic<bool> stopping{false};
    bool running = false;
    bool ready = false;  ///< The worker is a task.

    // The worker's own.
    std::deque<Batch> batches;
    std::vector<Watched> watched;
    std::vector<std::uint16_t> dying;
    std::array<Joining, TaskTable::kProcessesMax> joining{};
    std::uint64_t looked_for_vanished_ns = 0;
};

/// Never destroyed: the worker may run until the process ends.
State& state() {
    static State& instance = *new State;
    return instance;
}

LifeHooks hooks() {
    State& s = state();
    const std::scoped_lock guard(s.lock);
    return s.life_hooks;
}

/// Every layer's part, also where one has not decided yet.
bool sweep_layers(std::uint16_t owner) noexcept {
    State& s = state();
    bool done = true;
    // Acquire: pairs with the release in add_sweeper; the layer's tables are there.
    const unsigned count = s.sweeper_count.load(std::memory_order_acquire);
    for (unsigned index = 0; index < count; ++index) {
        done = s.sweepers[index](owner) && done;
    }
    return done;
}

bool any_reader_open(sync::Flavour flavour, std::uint64_t epoch) noexcept {
    TaskTable& table = TaskTable::get();
    for (std::uint32_t index = 0; index < table.tasks.count(); ++index) {
        if (table.task_at(index).readers[static_cast<unsigned>(flavour)].is_open_since(epoch)) {
            return true;
        }
    }
    return false;
}

void collect(std::uint64_t pool_address) {
    auto* pool = reinterpret_cast<sync::Pool*>(pool_address);
    State& s = state();
    const std::scoped_lock guard(s.lock);
    const auto adopted = std::find_if(s.adopted.begin(), s.adopted.end(),
                                      [&](const AdoptedPool& one) { return one.pool == pool; });
    if (adopted == s.adopted.end()) {
        return;
    }
    while (void* object = pool->take_retired()) {
        if (!s.collected.insert(object).second) {
            continue;  // The sweep after a death hints at what is on its way already.
        }
        s.fresh.push_back({pool, adopted->finish, nullptr, object, adopted->brief_only});
    }
}

void finish(const Waiting& one) noexcept {
    if (one.call != nullptr) {
        one.call(one.argument);
        return;
    }
    {
        State& s = state();
        const std::scoped_lock guard(s.lock);
        s.collected.erase(one.argument);
    }
    if (one.finish != nullptr) {
        one.finish(*one.pool, one.argument);
    } else {
        one.pool->release(one.argument);
    }
}

void finish_all(std::vector<Waiting>& list) noexcept {
    // One by one off the list itself: a call may disown a pool, and then whatever of it is still to
    // be finished has to be found there.
    std::reverse(list.begin(), list.end());
    while (!list.empty()) {
        const Waiting one = list.back();
        list.pop_back();
        finish(one);
    }
}

/// Starts a grace period for what was retired since, and finishes what has waited long enough.
void advance_grace() {
    State& s = state();
    std::vector<Waiting> fresh;
    {
        const std::scoped_lock guard(s.lock);
        fresh.swap(s.fresh);
    }
    auto& grace = sync::GracePeriods::get();
    if (!fresh.empty()) {
        Batch batch;
        batch.ticket = grace.start();
        for (const Waiting& one : fresh) {
            (one.brief_only ? batch.brief : batch.both).push_back(one);
        }
        s.batches.push_back(std::move(batch));
    }
    // Later batches end later, so the first that must wait ends the look; brief sections of a batch
    // that a sleeper holds up are not held up with it.
    bool brief_open = false;
    bool both_open = false;
    for (Batch& batch : s.batches) {
        brief_open = brief_open || !grace.poll(batch.ticket, sync::Flavour::brief);
        both_open = brief_open || both_open || !grace.poll(batch.ticket, sync::Flavour::sleepable);
        if (!brief_open) {
            finish_all(batch.brief);
        }
        if (!both_open) {
            finish_all(batch.both);
        }
        if (brief_open) {
            break;
        }
    }
    while (!s.batches.empty() && s.batches.front().brief.empty() &&
           s.batches.front().both.empty()) {
        s.batches.pop_front();
    }
}

bool is_gone(std::int32_t pid, std::int32_t tid) noexcept {
    return ::syscall(SYS_tgkill, pid, tid, 0) != 0 && errno == ESRCH;
}

/// What nobody runs any more though its pid lives: the process has left the domain, or another
/// image of it has joined (exec). The sweep is that of the dead.
void give_up(std::uint16_t owner) {
    State& s = state();
    const auto at = std::find_if(s.watched.begin(), s.watched.end(),
                                 [&](const Watched& one) { return one.process == owner; });
    if (at == s.watched.end()) {
        // It left before it was ever watched, or it is dying already.
        if (std::find(s.dying.begin(), s.dying.end(), owner) == s.dying.end()) {
            s.dying.push_back(owner);
        }
        return;
    }
    if (at->pidfd >= 0) {
        ::close(at->pidfd);
    }
    s.watched.erase(at);
    s.dying.push_back(owner);
}

/// A process of the domain is watched from its joining on.
void watch(std::uint64_t index) {
    State& s = state();
    const auto owner = static_cast<std::uint16_t>(index);
    Process& process = TaskTable::get().process_at(owner);
    if (sync::Pool::load(&process).state() == kProcessDead) {
        give_up(owner);
        return;
    }
    for (const Watched& one : std::vector<Watched>(s.watched)) {
        if (one.process == owner) {
            return;  // Heard of twice.
        }
        if (TaskTable::get().process_at(one.process).pid == process.pid) {
            give_up(one.process);
        }
    }
    if (std::find(s.dying.begin(), s.dying.end(), owner) != s.dying.end()) {
        return;
    }
    if (process.pid == platform::process_id()) {
        process.attached.store(1, std::memory_order_release);
        return;  // The host watches itself by running.
    }
    const auto pidfd = static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0));
    if (pidfd < 0 && errno == ESRCH) {
        s.dying.push_back(owner);  // It joined all the same, and is told of.
    } else {
        s.watched.push_back({owner, pidfd});
    }
    if (const auto hook = hooks().process_joined; hook != nullptr) {
        hook(process);
    }
}

void task_born(std::uint64_t address) {
    auto& task = *reinterpret_cast<Task*>(address);
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

void bury_task(Task& task) {
    if (const auto hook = hooks().task_exited; hook != nullptr) {
        hook(task);
    }
    TaskTable::get().tasks.retire(&task);
}

void task_exited(std::uint64_t address) {
    auto& task = *reinterpret_cast<Task*>(address);
    if (sync::Pool::load(&task).state() == kTaskExited) {
        bury_task(task);
    }
}

void task_kick(std::uint64_t address) {
    auto& task = *reinterpret_cast<Task*>(address);
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
void close_process(std::uint16_t owner) {
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
void bury_process(std::uint16_t owner) {
    State& s = state();
    TaskTable& table = TaskTable::get();
    Process& process = table.process_at(owner);
    {
        const std::scoped_lock guard(s.lock);
        for (const AdoptedPool& adopted : s.adopted) {
            adopted.pool->restore_hints();
            // Retired objects whose retirer died before it could say so.
            for (std::uint32_t index = 0; index < adopted.pool->count(); ++index) {
                adopted.pool->hint_retired(index);
            }
        }
    }
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
        bury_task(task);
    }
    if (const auto hook = hooks().process_died; hook != nullptr) {
        hook(process);
    }
    table.processes.retire(&process);
}

void sweep_dying() {
    State& s = state();
    std::vector<std::uint16_t> undecided;
    for (const std::uint16_t owner : s.dying) {
        close_process(owner);
        if (sweep_layers(owner)) {
            bury_process(owner);
        } else {
            undecided.push_back(owner);
        }
    }
    s.dying = std::move(undecided);
}

void look_for_deaths() {
    State& s = state();
    std::vector<pollfd> polled;
    polled.reserve(s.watched.size());
    for (const Watched& one : s.watched) {
        polled.push_back({one.pidfd, POLLIN, 0});
    }
    if (!polled.empty() && ::poll(polled.data(), polled.size(), 0) > 0) {
        for (std::size_t index = polled.size(); index-- > 0;) {
            if (polled[index].revents != 0) {
                s.dying.push_back(s.watched[index].process);
                ::close(s.watched[index].pidfd);
                s.watched.erase(s.watched.begin() + static_cast<std::ptrdiff_t>(index));
            }
        }
    }
    // Where pidfd_open failed (no descriptors left, an old kernel) the pid itself is asked.
    for (std::size_t index = s.watched.size(); index-- > 0;) {
        const Watched one = s.watched[index];
        const std::int32_t pid = TaskTable::get().process_at(one.process).pid;
        if (one.pidfd < 0 && ::kill(pid, 0) != 0 && errno == ESRCH) {
            s.dying.push_back(one.process);
            s.watched.erase(s.watched.begin() + static_cast<std::ptrdiff_t>(index));
        }
    }
}

/// A member may die before the worker heard of it: while joining, or between joining and saying so.
void look_for_unwatched() {
    State& s = state();
    TaskTable& table = TaskTable::get();
    for (std::uint32_t index = 0; index < table.processes.count(); ++index) {
        Process& process = table.process_at(index);
        const sync::Word word = sync::Pool::load(&process);
        Joining& joining = s.joining[index];
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
        const bool known = process.pid == platform::process_id() ||
                           std::find(s.dying.begin(), s.dying.end(), owner) != s.dying.end() ||
                           std::any_of(s.watched.begin(), s.watched.end(),
                                       [&](const Watched& one) { return one.process == owner; });
        if (word.state() == kProcessAlive && !known) {
            sync::DeferralQueue::get().queue(process.joined_item);
        }
    }
}

/// A thread may end by a raw system call, without its last run point.
void look_for_vanished() {
    State& s = state();
    const std::uint64_t now = platform::now_ns();
    if (now - s.looked_for_vanished_ns < kVanishedNs) {
        return;
    }
    s.looked_for_vanished_ns = now;
    {
        const std::scoped_lock guard(s.lock);
        s.fresh.insert(s.fresh.end(), s.later.begin(), s.later.end());
        s.later.clear();
    }
    look_for_unwatched();
    TaskTable& table = TaskTable::get();
    for (std::uint32_t index = 0; index < table.tasks.count(); ++index) {
        Task& task = table.task_at(index);
        sync::Word word = sync::Pool::load(&task);
        if (word.state() == kTaskAlive && is_gone(task.pid, task.tid)) {
            if (sync::Pool::transition(&task, word, word.with_state(kTaskExited))) {
                close_dead(task);
                sweep_layers(kOwnerNone);
                bury_task(task);
            }
        }
    }
}

void round() {
    State& s = state();
    std::uint64_t wanted = 0;
    {
        const std::scoped_lock guard(s.lock);
        wanted = s.rounds_wanted;
    }
    sync::DeferralQueue::get().run_pending();
    look_for_deaths();
    sweep_dying();
    look_for_vanished();
    advance_grace();
    const std::scoped_lock guard(s.lock);
    s.rounds_done = wanted;
    s.settled.notify_all();
}

bool grace_running() {
    State& s = state();
    const std::scoped_lock guard(s.lock);
    return !s.batches.empty() || !s.fresh.empty() || !s.dying.empty();
}

void run() {
    State& s = state();
    TW_ASSERT(register_current(0, 0) == no_error, "the worker finds a task of its own");
    {
        const std::scoped_lock guard(s.lock);
        s.ready = true;
        s.settled.notify_all();
    }
    while (!s.stopping.load(std::memory_order_acquire)) {
        Worker::run_once(grace_running() ? kGracePollNs : kPollNs);
    }
    round();
    exit_current();
}

}  // namespace

Result<void> Worker::start(std::uint32_t tasks_max) {
    State& s = state();
    if (s.running) {
        return {};
    }
    std::errc why = sync::GracePeriods::create();
    if (why == no_error) {
        why = sync::DeferralQueue::create();
    }
    if (why == no_error) {
        why = TaskTable::create(tasks_max);
    }
    if (why != no_error) {
        return Error{why, "domain: no memory for the tables of tasks"};
    }
    sync::GracePeriods::set_reader_walk(any_reader_open);
    using Queue = sync::DeferralQueue;
    Queue::set_handler(sync::DeferralKind::pool_retired, collect);
    Queue::set_handler(sync::DeferralKind::process_joined, watch);
    Queue::set_handler(sync::DeferralKind::task_born, task_born);
    Queue::set_handler(sync::DeferralKind::task_exited, task_exited);
    Queue::set_handler(sync::DeferralKind::task_kick, task_kick);
    Queue::set_handler(sync::DeferralKind::task_compact,
                       [](std::uint64_t address) { compact(*reinterpret_cast<Task*>(address)); });
    why = join_process("taskwork");
    if (why == no_error) {
        why = register_current(0, 0);
    }
    if (why != no_error) {
        return Error{why, "domain: the host cannot join its own domain"};
    }
    s.stopping.store(false, std::memory_order_relaxed);
    // The worker takes no signals: the application's handlers must not run on it.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
        s.thread = std::thread(run);
    } catch (const std::system_error&) {
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
        return Error{std::errc::resource_unavailable_try_again, "domain: no thread for the worker"};
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    s.running = true;
    std::unique_lock guard(s.lock);
    s.settled.wait(guard, [&] { return s.ready; });
    return {};
}

void Worker::stop() noexcept {
    State& s = state();
    if (!s.running) {
        return;
    }
    sync::Arena::header().closed.store(1, std::memory_order_seq_cst);
    exit_current();
    s.stopping.store(true, std::memory_order_release);
    sync::DeferralQueue::get().wake();
    s.thread.join();
    s.running = false;
    s.ready = false;
    leave_process();
    for (const Watched& one : s.watched) {
        ::close(one.pidfd);
    }
    s.watched.clear();
    s.batches.clear();
    s.dying.clear();
    const std::scoped_lock guard(s.lock);
    s.adopted.clear();
    s.fresh.clear();
    s.later.clear();
    s.collected.clear();
    s.sweeper_count.store(0, std::memory_order_relaxed);
    s.life_hooks = {};
}

void Worker::add_sweeper(Sweeper sweeper) noexcept {
    State& s = state();
    const std::scoped_lock guard(s.lock);
    const unsigned count = s.sweeper_count.load(std::memory_order_relaxed);
    if (std::find(s.sweepers.begin(), s.sweepers.begin() + count, sweeper) ==
        s.sweepers.begin() + count) {
        TW_ASSERT(count < s.sweepers.size(), "there are fewer layers than sweepers");
        s.sweepers[count] = sweeper;
        s.sweeper_count.store(count + 1, std::memory_order_release);
    }
}

void Worker::set_life_hooks(const LifeHooks& given) noexcept {
    State& s = state();
    const std::scoped_lock guard(s.lock);
    s.life_hooks = given;
}

std::uint32_t Worker::adopt_pool(sync::Pool& pool, void (*finish)(sync::Pool&, void*) noexcept,
                                 bool brief_only) {
    State& s = state();
    const std::uint32_t doorbell = sync::DeferralQueue::get().add_item(
        sync::DeferralKind::pool_retired, reinterpret_cast<std::uint64_t>(&pool));
    const std::scoped_lock guard(s.lock);
    s.adopted.push_back({&pool, finish, brief_only, doorbell});
    return doorbell;
}

void Worker::disown_pool(sync::Pool& pool) noexcept {
    State& s = state();
    {
        const std::scoped_lock guard(s.lock);
        const auto at = std::find_if(s.adopted.begin(), s.adopted.end(),
                                     [&](const AdoptedPool& one) { return one.pool == &pool; });
        if (at == s.adopted.end()) {
            return;
        }
        sync::DeferralQueue::get().remove_item(at->doorbell);
        s.adopted.erase(at);
        std::erase_if(s.fresh, [&](const Waiting& one) { return one.pool == &pool; });
        std::erase_if(s.collected, [&](const void* object) {
            return pool.contains(reinterpret_cast<std::uintptr_t>(object));
        });
    }
    const auto forget = [&pool] {
        for (Batch& batch : state().batches) {
            std::erase_if(batch.brief, [&](const Waiting& one) { return one.pool == &pool; });
            std::erase_if(batch.both, [&](const Waiting& one) { return one.pool == &pool; });
        }
    };
    if (!s.running || std::this_thread::get_id() == s.thread.get_id()) {
        forget();
        return;
    }
    // The batches are the worker's own; ask it, and wait until it has.
    struct Call {
        decltype(forget)* function;
        std::atomic<bool> done{false};
    } call{&forget};
    after_grace_period(
        [](void* argument) noexcept {
            auto* one = static_cast<Call*>(argument);
            (*one->function)();
            one->done.store(true, std::memory_order_release);
        },
        &call);
    while (!call.done.load(std::memory_order_acquire)) {
        synchronize();
    }
}

void Worker::after_grace_period(void (*function)(void*) noexcept, void* argument) {
    State& s = state();
    {
        const std::scoped_lock guard(s.lock);
        s.fresh.push_back({nullptr, nullptr, function, argument, false});
    }
    sync::DeferralQueue::get().wake();
}

void Worker::after_a_while(void (*function)(void*) noexcept, void* argument) {
    State& s = state();
    const std::scoped_lock guard(s.lock);
    s.later.push_back({nullptr, nullptr, function, argument, false});
}

void Worker::synchronize() noexcept {
    State& s = state();
    if (!s.running) {
        return;
    }
    struct Call {
        std::mutex lock;
        std::condition_variable changed;
        bool done = false;
    } call;
    // A round that begins after this call has run the queue; then a grace period.
    {
        std::unique_lock guard(s.lock);
        const std::uint64_t ticket = ++s.rounds_wanted;
        sync::DeferralQueue::get().wake();
        s.settled.wait(guard, [&] { return s.rounds_done >= ticket; });
    }
    after_grace_period(
        [](void* argument) noexcept {
            auto* one = static_cast<Call*>(argument);
            const std::scoped_lock guard(one->lock);
            one->done = true;
            one->changed.notify_all();
        },
        &call);
    std::unique_lock guard(call.lock);
    call.changed.wait(guard, [&] { return call.done; });
}

void Worker::run_once(std::uint64_t timeout_ns) noexcept {
    const std::uint32_t seen = sync::DeferralQueue::get().wakes();
    round();
    bool more = false;
    {
        State& s = state();
        const std::scoped_lock guard(s.lock);
        more = s.rounds_wanted != s.rounds_done;
    }
    if (!more) {
        sync::DeferralQueue::get().wait(seen, grace_running() ? std::min(timeout_ns, kGracePollNs)
                                                              : timeout_ns);
    }
}

}  // namespace taskwork::task
