// SPDX-License-Identifier: Apache-2.0
//
// What becomes of works, for whoever wants to see it: one hook of the process, called at each
// transition in the context in which it happens. It observes and decides nothing, so it is no part
// of the platform seam: a build for exploration takes no step for it.
#pragma once

#include <atomic>
#include <cstdint>

namespace taskwork::defer {

struct WorkContext;

enum class Transition : std::uint8_t {
    pending,    ///< A round has begun.
    scheduled,  ///< The target will run it.
    refused,    ///< The round ended before it came to a list.
    running,    ///< Its callback begins,
    ran,        ///< has ended.
    cancelled,  ///< A canceller was faster than the target.
    dropped,    ///< The target or its process died.
};

/// Context: any. It may neither wait nor allocate.
using TransitionHook = void (*)(const WorkContext& context, std::uint32_t round,
                                Transition transition) noexcept;

namespace detail {
inline constinit std::atomic<TransitionHook> transition_hook{nullptr};
}

/// nullptr: none. One that is replaced may still be running.
/// Context: any.
inline void set_transition_hook(TransitionHook hook) noexcept {
    detail::transition_hook.store(hook, std::memory_order_release);
}

/// One load when there is no hook.
/// Context: any.
inline void note(const WorkContext& context, std::uint32_t round, Transition transition) noexcept {
    // Acquire: what the hook reads was written before it was set.
    const TransitionHook hook = detail::transition_hook.load(std::memory_order_acquire);
    if (__builtin_expect(hook != nullptr, 0)) {
        hook(context, round, transition);
    }
}

}  // namespace taskwork::defer
