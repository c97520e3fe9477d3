// SPDX-License-Identifier: Apache-2.0
//
// Safe points: where a thread says that callbacks may do anything now. And what brings a thread to
// one: an event descriptor for its loop. HandlerScope is the opposite: it says that nothing is
// allowed now.
#pragma once

#include <atomic>
#include <cstdint>
#include <system_error>

#include <taskwork/domain.hpp>

namespace taskwork {

namespace detail {
/// Of the calling thread: a word that is not zero when a safe point has something to do. It lies in
/// the thread's control block; before registration, a word that is always zero.
[[gnu::visibility("default"),
  gnu::tls_model(
      "initial-exec")]] extern thread_local constinit const std::atomic<std::uint64_t>* attention;
[[gnu::visibility("default")]] void run_safe_point() noexcept;
[[gnu::visibility("default")]] std::errc event_descriptor(int& descriptor, Module& module) noexcept;
}  // namespace detail

/// Runs what is pending for the calling thread: callbacks declared at_safe_point, and anywhere.
/// Newest first. What they schedule on this thread at a safe point runs at the next one. In a
/// callback or a HandlerScope it does nothing.
/// Costs one load when there is nothing to do (of a word whose address is in the thread's own
/// storage).
/// Context: task.
inline void safe_point() noexcept {
    if (detail::attention->load(std::memory_order_relaxed) != 0) {
        detail::run_safe_point();
    }
}

/// A descriptor (eventfd, close-on-exec, non-blocking) that becomes readable when safe_point() has
/// something to do for the calling thread, in either mode and from whatever context it was
/// scheduled. safe_point() resets it. Made at the first call; it belongs to the library, which
/// closes it after the thread has ended: poll it, do not read or close it.
/// Errors: as register_this_thread(); too_many_files_open, too_many_files_open_in_system.
/// Context: task.
inline std::errc event_descriptor(int& descriptor) noexcept {
    return detail::event_descriptor(descriptor, detail::this_module);
}

/// The span of a signal handler of the application. Callbacks declared anywhere that it schedules
/// onto its own thread run when the scope ends; inside, functions of context `task` fail instead of
/// doing harm. Of nested scopes the inner is refused (entered() is false) and should do nothing.
/// The thread need not be registered.
class HandlerScope {
public:
    /// `ucontext`: the third argument of an SA_SIGINFO handler.
    /// Context: a signal handler.
    [[gnu::visibility("default")]] explicit HandlerScope(void* ucontext) noexcept;
    /// Context: a signal handler. May run callbacks.
    [[gnu::visibility("default")]] ~HandlerScope();
    HandlerScope(const HandlerScope&) = delete;
    HandlerScope& operator=(const HandlerScope&) = delete;
    /// Context: a signal handler.
    [[nodiscard]] bool entered() const noexcept { return entered_; }

private:
    void* task_;
    bool entered_;
    bool room_;
};

}  // namespace taskwork
