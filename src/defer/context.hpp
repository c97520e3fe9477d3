// SPDX-License-Identifier: Apache-2.0
//
// The WorkContext behind a slot or a handle; see task_work.hpp for the state machine. Only the
// defer layer, and the library whose handles are contexts of their own, look inside.
//
// A handle (claim_context) has what a slot has, the flag kFlagSlot, and no slot in memory that the
// sweep could look at: the process that has it is the only one of its domain.
#pragma once

#include <cstddef>
#include <cstdint>

#include "defer/task_work.hpp"

namespace taskwork::defer {

/// Publication in progress: claimed from the pool, perhaps already in its slot. Whoever meets one
/// in a slot moves it on to standby.
inline constexpr std::uint8_t kStateAttaching = 32;

/// References and history in the flags of the word.
inline constexpr std::uint8_t kFlagSlot = 1;  ///< A slot points here.
inline constexpr std::uint8_t kFlagNode = 2;  ///< On a list, or promised to one.
inline constexpr std::uint8_t kFlagFromScheduled =
    4;  ///< Freed by the canceller of a scheduled work.
inline constexpr std::uint8_t kFlagFromRunning = 8;  ///< Freed while its callback ran.

/// A count that is raised at most once a round, whoever repeats the step (D.3): {round, count}.
/// Written only while the context's state belongs to the writer alone.
class RoundCount {
public:
    void raise(std::uint32_t round) noexcept {
        const std::uint64_t word = word_.load(std::memory_order_acquire);
        if (static_cast<std::uint32_t>(word >> 32) != round) {
            word_.store(static_cast<std::uint64_t>(round) << 32 |
                            (static_cast<std::uint32_t>(word) + 1),
                        std::memory_order_release);
        }
    }
    [[nodiscard]] bool raised_in(std::uint32_t round) const noexcept {
        return static_cast<std::uint32_t>(word_.load(std::memory_order_acquire) >> 32) == round;
    }
    [[nodiscard]] std::uint32_t count() const noexcept {
        return static_cast<std::uint32_t>(word_.load(std::memory_order_acquire));
    }
    void reset() noexcept { word_.store(0, std::memory_order_release); }

private:
    platform::Atomic<std::uint64_t> word_;
};

/// Three cache lines, of which a round of a callable moves two: what scheduler and target both
/// write, and what only the scheduler does.
struct alignas(64) WorkContext : task::WorkNode {
    platform::Atomic<task::Task*> target;  ///< Set in pending, kept until the next pending.
    RoundCount ran;
    platform::Plain<std::uint64_t> scheduled_ns;
    platform::Plain<std::uint32_t> kind;
    platform::Plain<std::uint32_t> entry;
    platform::Plain<task::Notify> mode;
    platform::Plain<task::List> list;

    // Payload, as kind, entry and the time: written in pending by the scheduler, read by the target
    // and the worker.
    alignas(64) platform::Atomic<void*> program;  ///< kCallbackCallable: the function.
    platform::Atomic<void*> map;
    platform::Plain<void*> value;
    platform::Plain<std::uint64_t> identity;  ///< The handle's owner's; written before it is seen.
    /// kCallbackCallable: what is called. The runner copies it first.
    alignas(16) std::byte callable[kCallableBytes];

