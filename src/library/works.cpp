// SPDX-License-Identifier: Apache-2.0
#include "library/works.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/raw_system_call.hpp"
#include "defer/context.hpp"
#include "defer/task_work.hpp"
#include "library/domain.hpp"
#include <taskwork/wait.hpp>
#include <taskwork/work.hpp>

namespace taskwork::library {

namespace {

using defer::WorkContext;
using defer::WorkState;
using detail::WorkWords;

/// Threads that wait in cancel_and_wait for callbacks to end, and the futex that tells them.
constinit std::atomic<std::uint32_t> waiters{0};
constinit std::atomic<std::uint32_t> ended{0};

/// A fence on every thread makes the runner's plain store and load enough; where the kernel has
/// none, or a wake is missed by it, the waiter looks again after this time.
constexpr timespec kLookAgain{0, 10'000'000};

/// Sleeps for as long as a few instructions of another thread may take.
void look_again_soon() noexcept {
    const timespec soon{0, 50'000};
    raw_system_call(SYS_nanosleep, reinterpret_cast<long>(&soon), 0);
}

/// Identities given out; a Work keeps its own for good, in a forked child too.
constinit std::atomic<std::uint64_t> identities{0};

constexpr std::uint64_t id_of(std::uint32_t index, std::uint32_t round) noexcept {
    return static_cast<std::uint64_t>(index) << 32 | round;
}

/// A handle while cancel_and_wait() is in progress: no context, and none may be claimed. Of no
/// generation that there will be.
std::uint64_t stopping() noexcept {
    constexpr std::uint32_t kNever = std::uint32_t{1} << 31;
    return id_of(internal::domain.generation.load(std::memory_order_relaxed) | kNever, 0);
}

std::uint64_t identity_of(WorkWords& work) noexcept {
    std::uint64_t seen = work.identity.load(std::memory_order_relaxed);
    if (seen == 0) {
        const std::uint64_t fresh = identities.fetch_add(1, std::memory_order_relaxed) + 1;
        if (work.identity.compare_exchange_strong(seen, fresh, std::memory_order_relaxed)) {
            return fresh;
        }
    }
    return seen;
}

/// Runs a callable in its target thread.
void run_callable(task::Task& task, const WorkContext& context) noexcept {
    // A copy: the callable may schedule its own work again, with another.
    alignas(16) std::byte callable[defer::kCallableBytes];
    std::memcpy(callable, context.callable, sizeof(callable));
    Thread& thread = thread_of(task);
    const auto list = static_cast<unsigned>(context.list.get());
    thread.running_round[list] =
        id_of(sync::arena_index(&context), sync::Pool::load(&context).round());
    thread.running[list].store(context.identity.get(), std::memory_order_relaxed);
    const int saved_errno = errno;
    reinterpret_cast<detail::Invoke>(context.program.load(std::memory_order_relaxed))(callable);
    errno = saved_errno;
    // Release: what the callable did is done for whoever finds it ended.
    thread.running[list].store(0, std::memory_order_release);
    thread.running_round[list] = 0;
    // Pairs with the fence on all threads in cancel_and_wait.
    platform::signal_fence();
    if (waiters.load(std::memory_order_relaxed) != 0) {
        ended.fetch_add(1, std::memory_order_seq_cst);
        futex_wake(ended, INT32_MAX);
    }
}

bool runs_here(const task::Task& task, std::uint64_t identity) noexcept {
    const Thread& thread = thread_of(task);
    return identity != 0 &&
           std::any_of(std::begin(thread.running), std::end(thread.running), [&](const auto& one) {
               return one.load(std::memory_order_acquire) == identity;
           });
}

bool runs_anywhere(std::uint64_t identity) noexcept {
    auto& table = task::TaskTable::get();
    for (std::uint32_t index = 0; index < table.tasks.count(); ++index) {
        const task::Task& task = table.task_at(index);
        if (sync::Pool::load(&task).state() == task::kTaskAlive && runs_here(task, identity)) {
            return true;
        }
    }
    return false;
}

/// The round of the context whose callback the calling thread is in; 0: in none.
std::uint32_t round_here(const task::Task& self, const WorkContext& context) noexcept {
    const std::uint32_t index = sync::arena_index(&context);
    for (const std::uint64_t one : thread_of(self).running_round) {
        if (one >> 32 == index) {
            return static_cast<std::uint32_t>(one);
        }
    }
    return 0;
}

/// A context for a Work whose handle was found to be `seen`, and to name none.
[[gnu::cold]] WorkContext* claim_context(WorkWords& work, const task::Task& self,
                                         std::uint64_t seen, std::errc& error) noexcept {
    error = std::errc::device_or_resource_busy;
    if (seen == stopping()) {
        return nullptr;
    }
    WorkContext* fresh = defer::claim_context({self.process, self.lane});
    if (fresh == nullptr) {
        error = std::errc::not_enough_memory;
        return nullptr;
    }
    fresh->identity.set(identity_of(work));
    // Release: pairs with the acquire above; the loser takes its own back. A handle of the parent's
    // domain is replaced like an empty one.
    if (work.handle.compare_exchange_strong(seen, handle_of(fresh), std::memory_order_acq_rel)) {
        return fresh;
    }
    defer::unclaim_context(*fresh);
    // Perhaps emptied again, under our eyes, by a canceller.
    return resolve_live<WorkContext>(seen);
}

/// The rest of schedule(), if the Work seems to be free. `seen` is its handle, which names
/// `context` (nullptr: none); `again`: see defer::schedule().
std::errc schedule_in_section(WorkWords& work, task::Task& self, std::uint64_t seen,
                              WorkContext* context, std::uint32_t again,
                              const defer::Delivery& delivery,
                              const defer::Callable& callable) noexcept {
    const task::ReadSection brief(self, sync::Flavour::brief);
    // From here on a context that the handle still names stays.
    const std::uint64_t now = work.handle.load(std::memory_order_acquire);
    if (context == nullptr || now != seen) [[unlikely]] {
        again = 0;
        context = resolve_live<WorkContext>(now);
        std::errc error = no_error;
        if (context == nullptr) {
            context = claim_context(work, self, now, error);
        }
        if (context == nullptr) {
            return error;
        }
    }
    return defer::schedule(self, *context, delivery, callable, again);
}

}  // namespace

void prepare_works() noexcept { defer::set_callable_runner(run_callable); }

std::uint32_t context_index(const Work& work) noexcept {
    const std::uint64_t handle =
        detail::WorkAccess::words(work).handle.load(std::memory_order_acquire);
    return resolve<WorkContext>(handle) != nullptr ? static_cast<std::uint32_t>(handle) : 0;
}

}  // namespace taskwork::library

namespace taskwork::detail {

using defer::WorkContext;
using library::resolve;
using library::resolve_live;

namespace {

/// Where and Mode in one register, so that what follows the looks can be a jump.
struct How {
    Where where;
    Mode mode;
};

[[gnu::noinline]] std::errc schedule_free(WorkWords& work, task::Task& target, Invoke invoke,
                                          const void* callable, std::size_t size, How how,
                                          task::Task& self) noexcept {
    std::uint32_t again = 0;
    const std::uint64_t seen = work.handle.load(std::memory_order_acquire);
    auto* context = resolve_live<WorkContext>(seen);
    if (context != nullptr) {
        const sync::Word word = sync::Pool::load(context);
        if (defer::state_of(word) == defer::WorkState::running) [[unlikely]] {
            again = library::round_here(self, *context);
            if (defer::is_busy(word, again)) {
                return std::errc::device_or_resource_busy;
            }
        }
    }
    const task::Section section(&self);
    const std::errc error = library::schedule_in_section(
        work, self, seen, context, again,
        {&target, how.mode == Mode::signal ? task::Notify::signal : task::Notify::resume,
         how.where == Where::anywhere ? task::List::anywhere : task::List::safe_point,
         &target != &self},
        {reinterpret_cast<void*>(invoke), callable, size});
    // A handler that interrupts its own thread's wait before the wait has begun: only a signal
    // keeps it from beginning.
    if (error == no_error && &target == &self &&
        library::thread_of(self).waiting.load(std::memory_order_relaxed) != 0) {
        platform::notify_thread(self.pid, self.tid);
    }
    return error;
}

}  // namespace

std::errc schedule(WorkWords& work, const Task& target, Invoke invoke, const void* callable,
                   std::size_t size, Where where, Mode mode) noexcept {
    task::Task* self = library::self();
    if (self == nullptr) [[unlikely]] {
        return std::errc::operation_not_permitted;
    }
    auto* to = resolve_live<task::Task>(TaskAccess::handle(target));
    if (to == nullptr) [[unlikely]] {
        return std::errc::no_such_process;
    }
    // Refused at a look, without a section, where it can be (is_busy).
    const auto* context = resolve_live<WorkContext>(work.handle.load(std::memory_order_acquire));
    if (context != nullptr) {
        const sync::Word word = sync::Pool::load(context);
        if (defer::state_of(word) != defer::WorkState::running && defer::is_busy(word)) {
            return std::errc::device_or_resource_busy;
        }
    }
    return schedule_free(work, *to, invoke, callable, size, {where, mode}, *self);
}

namespace {

/// Whoever empties the handle has the context's reference of the handle, which keeps the context
/// until detach(): no section is needed, and the thread need not be registered.
defer::WorkState detach_for_good(WorkWords& work) noexcept {
    auto* context = resolve<WorkContext>(work.handle.exchange(0, std::memory_order_acq_rel));
    return context != nullptr ? defer::detach(*context) : defer::WorkState::freed;
}

}  // namespace

bool cancel(WorkWords& work) noexcept {
    task::Task* self = library::self();
    if (self == nullptr) {
        return detach_for_good(work) == defer::WorkState::scheduled;
    }
    const task::Section section(self);
    // The handle names the context until it is emptied below; the section keeps it that long.
    const task::ReadSection brief(*self, sync::Flavour::brief);
    std::uint64_t seen = work.handle.load(std::memory_order_acquire);
    auto* context = resolve_live<WorkContext>(seen);
    if (context == nullptr) {
        return false;
    }
    const defer::WorkState found = defer::detach(*context, true);
    if (found == defer::WorkState::running || found == defer::WorkState::freed) {
        return false;
    }
    work.handle.compare_exchange_strong(seen, 0, std::memory_order_acq_rel);
    return found == defer::WorkState::scheduled;
}

void release(WorkWords& work) noexcept { detach_for_good(work); }

std::errc cancel_and_wait(WorkWords& work) noexcept {
    const std::uint64_t identity = work.identity.load(std::memory_order_relaxed);
    if (task::Task* self = library::self();
        self != nullptr && library::runs_here(*self, identity)) {
        return std::errc::resource_deadlock_would_occur;
    }
    if (!library::in_task_context()) {
        return std::errc::operation_not_permitted;
    }
    if (identity == 0 || !library::domain_is_live()) {
        return no_error;  // Never scheduled, or by the parent.
    }
    std::uint64_t stopping = library::stopping();
    const std::uint64_t held = work.handle.exchange(stopping, std::memory_order_acq_rel);
    if (held == stopping) {
        // Another thread waits for the same. What it has detached only it knows.
        while (work.handle.load(std::memory_order_acquire) == stopping) {
            library::look_again_soon();
        }
        return no_error;
    }
    // A callback has begun when its context is running, and has its thread's record a little later:
    // until then the context tells.
    auto* context = resolve<WorkContext>(held);
    std::uint32_t round = 0;
    const bool begun =
        context != nullptr && defer::detach(*context, false, &round) == defer::WorkState::running;
    library::waiters.fetch_add(1, std::memory_order_seq_cst);
    // Each thread that does not see the waiter has its record of what runs seen here.
    platform::membarrier_all();
    for (;;) {
        const std::uint32_t before = library::ended.load(std::memory_order_seq_cst);
        if (!library::runs_anywhere(identity)) {
            if (!begun || !defer::runs_detached(*context, round)) {
                break;
            }
            library::look_again_soon();
            continue;
        }
        raw_system_call(SYS_futex, reinterpret_cast<long>(&library::ended), FUTEX_WAIT_PRIVATE,
                        static_cast<long>(before), reinterpret_cast<long>(&library::kLookAgain));
    }
    library::waiters.fetch_sub(1, std::memory_order_seq_cst);
    work.handle.compare_exchange_strong(stopping, 0, std::memory_order_acq_rel);
    return no_error;
}

unsigned state_of(const WorkWords& work) noexcept {
    const auto* context = resolve<WorkContext>(work.handle.load(std::memory_order_acquire));
    if (context == nullptr) {
        return 0;
    }
    switch (defer::state_of(sync::Pool::load(context))) {
    case defer::WorkState::pending:
    case defer::WorkState::scheduling:
        return static_cast<unsigned>(Work::State::pending);
    case defer::WorkState::scheduled:
        return static_cast<unsigned>(Work::State::scheduled);
    case defer::WorkState::running:
        return static_cast<unsigned>(Work::State::running);
    default:
        return static_cast<unsigned>(Work::State::idle);
    }
}

std::uint64_t round_of(const WorkWords& work) noexcept {
    const auto* context = resolve<WorkContext>(work.handle.load(std::memory_order_acquire));
    if (context == nullptr) {
        return 0;
    }
    const sync::Word word = sync::Pool::load(context);
    // The round with which this life began belongs to no schedule.
    if (word.round() == context->first_round.load(std::memory_order_relaxed)) {
        return 0;
    }
    return static_cast<std::uint64_t>(sync::arena_index(context)) << 32 | word.round();
}

WorkCounters counters_of(const WorkWords& work) noexcept {
    WorkCounters counters;
    const auto* context = resolve<WorkContext>(work.handle.load(std::memory_order_acquire));
    if (context != nullptr) {
        const defer::WorkCounts counts = defer::counts_of(*context);
        counters.scheduled = counts.scheduled;
        counters.ran = counts.ran;
        counters.dropped = counts.dropped;
        counters.in_flight = counts.in_flight;
    }
    return counters;
}

}  // namespace taskwork::detail
