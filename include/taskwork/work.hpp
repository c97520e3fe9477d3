// SPDX-License-Identifier: Apache-2.0
//
// Work: something to be called once, in a chosen thread.
//
//             +------------- ran, or refused -------------+
//             v                                           |
//           idle --> pending --> scheduled --> running ---+
//             ^                      |
//             +------ cancel --------+
//
//   L.1  Whatever a thread did before schedule() is visible to the callback.
//   L.2  After cancel() returned, the callback of that schedule does not start (it may be running).
//   L.3  After cancel_and_wait() returned no error, it does not run either, nor any earlier one.
//   L.4  A schedule that returned no error ends exactly once: ran, cancelled or dropped.
//   L.5  Callbacks of one Work run one at a time and in the order of their schedules, but one that
//        schedules its own Work again may see the next begin, in another thread, before it ends.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <system_error>
#include <type_traits>
#include <utility>

#include <taskwork/task.hpp>

namespace taskwork {

/// How promptly.
enum class Mode : std::uint8_t {
    /// As soon as the thread's user code can be interrupted, on its way out of a blocking call at
    /// any time: never interrupts one (see docs/library.md, "Resume mode").
    resume,
    /// At once: interrupts user code and blocking calls, by SIGURG.
    signal,
};

/// What a callback may do decides where it may run.
enum class Where : std::uint8_t {
    /// In a signal handler, on top of whatever it has interrupted: async-signal-safe code only.
    anywhere,
    /// At safe_point() and at the end of the thread: may lock, allocate and block.
    safe_point,
};

/// A callable together with the declaration of where it may run; see anywhere(), at_safe_point().
template <Where where, class Function>
struct Declared {
    static constexpr Where taskwork_where = where;
    Function function;
    void operator()() noexcept(noexcept(std::declval<Function&>()())) { function(); }
};

/// Declares: `function` is async-signal-safe.
/// Context: any.
template <class Function>
constexpr Declared<Where::anywhere, Function> anywhere(Function function) noexcept {
    return {function};
}
/// Declares: `function` runs at safe points and at the end of the thread only.
/// Context: any.
template <class Function>
constexpr Declared<Where::safe_point, Function> at_safe_point(Function function) noexcept {
    return {function};
}

/// The largest callable, in bytes.
inline constexpr std::size_t callable_size_max = 32;

/// Whether a type says where it may run: as Declared does, by a member `taskwork_where`.
template <class Callable>
concept DeclaresWhere =
    std::is_same_v<std::remove_cvref_t<decltype(Callable::taskwork_where)>, Where>;

/// Counts of a Work since it was made or last cancelled; see Counters.
struct WorkCounters {
    std::uint64_t scheduled = 0;
    std::uint64_t ran = 0;
    std::uint64_t dropped = 0;
    std::uint64_t in_flight = 0;
};

class Work;

namespace detail {
/// What a Work is made of.
struct WorkWords {
    std::atomic<std::uint64_t> handle{0};    ///< Of its context; 0: it has none.
    std::atomic<std::uint64_t> identity{0};  ///< The Work's own for good; 0: not given out yet.

    void take(WorkWords& other) noexcept {
        identity.store(other.identity.exchange(0, std::memory_order_acq_rel),
                       std::memory_order_relaxed);
        handle.store(other.handle.exchange(0, std::memory_order_acq_rel),
                     std::memory_order_release);
    }
};
struct WorkAccess;
using Invoke = void (*)(void* callable) noexcept;
[[gnu::visibility("default")]] std::errc schedule(WorkWords& work, const Task& target,
                                                  Invoke invoke, const void* callable,
                                                  std::size_t size, Where where,
                                                  Mode mode) noexcept;
[[gnu::visibility("default")]] bool cancel(WorkWords& work) noexcept;
[[gnu::visibility("default")]] void release(WorkWords& work) noexcept;
[[gnu::visibility("default")]] std::errc cancel_and_wait(WorkWords& work) noexcept;
[[gnu::visibility("default")]] unsigned state_of(const WorkWords& work) noexcept;
[[gnu::visibility("default")]] std::uint64_t round_of(const WorkWords& work) noexcept;
[[gnu::visibility("default")]] WorkCounters counters_of(const WorkWords& work) noexcept;
}  // namespace detail

/// A movable handle. Empty until the first schedule, which takes a context from the domain's pool;
/// constant-initialised, so a global is there before any handler. schedule, cancel, state and round
/// may be called on one Work from any threads and handlers at once; moving and destroying it only
/// when nobody else uses it. In a forked child those of the parent are empty.
class Work {
public:
    enum class State : std::uint8_t {
        idle,       ///< schedule() will find it free.
        pending,    ///< A schedule() is in progress.
        scheduled,  ///< The callback will run, unless it is cancelled.
        running,    ///< The callback runs.
    };

