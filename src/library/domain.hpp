// SPDX-License-Identifier: Apache-2.0
//
// The domain behind the public face (include/taskwork): this process is its own host and the only
// member. Its arena is private memory at no fixed address, so that several copies of the library,
// or the preload library of `taskwork run`, can live in one process.
//
// Handles are {generation of the domain : 32, arena index : 32}. A forked child has no live domain
// (the fork cookie reads 0 there) until it makes one, of the next generation; so whatever a handle
// of the parent is used for, it resolves to nothing.
#pragma once

#include <atomic>
#include <cstdint>
#include <system_error>

#include "base/context.hpp"
#include "sync/arena.hpp"
#include "sync/platform.hpp"
#include "task/task.hpp"
#include <taskwork/domain.hpp>

namespace taskwork::library {

/// What the library keeps of a thread, beside its Task, at the same index.
struct alignas(64) Thread {
    /// The Work whose callback runs here, by task::List: its identity, 0 for none.
    platform::Atomic<std::uint64_t> running[task::list_count];
    /// Which round of which context that is, {arena index : 32, round : 32}; own thread only.
    std::uint64_t running_round[task::list_count];
    platform::Atomic<std::int32_t> event_descriptor;  ///< -1: none.
    platform::Atomic<std::int32_t> kick_descriptor;   ///< -1: none yet, -2: not to be had.
    platform::Atomic<std::uint32_t> waiting;          ///< In a wait of wait.hpp.
    std::uintptr_t window;  ///< Stack pointer in a futex wait, between check and end; 0: none.
};

namespace internal {
/// Written under a lock, read in any context.
struct Domain {
    std::atomic<std::uint32_t> generation{0};
    std::atomic<std::uint64_t> cookie{0};  ///< Fork cookie under which it was made; 0: none.
    Thread* threads = nullptr;
};
inline constinit Domain domain;
}  // namespace internal

/// Context: any. Precondition: there is a live domain.
inline Thread& thread_of(const task::Task& task) noexcept {
    return internal::domain.threads[task::TaskTable::get().index_of(task)];
}

/// Whether this process has a domain (and did not inherit it).
/// Context: any.
inline bool domain_is_live() noexcept {
    // Acquire: pairs with the release in make_domain(): the rest is there.
    const std::uint64_t cookie = internal::domain.cookie.load(std::memory_order_acquire);
    return cookie != 0 && cookie == platform::fork_cookie();
}

/// The handle of an arena object, never 0.
/// Context: any. Precondition: there is a live domain.
inline std::uint64_t handle_of(const void* object) noexcept {
    return static_cast<std::uint64_t>(internal::domain.generation.load(std::memory_order_relaxed))
               << 32 |
           sync::arena_index(object);
}

/// The object of a handle; nullptr: 0, or of another domain.
/// Context: any. Precondition: there is a live domain.
template <class T>
T* resolve_live(std::uint64_t handle) noexcept {
    // A handle of this generation is of an object; 0 is of none.
    return static_cast<std::uint32_t>(handle >> 32) !=
                   internal::domain.generation.load(std::memory_order_relaxed)
               ? nullptr
               : reinterpret_cast<T*>(sync::detail::arena_base +
                                      (handle & UINT32_MAX) * sync::kArenaUnit);
}
/// Context: any.
template <class T>
T* resolve(std::uint64_t handle) noexcept {
    return domain_is_live() ? resolve_live<T>(handle) : nullptr;
}

/// The calling thread, registered with this domain, which is live then; nullptr: not registered.
/// Context: any.
inline task::Task* self() noexcept {
    const platform::ThreadState& state = platform::this_thread();
    const std::uint64_t cookie = internal::domain.cookie.load(std::memory_order_acquire);
    // One look at the process's cookie for both: the domain's, and task::current()'s.
    return cookie == state.cookie.get() && cookie != 0 && cookie == platform::fork_cookie()
               ? static_cast<task::Task*>(state.task.get())
               : nullptr;
}

/// Whether functions of context task may be called: no HandlerScope, no callback declared anywhere
/// is open on this thread.
/// Context: any.
bool in_task_context() noexcept;

/// Makes the domain if there is none, and registers the calling thread. Errors: as
/// taskwork::register_this_thread().
/// Context: task.
TW_TASK_ONLY std::errc ensure_registered(detail::Module& module, const Options& options) noexcept;

/// The last run point of the calling thread, which is registered.
/// Context: task.
TW_TASK_ONLY void unregister_self() noexcept;

}  // namespace taskwork::library
