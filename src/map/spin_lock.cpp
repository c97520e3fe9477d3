// SPDX-License-Identifier: Apache-2.0
#include "map/spin_lock.hpp"

#include "base/assert.hpp"
#include "map/map.hpp"
#include "sync/arena.hpp"
#include "sync/deferral.hpp"
#include "task/run_point.hpp"
#include "task/worker.hpp"

namespace taskwork::map {

namespace {

constexpr unsigned kOwnerShift = 16;
/// Between two looks at the clock, each of which costs about as much as so many pauses.
constexpr unsigned kSpinsPerLook = 64;

std::uint32_t index_of(const task::Task& task) noexcept {
    return task::TaskTable::get().tasks.index_of(&task);
}

/// The word of a lock that the task holds.
std::uint32_t name_of(const task::Task& task) noexcept {
    return index_of(task) << kOwnerShift | (task.process + 1U);
}

std::uint64_t entry_of(const LockWord& word) noexcept {
    return reinterpret_cast<std::uintptr_t>(&word);
}

LockWord& word_of(std::uint64_t entry) noexcept {
    return *reinterpret_cast<LockWord*>(entry & ~HeldLocks::kTagMask);
}

/// `found`: the word that stood in the way.
bool try_take(LockWord& word, std::uint32_t name, std::uint32_t& found) noexcept {
    found = 0;
    // Acquire: pairs with the release in open() (L.1).
    return word.compare_exchange(found, name, std::memory_order_acq_rel);
}

/// By name, so that neither the sweep nor a program with an address that it should not have opens a
/// lock of somebody else.
void open(LockWord& word, std::uint32_t name) noexcept {
    std::uint32_t held = name;
    // Release: pairs with the acquire in try_take().
    word.compare_exchange(held, 0, std::memory_order_acq_rel);
}

}  // namespace

std::errc SpinLocks::create() noexcept {
    const std::uint32_t tasks = task::TaskTable::get().tasks.count();
    TW_ASSERT(tasks <= 1U << kOwnerShift, "a lock's word has 16 bits for its task");
    tables_ = static_cast<HeldLocks*>(
        sync::Arena::allocate(tasks * sizeof(HeldLocks), alignof(HeldLocks)));
    return tables_ == nullptr ? std::errc::not_enough_memory : no_error;
}

void SpinLocks::begin(task::Task& self) noexcept {
    if (held(self) == 0) {
        return;
    }
    // Whoever holds a lock is in a section, a callback or a handler. What lies below a callback is
    // no section; below an execution in task context nothing of ours.
    const Level level = task::current_level(self);
    const bool something_below =
        level != Level::task && (self.section.is_open() || self.safe_draining.is_open() ||
                                 (level == Level::nmi && self.draining.is_open()));
    if (!something_below) {
        unlock_down_to(self, 0);
    }
}

HeldLocks& SpinLocks::of(const task::Task& task) const noexcept { return tables_[index_of(task)]; }

std::errc SpinLocks::lock(task::Task& self, LockWord& word, std::uint64_t timeout_ns,
                          unsigned tag) noexcept {
    HeldLocks& held = of(self);
    const std::uint32_t count = held.count.load(std::memory_order_relaxed);
    if (count == HeldLocks::kMax) {
        return std::errc::resource_deadlock_would_occur;
    }
    // The count first: a handler that nests here puts its entries above this one, and not in it.
    held.count.store(count + 1, std::memory_order_release);
    platform::signal_fence();
    held.entries[count].store(entry_of(word) | tag, std::memory_order_release);
    platform::signal_fence();
    std::uint32_t found = 0;
    const std::errc error =
        try_take(word, name_of(self), found) ? no_error : wait(self, word, timeout_ns);
    if (error != no_error) {
        pop(held);
    }
    return error;
}

void SpinLocks::unlock(task::Task& self, LockWord& word) noexcept {
    open(word, name_of(self));
    platform::signal_fence();
    pop(of(self));
}

/// The entry first: entries from `count` on are 0, or one that waits would be taken for waiting for
/// what an earlier execution held.
void SpinLocks::pop(HeldLocks& held) noexcept {
    const std::uint32_t count = held.count.load(std::memory_order_relaxed) - 1;
    held.entries[count].store(0, std::memory_order_release);
    platform::signal_fence();
    held.count.store(count, std::memory_order_release);
}

std::errc SpinLocks::wait(task::Task& self, LockWord& word, std::uint64_t timeout_ns) noexcept {
    const bool in_nmi = task::current_level(self) == Level::nmi;
    // Some filters kill for any system call.
    const bool may_yield = !in_nmi && !sync::DeferralQueue::is_quiet();
    const std::uint32_t name = name_of(self);
    const std::uint64_t begin_ns = platform::now_ns();
    const std::uint64_t end_ns = begin_ns + (in_nmi ? kLockNmiNs : timeout_ns);
    std::uint64_t check_ns = begin_ns;
    for (std::uint64_t now_ns = begin_ns;; now_ns = platform::now_ns()) {
        // Before the time is looked at: a waiter that was preempted for long still has one try.
        std::uint32_t found = word.load(std::memory_order_acquire);
        if (found == 0 && try_take(word, name, found)) {
            return no_error;
        }
        if (now_ns >= end_ns) {
            return would_deadlock(self, word, found) ? std::errc::resource_deadlock_would_occur
                                                     : std::errc::timed_out;
        }
        if (now_ns >= check_ns) {
            if (would_deadlock(self, word, found)) {
                return std::errc::resource_deadlock_would_occur;
            }
            if (has_ended(found)) {
                open(word, found);
            }
            check_ns = now_ns + kLockCheckNs;
        }
        for (unsigned spin = 0; spin < kSpinsPerLook && word.load(std::memory_order_relaxed) != 0;
             ++spin) {
            __builtin_ia32_pause();
        }
        if (may_yield && word.load(std::memory_order_relaxed) != 0) {
            platform::yield();
        }
    }
}

/// Whether the thread that the word names has ended (without an unlock: by longjmp or cancellation
/// out of its region). One whose process died is the sweep's, if that has not come to it yet.
bool SpinLocks::has_ended(std::uint32_t found) noexcept {
    const std::uint32_t holder = found >> kOwnerShift;
    task::TaskTable& table = task::TaskTable::get();
    if (found == 0 || holder >= table.tasks.count()) {
        return false;
    }
    const std::uint8_t state = sync::Pool::load(&table.task_at(holder)).state();
    return state != task::kTaskBorn && state != task::kTaskAlive;
}

/// `found`: what stood in the word, by which it is not free.
bool SpinLocks::would_deadlock(const task::Task& self, const LockWord& word,
                               std::uint32_t found) const noexcept {
    const std::uint32_t name = name_of(self);
    if (found == name) {
        return true;
    }
    const std::uint32_t holder = found >> kOwnerShift;
    if (holder >= task::TaskTable::get().tasks.count()) {
        return false;
    }
    const HeldLocks& theirs = tables_[holder];
    const std::uint32_t their_count = theirs.count.load(std::memory_order_acquire);
    if (their_count == 0 || their_count > HeldLocks::kMax) {
        return false;
    }
    const std::uint64_t theirs_last =
        theirs.entries[their_count - 1].load(std::memory_order_acquire) & ~HeldLocks::kTagMask;
    // Only compared: the memory that it names is theirs to keep. Ours are kept by our own section.
    // What interrupted code of ours is waiting for stands in our table too, and is not ours.
    const HeldLocks& ours = of(self);
    const std::uint32_t our_count = ours.count.load(std::memory_order_relaxed) - 1;
    for (std::uint32_t i = 0; i < our_count; ++i) {
        const std::uint64_t entry =
            ours.entries[i].load(std::memory_order_relaxed) & ~HeldLocks::kTagMask;
        if (entry != 0 && entry == theirs_last &&
            word_of(entry).load(std::memory_order_acquire) == name) {
            // He may have given back what we want before he came to wait.
            return word.load(std::memory_order_acquire) == found;
        }
    }
    return false;
}

std::uint32_t SpinLocks::held(const task::Task& self) const noexcept {
    return of(self).count.load(std::memory_order_relaxed);
}

bool SpinLocks::is_last(const task::Task& self, const LockWord& word, unsigned tag) const noexcept {
    const HeldLocks& held = of(self);
    const std::uint32_t count = held.count.load(std::memory_order_relaxed);
    return count != 0 &&
           held.entries[count - 1].load(std::memory_order_relaxed) == (entry_of(word) | tag);
}

void SpinLocks::unlock_down_to(task::Task& task, std::uint32_t count) noexcept {
    HeldLocks& held = of(task);
    while (held.count.load(std::memory_order_relaxed) > count) {
        const std::uint32_t last = held.count.load(std::memory_order_relaxed) - 1;
        // 0: its thread died between two steps, before the word could name it.
        if (const std::uint64_t entry = held.entries[last].load(std::memory_order_acquire)) {
            open(word_of(entry), name_of(task));
        }
        platform::signal_fence();
        pop(held);
    }
}

void SpinLocks::sweep(std::uint16_t dead_owner) noexcept {
    task::TaskTable& table = task::TaskTable::get();
    for (std::uint32_t i = 0; i < table.tasks.count(); ++i) {
        task::Task& task = table.task_at(i);
        const sync::Word word = sync::Pool::load(&task);
        const bool gone = word.state() == task::kTaskExited &&
                          (dead_owner == task::kOwnerNone || word.owner() == dead_owner);
        if (gone) {
            unlock_down_to(task, 0);
        }
    }
}

}  // namespace taskwork::map