    constexpr Work() noexcept = default;
    /// Context: any.
    Work(Work&& other) noexcept { words_.take(other.words_); }
    /// Cancels what this one held; never waits.
    /// Context: any.
    Work& operator=(Work&& other) noexcept {
        if (this != &other) {
            detail::release(words_);
            words_.take(other.words_);
        }
        return *this;
    }
    /// Cancels, and never waits: a callback that runs goes on.
    /// Context: any.
    ~Work() {
        if (words_.handle.load(std::memory_order_relaxed) != 0) {
            detail::release(words_);
        }
    }

    /// Ends what is scheduled: its callback will not start. True: a scheduled one was cancelled,
    /// and the Work can be scheduled again at once; false: nothing was scheduled, or the callback
    /// has begun and goes on. Takes no lock, waits for nobody. Context: any.
    bool cancel() noexcept { return detail::cancel(words_); }

    /// cancel(), then waits until no callback of this Work runs: for callables that refer to
    /// something about to die. Meanwhile it cannot be scheduled (device_or_resource_busy), from its
    /// own callback neither. Errors: resource_deadlock_would_occur (called from a callback of this
    /// Work; nothing is cancelled), operation_not_permitted (from a HandlerScope or a callback
    /// declared anywhere).
    /// Context: task. Sleeps.
    std::errc cancel_and_wait() noexcept { return detail::cancel_and_wait(words_); }

    /// Context: any.
    [[nodiscard]] State state() const noexcept {
        return static_cast<State>(detail::state_of(words_));
    }
    /// Names the latest schedule of this Work: differs from that of every other schedule in the
    /// domain, of any Work. 0: none since it was made or cancelled.
    /// Context: any.
    [[nodiscard]] std::uint64_t round() const noexcept { return detail::round_of(words_); }
    /// Context: any.
    [[nodiscard]] WorkCounters counters() const noexcept { return detail::counters_of(words_); }

private:
    friend struct detail::WorkAccess;

    detail::WorkWords words_;
};

namespace detail {
/// For schedule() and for the library itself.
struct WorkAccess {
    static WorkWords& words(Work& work) noexcept { return work.words_; }
    static const WorkWords& words(const Work& work) noexcept { return work.words_; }
};
}  // namespace detail

/// Has `callable` called once by the thread `target`, where its declaration allows it. The callable
/// is copied; nothing is allocated. Onto the calling thread it costs no system call: callbacks
/// declared anywhere run at the end of the call, or of the HandlerScope it is in.
///
/// Errors, in the order they are checked:
///   operation_not_permitted   the calling thread is not registered
///   no_such_process           `target` refers to nothing, or to a thread past its last run point
///   not_enough_memory         all contexts (Options::works) are in use
///   device_or_resource_busy   the Work is scheduled or running (but in its own callback it may be
///                             scheduled again), or another thread cancels it at this moment
/// Context: any. Lock-free.
template <class Callable>
[[nodiscard]] std::errc schedule(Work& work, const Task& target, Callable callable,
                                 Mode mode = Mode::signal) noexcept {
    static_assert(DeclaresWhere<Callable>,
                  "declare where the callable may run: taskwork::anywhere(f) or "
                  "taskwork::at_safe_point(f)");
    static_assert(std::is_trivially_copyable_v<Callable>,
                  "the callable must be trivially copyable: it is copied into a context as bytes");
    static_assert(sizeof(Callable) <= callable_size_max,
                  "the callable must not be larger than 32 bytes: capture a pointer instead");
    static_assert(alignof(Callable) <= 16, "the callable must not be aligned to more than 16");
    static_assert(std::is_invocable_v<Callable&>, "the callable must take no arguments");
    static_assert(std::is_nothrow_invocable_v<Callable&>,
                  "the callable must be noexcept: nobody is there to catch");
    if constexpr (DeclaresWhere<Callable>) {
        return detail::schedule(
            detail::WorkAccess::words(work), target,
            [](void* bytes) noexcept { (*std::launder(static_cast<Callable*>(bytes)))(); },
            &callable, sizeof(callable), Callable::taskwork_where, mode);
    } else {
        return std::errc::invalid_argument;
    }
}

}  // namespace taskwork
