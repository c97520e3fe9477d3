// SPDX-License-Identifier: Apache-2.0
//
// Grace periods: when may memory be used again that a reader found without taking a reference?
//
// Two flavours, as in the kernel (Tasks Trace and classic RCU):
//   sleepable   executions of programs and callbacks; may sleep; protects map elements, program
//               code, tasks.
//   brief       runtime sections; bounded; protects contexts and list nodes.
//
// A reader owns a ReaderSlot per flavour, in its task's control block: one 64-bit word
// {epoch : 48, nesting : 16}. Entering reads the global epoch and stores the word; a handler that
// nests between the two leaves the word as it found it, so sections nest under signals on any
// stack. No fence in the reader: the worker's membarrier (GLOBAL_EXPEDITED) orders it; a process
// that could not register fences by itself.
//
//   GP.1  What a reader loads inside its section stays memory until it leaves.
//   GP.2  start() then poll(): true only after every section that was open at start() has closed.
//
// Algorithm: epochs as in McKenney's and Fraser's work. start() raises the epoch from E to E+1 and
// fences everybody; poll() looks for a slot that is open with an epoch <= E. A reader that read E
// and stored it late began after the fence, so it cannot hold what was unlinked before; counting it
// in only delays.
#pragma once

#include <cstdint>

#include "base/context.hpp"
#include "base/errc.hpp"
#include "sync/arena.hpp"
#include "sync/platform.hpp"

namespace taskwork::sync {

enum class Flavour : unsigned { sleepable = 0, brief = 1 };
inline constexpr unsigned flavour_count = 2;

/// One flavour's state of one reader. Written by its thread (and its handlers) only.
class ReaderSlot {
public:
    /// Context: any (own thread).
    void enter() noexcept;
    /// Context: any (own thread).
    void exit() noexcept;
    /// Closes the slot whatever its nesting: after a longjmp, or a death.
    /// Context: own thread; irq for a dead owner.
    void reset() noexcept;
    [[nodiscard]] bool is_open() const noexcept;
    /// Whether a section is open that began at or before `epoch`.
    [[nodiscard]] bool is_open_since(std::uint64_t epoch) const noexcept;

private:
    static constexpr std::uint64_t kNestingMask = 0xffff;
    static constexpr unsigned kEpochShift = 16;
    platform::Atomic<std::uint64_t> word_;
};

/// A ticket for a grace period in progress.
struct GraceTicket {
    std::uint64_t epoch = 0;
};

/// How GracePeriods finds the readers: a walk over all slots of a flavour, set by the task layer in
/// the host. Returns true if any slot is open since `epoch`.
using AnyReaderOpen = bool (*)(Flavour flavour, std::uint64_t epoch) noexcept;

class GracePeriods {
public:
    /// Creates in the arena, publishes as Root::grace. Host only. Errors: not_enough_memory.
    /// Context: task.
    TW_TASK_ONLY static std::errc create() noexcept;
    /// Context: any.
    static GracePeriods& get() noexcept { return *Arena::root<GracePeriods>(Root::grace); }
    /// Host only.
    /// Context: task.
    TW_TASK_ONLY static void set_reader_walk(AnyReaderOpen walk) noexcept;

    /// Begins a grace period of both flavours: everything unlinked before is covered.
    /// Context: task, irq. Host only.
    TW_NOT_NMI GraceTicket start() noexcept;
    /// Whether the flavour's grace period has ended. Never waits.
    /// Context: task, irq. Host only.
    TW_NOT_NMI [[nodiscard]] bool poll(GraceTicket ticket, Flavour flavour) const noexcept;

    [[nodiscard]] std::uint64_t epoch() const noexcept {
        // Acquire: pairs with the fetch_add of start(). A reader of the new epoch is not waited
        // for, so it must see what was unlinked before.
        return epoch_.load(std::memory_order_acquire);
    }

    /// The epoch, read behind all that the caller has exchanged: once it is over, no reader holds
    /// what he has unlinked before (which exchanges, and on what machines: DESIGN.md, section 5).
    /// Context: any.
    [[nodiscard]] std::uint64_t epoch_after() const noexcept {
        return epoch_.load(std::memory_order_seq_cst);
    }
    /// Whether both flavours' grace periods of all epochs up to this one have ended.
    /// Context: any. Ordering: acquire.
    [[nodiscard]] bool is_over(std::uint64_t epoch) const noexcept {
        return over_.load(std::memory_order_acquire) >= epoch;
    }
    /// Says so, once poll() has said it of both flavours. Host only.
    /// Context: task, irq.
    TW_NOT_NMI void end(GraceTicket ticket) noexcept {
        over_.store(ticket.epoch, std::memory_order_release);
    }

    /// Whether readers of this process must fence by themselves (membarrier refused).
    static bool readers_fence() noexcept {
        return platform::this_process().readers_fence.load(std::memory_order_relaxed) != 0;
    }
    /// Registers this process; call before its first reader.
    /// Context: task; async-signal-safe for forked children.
    TW_TASK_ONLY static void register_process() noexcept;

private:
    platform::Atomic<std::uint64_t> epoch_{1};
    platform::Atomic<std::uint64_t> over_{0};
};

// Here, because they are a few instructions and stand in every path.
inline void ReaderSlot::enter() noexcept {
    const std::uint64_t word = word_.load(std::memory_order_relaxed);
    if ((word & kNestingMask) != 0) {
        word_.store(word + 1, std::memory_order_relaxed);
        platform::signal_fence();
        return;
    }
    const std::uint64_t epoch = GracePeriods::get().epoch();
    word_.store(epoch << kEpochShift | 1, std::memory_order_relaxed);
    // The store must be visible before anything the section loads. The worker's membarrier does
    // that for us; all that is needed here is that the compiler keeps the order.
    if (GracePeriods::readers_fence()) {
        platform::full_fence();
    } else {
        platform::signal_fence();
    }
}

inline void ReaderSlot::exit() noexcept {
    const std::uint64_t word = word_.load(std::memory_order_relaxed);
    if ((word & kNestingMask) == 0) {
        return;  // Reset meanwhile: the section was taken for abandoned.
    }
    // Release: pairs with the acquire in is_open_since; the section's accesses are done.
    word_.store((word & kNestingMask) == 1 ? 0 : word - 1, std::memory_order_release);
}

}  // namespace taskwork::sync
