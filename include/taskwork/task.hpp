// SPDX-License-Identifier: Apache-2.0
//
// Task: a thread of this process to which works can be given.
//
// A thread becomes one by register_this_thread(), by init(), or when it first calls another
// function of context `task`. At its end (or by unregister_this_thread()) what is pending for it
// runs, then its list is closed: schedules are refused with no_such_process.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <system_error>

#include <taskwork/domain.hpp>

namespace taskwork {

class Task;

/// What a thread has done with works. Percentiles and the maximum are of the time from schedule to
/// the start of the callback, in nanoseconds, of works that other threads scheduled.
struct TaskCounters {
    std::uint64_t drains = 0;         ///< Times that it found works to run.
    std::uint64_t drains_cut = 0;     ///< Ended by their budget: the rest waited for the next.
    std::uint64_t nested = 0;         ///< HandlerScopes that were refused for nesting.
    std::uint64_t notifications = 0;  ///< Signals that it sent to others.
    std::uint64_t latency_p50_ns = 0;
    std::uint64_t latency_p99_ns = 0;
    std::uint64_t latency_max_ns = 0;
};

namespace detail {
struct TaskAccess;
[[gnu::visibility("default")]] std::errc register_this_thread(Module& module) noexcept;
[[gnu::visibility("default")]] std::uint64_t this_task(Module& module) noexcept;
[[gnu::visibility("default")]] std::uint64_t current_task() noexcept;
[[gnu::visibility("default")]] std::uint64_t find_task(pid_t thread_id) noexcept;
[[gnu::visibility("default")]] void get_task(std::uint64_t handle) noexcept;
[[gnu::visibility("default")]] void put_task(std::uint64_t handle) noexcept;
[[gnu::visibility("default")]] bool task_is_alive(std::uint64_t handle) noexcept;
[[gnu::visibility("default")]] pid_t task_thread_id(std::uint64_t handle) noexcept;
[[gnu::visibility("default")]] TaskCounters task_counters(std::uint64_t handle) noexcept;
}  // namespace detail

/// A counted reference to a registered thread. It may outlive the thread; then it refers to one
/// that has ended. Distinct objects may be used from distinct threads at once, one object only as
/// any object. In a forked child those of the parent refer to nothing.
class Task {
public:
    /// Refers to nothing.
    constexpr Task() noexcept = default;
    /// Context: any.
    Task(const Task& other) noexcept : handle_(other.handle_) { detail::get_task(handle_); }
    /// Context: any.
    Task(Task&& other) noexcept : handle_(other.handle_) { other.handle_ = 0; }
    /// Context: any.
    Task& operator=(const Task& other) noexcept {
        detail::get_task(other.handle_);
        detail::put_task(handle_);
        handle_ = other.handle_;
        return *this;
    }
    /// Context: any.
    Task& operator=(Task&& other) noexcept {
        if (this != &other) {
            detail::put_task(handle_);
            handle_ = other.handle_;
            other.handle_ = 0;
        }
        return *this;
    }
    /// Context: any.
    ~Task() {
        if (handle_ != 0) {
            detail::put_task(handle_);
        }
    }

    /// Whether it refers to a thread, ended or not.
    /// Context: any.
    explicit operator bool() const noexcept { return handle_ != 0; }
    /// Whether the thread can be given works; it may end at any time.
    /// Context: any.
    [[nodiscard]] bool is_alive() const noexcept { return detail::task_is_alive(handle_); }
    /// Its thread id (gettid); 0: refers to nothing. The kernel may reuse that of an ended thread.
    /// Context: any.
    [[nodiscard]] pid_t thread_id() const noexcept { return detail::task_thread_id(handle_); }
    /// Context: task.
    [[nodiscard]] TaskCounters counters() const noexcept { return detail::task_counters(handle_); }

    /// Whether both refer to the same registration of the same thread.
    friend bool operator==(const Task&, const Task&) noexcept = default;

private:
    explicit Task(std::uint64_t counted) noexcept : handle_(counted) {}
    friend Task this_task() noexcept;
    friend Task current_task() noexcept;
    friend Task find_task(pid_t) noexcept;
    friend struct detail::TaskAccess;

    std::uint64_t handle_ = 0;
};

namespace detail {
/// For the library itself.
struct TaskAccess {
    static std::uint64_t handle(const Task& task) noexcept { return task.handle_; }
};
}  // namespace detail

/// Registers the calling thread; no error if it is registered. The calling module can no longer be
/// unloaded. Errors: as init(), which this is if there is no domain; not_enough_memory also when
/// `Options::threads` are taken; no_such_process (the domain has been closed: the process ends).
/// Context: task.
inline std::errc register_this_thread() noexcept {
    return detail::register_this_thread(detail::this_module);
}

/// What the end of the thread does: pending works run here, later schedules onto it are refused. It
/// can register again, as another Task. Errors: operation_not_permitted (not registered, or inside
/// a callback or a HandlerScope).
/// Context: task.
[[gnu::visibility("default")]] std::errc unregister_this_thread() noexcept;

/// The calling thread, registered if it was not; refers to nothing where register_this_thread()
/// fails.
/// Context: task.
[[nodiscard]] inline Task this_task() noexcept {
    return Task(detail::this_task(detail::this_module));
}

/// The calling thread if it is registered; never registers it.
/// Context: any.
[[nodiscard]] inline Task current_task() noexcept { return Task(detail::current_task()); }

/// The registered thread of this process with that thread id, or a Task that refers to nothing. The
/// caller must be registered itself. Bounded by `Options::threads`.
/// Context: any.
[[nodiscard]] inline Task find_task(pid_t thread_id) noexcept {
    return Task(detail::find_task(thread_id));
}

}  // namespace taskwork
