// SPDX-License-Identifier: Apache-2.0
//
// The deferral queue: any context asks the host's worker to do what must not be done there (refill,
// retirement, compaction, destruction, opening events). It plays the part of the kernel's irq_work.
//
// A request is not a node on a list but a bit: each thing that can be asked for has an *item*, an
// index given out once, and queueing it sets its bit. So queueing an item that is queued already is
// a no-op, an item may be queued again while its handler runs, nothing is allocated, and a process
// that dies while queueing leaves nothing half-linked (K118, K119).
//
// The worker sleeps on a futex; ring() makes the one system call to wake it only if it sleeps.
#pragma once

#include <cstdint>

#include "base/context.hpp"
#include "sync/platform.hpp"
#include "sync/pool.hpp"

namespace taskwork::sync {

/// What the worker does for an item; set by the layer that owns the kind, in the host process only.
using DeferralHandler = void (*)(std::uint64_t argument);

/// Kinds of items, so that an item in the arena names its handler without a pointer.
enum class DeferralKind : std::uint32_t {
    none,
    pool_retired,    ///< argument: Pool*
    task_compact,    ///< argument: Task*
    task_born,       ///< argument: Task*
    task_exited,     ///< argument: Task*
    task_kick,       ///< argument: Task*
    process_joined,  ///< argument: index of the process
    ring_buffer,     ///< argument: Map*
    test,            ///< argument: user's
    count,
};

class DeferralQueue {
public:
    static constexpr std::uint32_t kItemsDefault = 16384;

    /// Creates the queue in the arena, with room for `items_max` items less one, and publishes it
    /// as Root::deferral. Host only. Errors: not_enough_memory. Context: task.
    TW_TASK_ONLY static std::errc create(std::uint32_t items_max = kItemsDefault) noexcept;
    /// Context: any.
    static DeferralQueue& get() noexcept;

    /// A new item; 0 if all are given out (0 is never an item; queueing it does nothing).
    /// Context: any.
    std::uint32_t add_item(DeferralKind kind, std::uint64_t argument) noexcept;
    /// Gives an item back; a queued request for it is dropped.
    /// Context: task, irq.
    TW_NOT_NMI void remove_item(std::uint32_t item) noexcept;

    /// Asks for the item. Ordering: what the caller did before is visible to the handler.
    /// Context: any. At most one system call, and only if the worker sleeps.
    void queue(std::uint32_t item) noexcept;

    /// As queue(), but leaves a worker alone that dozes: it looks again soon by itself. For what
    /// has time, and comes often. Ordering: what the caller did up to his last sequentially
    /// consistent exchange is visible to the handler. Context: any. At most one system call.
    void queue_lazily(std::uint32_t item) noexcept;
    /// As queue(), but leaves a sleeping worker asleep: it looks when it wakes for other reasons,
    /// or after the time it gave itself. For a process that is about to end: the filter of a
    /// program that exits may allow nothing but that. Context: any. No system call.
    void queue_quietly(std::uint32_t item) noexcept;
    /// Makes every queue() of this process, and of children that it forks, a queue_quietly().
    /// Context: any.
    static void be_quiet() noexcept;
    /// Context: any.
    static bool is_quiet() noexcept;

    /// Sets this process's handler for a kind. Host only, before the worker starts.
    /// Context: task.
    TW_TASK_ONLY static void set_handler(DeferralKind kind, DeferralHandler handler) noexcept;

    /// Runs the handlers of all queued items; true if there was any. Worker only (tests may call it
    /// in place of a worker).
    /// Context: irq.
    TW_NOT_NMI bool run_pending() noexcept;
    /// How often anybody has woken the worker; for wait().
    /// Context: irq.
    TW_NOT_NMI [[nodiscard]] std::uint32_t wakes() const noexcept;
    /// Sleeps until something is queued or the worker is woken, at most timeout_ns. `seen`: wakes()
    /// from before the caller's last look at what it is woken for. `dozes`: what is queued lazily
    /// is left for the next look, which is to be soon then. Worker only.
    /// Context: irq.
    TW_NOT_NMI void wait(std::uint32_t seen, std::uint64_t timeout_ns, bool dozes = false) noexcept;
    /// Makes a sleeping worker look again.
    /// Context: any.
    void wake() noexcept;
    /// Makes hints right again after a death. Worker only.
    /// Context: irq.
    TW_NOT_NMI void settle() noexcept;

private:
    static constexpr std::uint32_t kAsleep = 1;  ///< In sleeping_; 0: awake.
    static constexpr std::uint32_t kDozing = 2;

    struct Item {
        AtomicWord word;  ///< Pool word; state kItemUsed while given out.
        platform::Atomic<std::uint64_t> argument;
        platform::Atomic<std::uint32_t> kind;
        std::uint32_t reserved;
        std::uint64_t reserved1;
    };
    Pool items_;
    HintMap queued_;
    platform::Atomic<std::uint32_t> signal_;    ///< Raised by each queue(); the futex word.
    platform::Atomic<std::uint32_t> sleeping_;  ///< While the worker is about to sleep, which way.
};

}  // namespace taskwork::sync
