// SPDX-License-Identifier: Apache-2.0
#include "library/domain.hpp"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <new>

#include "base/assert.hpp"
#include "defer/task_work.hpp"
#include "library/handler.hpp"
#include "library/safe_points.hpp"
#include "library/works.hpp"
#include "sync/deferral.hpp"
#include "sync/signal.hpp"
#include "task/run_point.hpp"
#include "task/worker.hpp"

namespace taskwork::library {

namespace {

/// Each thread has four deferral items.
constexpr std::uint32_t kThreadsMax = (sync::DeferralQueue::kItemsDefault - 64) / 4;
/// The worker.
constexpr std::uint32_t kThreadsOfOurs = 1;
/// This process alone.
constexpr std::uint32_t kProcesses = 1;

using internal::domain;

/// Serialises what makes domains. It names the process of its holder: a child may inherit it from a
/// thread that it did not inherit.
class DomainLock {
public:
    DomainLock() noexcept {
        const int mine = platform::process_id();
        int seen = 0;
        // Acquire: pairs with the release below.
        while (!holder_.compare_exchange_strong(seen, mine, std::memory_order_acquire)) {
            if (seen == mine) {
                ::sched_yield();  // To make a domain takes milliseconds, once.
                seen = 0;
            }
        }
    }
    ~DomainLock() { holder_.store(0, std::memory_order_release); }
    DomainLock(const DomainLock&) = delete;
    DomainLock& operator=(const DomainLock&) = delete;

private:
    static constinit std::atomic<int> holder_;
};
constinit std::atomic<int> DomainLock::holder_{0};

/// Whoever's code stands at `address` stays loaded: it may be called by a handler at any time.
void pin(const void* address) noexcept {
    Dl_info info{};
    if (::dladdr(address, &info) != 0 && info.dli_fname != nullptr) {
        // Fails for the program itself, which nobody can unload.
        ::dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
    }
}

std::size_t bytes_for(const Options& options) noexcept {
    constexpr std::size_t kSlack = std::size_t{4} << 20;
    return defer::WorkTable::bytes(options.works) +
           task::TaskTable::bytes(options.threads + kThreadsOfOurs, kProcesses) +
           sizeof(Thread) * (options.threads + kThreadsOfOurs) + kSlack;
}

/// What a forked child has of its parent's domain: a copy that nobody uses.
TW_TASK_ONLY void drop_inherited() noexcept {
    if (sync::Arena::present()) {
        forget_attention();
        platform::this_thread().task.set(nullptr);
        task::Worker::abandon();
        sync::Arena::abandon();
    }
}

TW_TASK_ONLY std::errc make_domain(const Options& options) {
    if (options.works == 0 || options.threads == 0 ||
        options.threads > kThreadsMax - kThreadsOfOurs) {
        return std::errc::invalid_argument;
    }
    const std::uint32_t tasks = options.threads + kThreadsOfOurs;
    drop_inherited();
    // Which signals are ours: no other copy of the library has this address.
    sync::notify_mark = reinterpret_cast<std::uint64_t>(&domain);
    const std::size_t bytes = options.arena_bytes != 0 ? options.arena_bytes : bytes_for(options);
    auto created = sync::Arena::create_private(bytes);
    if (!created) {
        return created.error().code;
    }
    std::errc why = no_error;
    // Before the worker, whose hooks look there.
    void* threads = sync::Arena::allocate(sizeof(Thread) * tasks, 64, &why);
    if (threads == nullptr) {
        sync::Arena::destroy();
        return why;
    }
    domain.threads = static_cast<Thread*>(threads);
    for (std::uint32_t index = 0; index < tasks; ++index) {
        Thread& thread = *new (&domain.threads[index]) Thread{};
        thread.event_descriptor.store(-1, std::memory_order_relaxed);
        thread.kick_descriptor.store(-1, std::memory_order_relaxed);
    }
    task::Worker::set_life_hooks({.task_exited = forget_kick, .kick = kick});
    task::set_event_descriptor_hooks({raise_event, lower_event, close_event_descriptor, kick_now});
    auto started = task::Worker::start(tasks, kProcesses);
    why = started ? no_error : started.error().code;
    if (why == no_error) {
        why = defer::WorkTable::create(options.works);
    }
    if (why == no_error) {
        why = install_handler();
    }
    if (why != no_error) {
        // Whatever of it came to be goes, so that another attempt finds nothing of this one.
        task::Worker::stop();
        platform::this_thread().task.set(nullptr);
        task::leave_process();
        task::Worker::abandon();
        sync::Arena::destroy();
        return why;
    }
    prepare_works();
    domain.generation.fetch_add(1, std::memory_order_relaxed);
    // Release: pairs with the acquire in domain_is_live().
    domain.cookie.store(platform::fork_cookie(), std::memory_order_release);
    return no_error;
}

TW_TASK_ONLY std::errc ensure_domain(const Options& options) noexcept {
    if (domain_is_live()) {
        return no_error;
    }
    const DomainLock lock;
    if (domain_is_live()) {
        return no_error;
    }
    try {
        return make_domain(options);
    } catch (const std::bad_alloc&) {
        return std::errc::not_enough_memory;
    }
}

struct Bounds {
    std::uintptr_t low = 0;
    std::uintptr_t high = 0;
};

Bounds own_stack() noexcept {
    pthread_attr_t attributes;
    if (::pthread_getattr_np(::pthread_self(), &attributes) != 0) {
        return {};
    }
    void* low = nullptr;
    std::size_t size = 0;
    Bounds bounds;
    if (::pthread_attr_getstack(&attributes, &low, &size) == 0) {
        bounds.low = reinterpret_cast<std::uintptr_t>(low);
        bounds.high = bounds.low + size;
    }
    ::pthread_attr_destroy(&attributes);
    return bounds;
}

/// Of the calling thread, which is registered and in task context.
TW_TASK_ONLY void unregister(bool process_ends) noexcept {
    forget_attention();
    task::exit_current(process_ends);
}

constinit thread_local unsigned exit_rounds [[gnu::tls_model("initial-exec")]] = 0;

pthread_key_t exit_key() noexcept {
    static const pthread_key_t key = [] {
        pthread_key_t made{};
        // Lets rounds of destructors pass, for those of the application may use us; but not the
        // last, in which tools that watch the thread take their leave.
        const int error = ::pthread_key_create(&made, [](void* value) {
            if (++exit_rounds < PTHREAD_DESTRUCTOR_ITERATIONS - 1) {
                ::pthread_setspecific(exit_key(), value);
            } else if (self() != nullptr) {
                assume_task();
                unregister(false);
            }
        });
        TW_ASSERT(error == 0, "there is a thread-specific key for the end of threads");
        return made;
    }();
    return key;
}

/// The last run point of the thread that ends the process.
[[gnu::destructor]] void process_ends() noexcept {
    if (self() != nullptr && in_task_context()) {
        assume_task();
        unregister(true);
    }
}

}  // namespace

void unregister_self() noexcept { unregister(false); }

bool in_task_context() noexcept {
    task::Task* me = self();
    if (me == nullptr) {
        return foreign_handler_depth() == 0;
    }
    task::recover(*me, platform::stack_pointer());
    return !me->nmi.is_open() && !me->draining.is_open();
}

std::errc ensure_registered(detail::Module& module, const Options& options) noexcept {
    if (!in_task_context()) {
        return std::errc::operation_not_permitted;
    }
    if (!module.pinned.load(std::memory_order_relaxed)) {
        pin(&module);
        pin(&domain);
        module.pinned.store(true, std::memory_order_relaxed);
    }
    if (const std::errc error = ensure_domain(options); error != no_error) {
        return error;
    }
    task::Task* me = self();
    // The maker of the domain is a task already, without bounds.
    if (me == nullptr || me->stack_high == 0) {
        const Bounds stack = own_stack();
        if (me == nullptr) {
            const std::errc error = task::register_current(stack.low, stack.high);
            if (error != no_error) {
                return error;
            }
            me = task::current();
        }
        me->stack_low = stack.low;
        me->stack_high = stack.high;
    }
    if (!has_attention()) {
        set_attention(*me);
        exit_rounds = 0;
        ::pthread_setspecific(exit_key(), &domain);  // any value but null
    }
    return no_error;
}

}  // namespace taskwork::library

namespace taskwork {

const char* version() noexcept { return TASKWORK_VERSION; }

std::errc detail::init(const Options& options, Module& module) noexcept {
    assume_task();
    return library::ensure_registered(module, options);
}

Counters counters() noexcept {
    assume_task();
    Counters sum;
    if (!library::domain_is_live()) {
        return sum;
    }
    auto& works = defer::WorkTable::get();
    const defer::WorkCounts counts = defer::counts(works.domain);
    sum.scheduled = counts.scheduled;
    sum.ran = counts.ran;
    sum.cancelled = counts.cancelled;
    sum.dropped = counts.dropped;
    sum.in_flight = counts.in_flight;
    sum.works_free = works.contexts.count_free();
    auto& table = task::TaskTable::get();
    for (std::uint32_t index = 0; index < table.tasks.count(); ++index) {
        if (sync::Pool::load(&table.task_at(index)).state() == task::kTaskAlive) {
            ++sum.threads;
        }
    }
    --sum.threads;  // the worker
    sum.threads_refused = table.tasks_refused.load(std::memory_order_relaxed);
    return sum;
}

}  // namespace taskwork
