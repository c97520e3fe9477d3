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

/// Context: any. Precondition: there is a live domain.
Thread& thread_of(const task::Task& task) noexcept;

/// Whether this process has a domain (and did not inherit it).
/// Context: any.
bool domain_is_live() noexcept;

/// The handle of an arena object, never 0.
/// Context: any. Precondition: there is a live domain.
std::uint64_t handle_of(const void* object) noexcept;

/// The object of a handle; nullptr: 0, or of another domain.
/// Context: any.
template <class T>
T* resolve(std::uint64_t handle) noexcept;

/// The calling thread, registered with this domain; nullptr: not registered.
/// Context: any.
task::Task* self() noexcept;

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

namespace internal {
std::uint32_t generation() noexcept;
}

template <class T>
T* resolve(std::uint64_t handle) noexcept {
    if (handle == 0 || !domain_is_live() ||
        static_cast<std::uint32_t>(handle >> 32) != internal::generation()) {
        return nullptr;
    }
    return sync::arena_object<T>(static_cast<std::uint32_t>(handle));
}

}  // namespace taskwork::library
