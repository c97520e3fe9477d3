// SPDX-License-Identifier: Apache-2.0
//
// The worker's thread: its start and stop, when it runs its rounds, and how others wait for it.
#include "task/worker.hpp"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "base/assert.hpp"
#include "sync/arena.hpp"
#include "sync/deferral.hpp"
#include "task/domain.hpp"
#include "task/life.hpp"
#include "task/reclaim.hpp"

namespace taskwork::task {

namespace {

/// Longest sleep: how late the death of a member is noticed at worst.
constexpr std::uint64_t kPollNs = 20'000'000;
/// While a grace period runs its end is looked for this often.
constexpr std::uint64_t kGracePollNs = 500'000;
/// And for so long afterwards: bursts of retirements come one soon after the other, and the first
/// of each would pay for a wake-up, some 7 us.
constexpr std::uint64_t kLingerNs = 4'000'000;
/// How often live tasks are checked for threads that vanished without saying so; how long
/// after_a_while() is.
constexpr std::uint64_t kVanishedNs = 1'000'000'000;

struct State {
    std::mutex lock;  ///< Of what synchronize() waits for, and `ready`.
    std::condition_variable settled;
    std::uint64_t rounds_wanted = 0;
    std::uint64_t rounds_done = 0;
    bool ready = false;  ///< The worker is a task.

    std::thread thread;
    std::uint64_t poll_ns = kPollNs;
    std::atomic<bool> stopping{false};
    bool running = false;

    std::uint64_t looked_for_vanished_ns = 0;  ///< The worker's own.
    std::uint64_t waited_ns = 0;  ///< When something waited for a grace period last; the worker's.
    std::atomic<std::int32_t> tid{0};
};

/// Never destroyed: the worker may run until the process ends.
State*& state_of_process() {
    static State* instance = new State;
    return instance;
}
State& state() { return *state_of_process(); }

TW_NOT_NMI void round() {
    State& s = state();
    std::uint64_t wanted = 0;
    {
        const std::scoped_lock guard(s.lock);
        wanted = s.rounds_wanted;
    }
    const std::uint64_t now = platform::now_ns();
    const bool thorough = now - s.looked_for_vanished_ns >= kVanishedNs;
    if (thorough) {
        s.looked_for_vanished_ns = now;
    }
    run_round(thorough);
    const std::scoped_lock guard(s.lock);
    s.rounds_done = wanted;
    s.settled.notify_all();
}

/// Waits until a round is done that began after the call; false: there is no worker.
bool await_round(State& s, std::unique_lock<std::mutex>& guard) {
    if (!s.running) {
        return false;
    }
    const std::uint64_t ticket = ++s.rounds_wanted;
    sync::DeferralQueue::get().wake();
    s.settled.wait(guard, [&] { return s.rounds_done >= ticket || !s.running; });
    return s.running;
}

void run() {
    assume_task();
    State& s = state();
    const std::errc registered = register_current(0, 0);
    TW_ASSERT(registered == no_error, "the worker finds a task of its own");
    s.tid.store(platform::thread_id(), std::memory_order_relaxed);
    {
        const std::scoped_lock guard(s.lock);
        s.ready = true;
        s.settled.notify_all();
    }
    while (!s.stopping.load(std::memory_order_acquire)) {
        Worker::run_once(s.poll_ns);
    }
    round();
    exit_current();
}

}  // namespace

Result<void> Worker::start(std::uint32_t tasks_max, std::uint32_t processes_max) {
    State& s = state();
    if (s.running) {
        return {};
    }
    DomainLimits limits;
    limits.tasks = tasks_max;
    limits.processes = processes_max;
    if (const std::errc why = create_domain(limits); why != no_error) {
        return Error{why, "domain: no memory for the tables of tasks"};
    }
    std::errc why = join_process("taskwork");
    if (why == no_error) {
        why = register_current(0, 0);
    }
    if (why != no_error) {
        return Error{why, "domain: the host cannot join its own domain"};
    }
    s.stopping.store(false, std::memory_order_relaxed);
    // Nobody's death is waited for where nobody else is.
    s.poll_ns = processes_max == 1 ? kVanishedNs : kPollNs;
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
    {
        const std::scoped_lock guard(s.lock);
        s.running = false;
        s.ready = false;
        s.settled.notify_all();
    }
    leave_process();
    reset_rounds();
}

void Worker::abandon() {
    // Leaked: its locks and its thread are in no state to be used.
    state_of_process() = new State;
    Life::abandon();
    Reclaim::abandon();
}

std::int32_t Worker::thread_id() noexcept { return state().tid.load(std::memory_order_relaxed); }

void Worker::disown_pool(sync::Pool& pool) noexcept {
    State& s = state();
    if (!Reclaim::get().disown(pool)) {
        return;
    }
    if (!s.running || std::this_thread::get_id() == s.thread.get_id()) {
        Reclaim::get().forget(pool);
        return;
    }
    // The batches are the worker's own; ask it, and wait until it has.
    struct Call {
        const sync::Pool* pool;
        std::atomic<bool> done{false};
    } call{&pool};
    after_grace_period(
        [](void* argument) noexcept {
            assume_not_nmi();
            auto* one = static_cast<Call*>(argument);
            Reclaim::get().forget(*one->pool);
            one->done.store(true, std::memory_order_release);
        },
        &call);
    while (!call.done.load(std::memory_order_acquire)) {
        synchronize();
    }
}

bool Worker::synchronize(std::uint64_t timeout_ns) noexcept {
    State& s = state();
    const std::uint64_t begin = platform::now_ns();
    // Shared: the worker may come to it when the caller waits no longer. Under the lock.
    const auto ended = std::make_shared<bool>(false);
    std::unique_lock guard(s.lock);
    // First the queue is run; then a grace period.
    if (!await_round(s, guard)) {
        return true;
    }
    guard.unlock();
    after_grace_period(
        [](void* argument) noexcept {
            const std::unique_ptr<std::shared_ptr<bool>> mine(
                static_cast<std::shared_ptr<bool>*>(argument));
            State& own = state();
            const std::scoped_lock lock(own.lock);
            **mine = true;
            own.settled.notify_all();
        },
        new std::shared_ptr<bool>(ended));
    guard.lock();
    const auto reached = [&] { return *ended || !s.running; };
    if (timeout_ns == kNoTimeout) {
        s.settled.wait(guard, reached);
        return true;
    }
    const std::uint64_t passed = platform::now_ns() - begin;
    const std::chrono::nanoseconds left(passed < timeout_ns ? timeout_ns - passed : 0);
    if (!s.settled.wait_for(guard, left, reached)) {
        // The worker may have had no processor: what is open still is open when it looks once more.
        await_round(s, guard);
    }
    return reached();
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
        // While a grace period runs, what is retired waits for the next look: programs that change
        // maps at a high rate would pay for a wake-up each time.
        const std::uint64_t now = platform::now_ns();
        State& s = state();
        if (round_wanted_soon()) {
            s.waited_ns = now;
        }
        const bool soon = now - s.waited_ns < kLingerNs;
        sync::DeferralQueue::get().wait(
            seen, soon ? std::min(timeout_ns, kGracePollNs) : timeout_ns, soon);
    }
}

}  // namespace taskwork::task