    alignas(64) platform::Atomic<Slot*> slot;  ///< Where it is, or is about to be, published.
                                               ///< nullptr: a handle.
    platform::Atomic<WorkTotals*> totals;      ///< Of the owner; nullptr once folded.
    RoundCount dropped;
    RoundCount refused;
    platform::Atomic<std::uint32_t> first_round;  ///< Round of the word when this life began.
};
static_assert(sizeof(WorkContext) == 3 * 64);

/// Forgets the counts of an earlier life. Done before a context becomes free, for the next claim
/// (whose round is known), so that one whose claimer dies at once counts nothing.
inline void begin_life(WorkContext& context, std::uint32_t round) noexcept {
    context.first_round.store(round, std::memory_order_relaxed);
    context.ran.reset();
    context.dropped.reset();
    context.refused.reset();
}

inline WorkContext& context_of(task::WorkNode& node) noexcept {
    return static_cast<WorkContext&>(node);
}
inline const WorkContext& context_of(const task::WorkNode& node) noexcept {
    return static_cast<const WorkContext&>(node);
}

inline WorkState state_of(sync::Word word) noexcept { return static_cast<WorkState>(word.state()); }

/// Whether schedule has handed it over and nobody has ended it.
inline bool is_in_flight(sync::Word word) noexcept {
    const WorkState state = state_of(word);
    return state == WorkState::pending || state == WorkState::scheduling ||
           state == WorkState::scheduled || state == WorkState::running;
}

/// Takes the slot's reference away, whatever the state; idempotent. The caller is inside a brief
/// section, or has a handle's reference to give. Returns the state in which it found it: scheduled,
/// if it was the one who cancelled; freed: nothing was to be done. `unless_running`: and if a
/// callback runs, nothing is done either. `*round`, if given: the round that it ended.
/// Context: any.
WorkState detach(WorkContext& context, bool unless_running = false,
                 std::uint32_t* round = nullptr) noexcept;

/// Whether the callback of a round that detach() found running has yet to end.
/// Context: any.
bool runs_detached(const WorkContext& context, std::uint32_t round) noexcept;

/// A context for a handle, in standby; nullptr: none is to be had. It is the caller's until
/// detach().
/// Context: any.
WorkContext* claim_context(sync::Claimant by) noexcept;
/// Gives back what claim_context() made and nobody has seen.
/// Context: any.
void unclaim_context(WorkContext& context) noexcept;

/// As schedule() on a slot, on a handle's context. `again`: the caller is inside the callback of
/// that round of this context, on the thread that runs it: the round counts as run, and the next
/// begins. 0: it is not. The caller is the task `self`, inside a Section and a brief section.
/// Errors: device_or_resource_busy, no_such_process.
/// Context: any.
std::errc schedule(task::Task& self, WorkContext& context, const ScheduleRequest& request,
                   std::uint32_t again) noexcept;

/// As the above, of a callable: `function` is called with it by the runner below. It is copied, at
/// most kCallableBytes.
/// Context: any.
struct Callable {
    void* function;
    const void* bytes;
    std::size_t size;
};
std::errc schedule(task::Task& self, WorkContext& context, const Delivery& delivery,
                   const Callable& callable, std::uint32_t again) noexcept;

/// Runs the callable of a context in the target thread, which may block in it for ever: it stands
/// in no reader section. Context: task_work.
using CallableRunner = void (*)(task::Task& task, const WorkContext& context) noexcept;
/// Context: task.
TW_TASK_ONLY void set_callable_runner(CallableRunner runner) noexcept;

/// Whether a schedule would be refused as busy: `word` is that of the context of the slot or handle
/// that the caller has just read, `again` as above. Needs no section, for contexts stay mapped: one
/// that was released meanwhile, perhaps to others, was detached from the caller's slot or handle
/// under its eyes, which is a reason to be refused too.
/// Context: any.
inline bool is_busy(sync::Word word, std::uint32_t again = 0) noexcept {
    return state_of(word) != WorkState::standby &&
           (again == 0 || state_of(word) != WorkState::running || word.round() != again);
}

/// Takes the list's reference away from a freed context, retiring it if it was the last. The caller
/// is inside a brief section.
/// Context: any.
void put_node(WorkContext& context, std::uint32_t round) noexcept;

/// The sweep after a death (task/worker.hpp).
/// Context: irq.
TW_NOT_NMI bool sweep(std::uint16_t owner) noexcept;

/// Adds what a context that ended has counted to its owner's totals, and makes it free.
/// Context: irq.
TW_NOT_NMI void fold_and_release(WorkContext& context) noexcept;

/// What the context has counted so far.
WorkCounts counts_of(const WorkContext& context) noexcept;

}  // namespace taskwork::defer
