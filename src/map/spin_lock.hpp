// SPDX-License-Identifier: Apache-2.0
//
// The lock in a value: struct bpf_spin_lock, which BPF_F_LOCK also takes, and struct
// bpf_res_spin_lock. Both are one 32-bit word and one algorithm, that of the kernel's resilient
// lock (kernel/bpf/rqspinlock.c) in behaviour: nobody waits for ever.
//
//   word   0: free; else {index of the task that holds it : 16, its process + 1 : 16}
//
// Each task has a table of the locks that it holds, in the order of taking them; an entry stands
// there before the word names the task, so the last one is either held or waited for, as its word
// says. From that follow:
//
//   AA     the word names my own task: this execution, or one that it has interrupted, holds it
//   ABBA   the last entry of its holder is a lock that I hold: he waits for me, I would for him
//   death  whatever a task held stands in its table: the sweep opens what its words still name
//   exit   a lock of a task that has ended is opened by whoever waits for it
//
//   L.1  lock() returned no_error: what earlier holders did before unlock() is visible.
//   L.2  At most one task holds a lock; one that dies holds it until the sweep.
//   L.3  lock() returns within its time, in nmi within kLockNmiNs, whatever the others do.
//
// A handler may nest between any two instructions: it gives back what it takes, so that the table
// is as it was. Longer cycles than ABBA end by time, as in the kernel. The kernel queues those who
// wait; here whoever comes first gets it.
#pragma once

#include <cstdint>

#include "base/errc.hpp"
#include "sync/platform.hpp"
#include "task/task.hpp"

namespace taskwork::map {

using LockWord = platform::Atomic<std::uint32_t>;

/// How long a resilient lock is waited for outside handlers.
inline constexpr std::uint64_t kResilientLockNs = 250'000'000;
/// Those that programs cannot refuse to get, and BPF_F_LOCK: a holder that is stopped or preempted
/// has this long to come back.
inline constexpr std::uint64_t kSpinLockNs = 1'000'000'000;
/// Either in a handler: the application waits, and the holder may be preempted.
inline constexpr std::uint64_t kLockNmiNs = 100'000;
/// Between two looks for a deadlock.
inline constexpr std::uint64_t kLockCheckNs = 1'000'000;

/// The locks of one task. Its thread (and handlers) writes; those who wait for it read.
struct alignas(64) HeldLocks {
    static constexpr unsigned kMax = 31;  ///< As the kernel's table has.
    static constexpr std::uint64_t kTagMask = 3;
    platform::Atomic<std::uint32_t> count;
    platform::Atomic<std::uint64_t> entries[kMax];  ///< Address of the word | tag; 0 from `count`.
};

class SpinLocks {
public:
    /// A table for each task. Host only; part of MapTable::create(). Errors: not_enough_memory.
    /// Context: task.
    std::errc create() noexcept;
    /// An execution begins: opens what one left behind that longjmp or cancellation has taken from
    /// the stack.
    /// Context: any (own thread).
    void begin(task::Task& self) noexcept;

    /// Takes the lock for `self`, the calling task, which is inside a sleepable section that keeps
    /// the word memory. `tag` (0-3) is the caller's, see is_last(). Errors:
    ///   resource_deadlock_would_occur   AA; ABBA; the task holds HeldLocks::kMax already
    ///   timed_out                       not free within `timeout_ns`; in nmi within kLockNmiNs
    /// Context: any. Outside nmi a wait yields the processor.
    std::errc lock(task::Task& self, LockWord& word, std::uint64_t timeout_ns,
                   unsigned tag = 0) noexcept;
    /// Gives back the last lock taken. Precondition: is_last(self, word, tag).
    /// Context: any (own thread).
    void unlock(task::Task& self, LockWord& word) noexcept;

    /// Locks that the task holds, interrupted executions included.
    /// Context: any (own thread).
    [[nodiscard]] std::uint32_t held(const task::Task& self) const noexcept;
    /// Whether `word` is the lock that the task took last, with this tag.
    /// Context: any (own thread).
    [[nodiscard]] bool is_last(const task::Task& self, const LockWord& word,
                               unsigned tag) const noexcept;
    /// Gives back all but the first `count`, whoever took them: an execution has ended.
    /// Context: any (own thread); irq for a task that runs no more.
    void unlock_down_to(task::Task& task, std::uint32_t count) noexcept;

    /// Opens what tasks of a dead process hold; task::kOwnerNone: what threads that have vanished
    /// do.
    /// Context: irq.
    void sweep(std::uint16_t dead_owner) noexcept;

private:
    [[nodiscard]] HeldLocks& of(const task::Task& task) const noexcept;
    std::errc wait(task::Task& self, LockWord& word, std::uint64_t timeout_ns) noexcept;
    [[nodiscard]] bool would_deadlock(const task::Task& self, const LockWord& word,
                                      std::uint32_t found) const noexcept;
    [[nodiscard]] static bool has_ended(std::uint32_t found) noexcept;
    void pop(HeldLocks& held) noexcept;

    HeldLocks* tables_ = nullptr;
};

}  // namespace taskwork::map
