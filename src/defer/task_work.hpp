// SPDX-License-Identifier: Apache-2.0
//
// Task work: "call this function later, in the context of that task". The slot is the 8 bytes
// embedded in a map value (struct bpf_task_work); while in use it points to a WorkContext from a
// pool, whose word carries the whole state:
//
//                 +------- refused (-ESRCH) ------- scheduling
//                 v                                    ^ the list is closed
//   (pool) --> standby --> pending ---------------> scheduled --> running
//                 ^                                                  |
//                 +----------------------- ran ----------------------+
//
//   any but freed --cancel (any context)--> freed --> (pool)
//
// The word is {round, owner, flags, state} (sync/pool.hpp). Its flags are the references:
//   slot     a slot points to the context
//   node     the context is, or is about to be, on its target's list (a work in flight)
//   late     set with freed: from which state the cancel came (scheduled: the cancel owns the
//            payload and counts; running: the callback goes on)
// Whoever clears the last reference retires the context. There is no other count that a death could
// leave wrong: the references to program and target are *derived* (a program or task may be freed
// after a grace period once no context in flight names it, see references_program()).
//
//   TW.1  Whatever a thread did before schedule() is visible to the callback.
//   TW.2  After cancel() returned, the callback of that round does not start (it may be running).
//   TW.3  A schedule that returned no_error ends exactly once: ran, cancelled or dropped.
//
// `scheduled` is set before the push, so nothing happens to a published context but by its target
// or its canceller (removes the kernel's hazards R8, R9, R17, R18).
// Follows kernel/bpf/helpers.c (bpf_task_work_*) in behaviour; differences in DESIGN.md.
#pragma once

#include <cstdint>

#include "base/context.hpp"
#include "base/errc.hpp"
#include "sync/platform.hpp"
#include "sync/pool.hpp"
#include "task/run_point.hpp"
#include "task/task.hpp"

namespace taskwork::defer {

enum class WorkState : std::uint8_t {
    standby = sync::kStateUser,
    pending,
    scheduling,
    scheduled,
    running,
    freed,
};

/// The 8 bytes in a map value. 0: empty; kSlotDead: its element was deleted; else a WorkContext*.
struct Slot {
    platform::Atomic<std::uint64_t> word;
};
static_assert(sizeof(Slot) == 8);
inline constexpr std::uint64_t kSlotDead = 1;

/// What to run. Plain data: it lives in the arena and is read in another process.
struct Callback {
    std::uint32_t kind;   ///< Which CallbackRunner; see set_callback_runner.
    std::uint32_t entry;  ///< Runner's: index of the subprogram's first instruction.
    void* program;        ///< Runner's: bpf::Program*; nullptr for other kinds.
    void* map;            ///< Runner's: map::Map*.
    void* value;          ///< Runner's: the value that embeds the slot.
};

inline constexpr std::uint32_t kCallbackBpf = 1;
/// A C++ callable, copied into the context of a handle; see defer/context.hpp.
inline constexpr std::uint32_t kCallbackCallable = 2;
inline constexpr std::size_t kCallableBytes = 32;
inline constexpr std::uint32_t kCallbackTest = 7;
inline constexpr std::uint32_t kCallbackKinds = 8;

/// Runs a callback in the target thread. Context: task_work.
using CallbackRunner = void (*)(task::Task& task, const Callback& callback) noexcept;

/// Where to, and how.
struct Delivery {
    task::Task* target = nullptr;
    task::Notify mode = task::Notify::signal;
    task::List list = task::List::anywhere;
    /// Whether the time to the callback counts in the target's histogram. It takes two looks at the
    /// clock, half of what a schedule onto oneself costs.
    bool timed = true;
};

struct ScheduleRequest : Delivery {
    Callback callback{};
    /// User references of the map that holds the slot; 0 refuses (K11). nullptr: not asked.
    const platform::Atomic<std::uint32_t>* user_count = nullptr;
    /// Totals of the owner (map), into which the context's are folded at its end.
    struct WorkTotals* totals = nullptr;
};

/// Outcomes, summed over contexts that ended; live ones are added by totals().
struct WorkTotals {
    platform::Atomic<std::uint64_t> scheduled;
    platform::Atomic<std::uint64_t> ran;
    platform::Atomic<std::uint64_t> cancelled;
    platform::Atomic<std::uint64_t> dropped;
};
struct WorkCounts {
    std::uint64_t scheduled = 0;
    std::uint64_t ran = 0;
    std::uint64_t cancelled = 0;
    std::uint64_t dropped = 0;
    std::uint64_t in_flight = 0;
};

/// The table of contexts (Root::works).
class WorkTable {
public:
    static constexpr std::uint32_t kContextsDefault = 16384;
    /// Host only; also registers the sweeper and the pool with the worker. Errors:
    /// not_enough_memory. Context: task.
    TW_TASK_ONLY static std::errc create(std::uint32_t contexts_max) noexcept;
    /// Arena that create() takes, about.
    static std::size_t bytes(std::uint32_t contexts_max) noexcept;
    /// In every process, host included, before its first task registers.
    /// Context: task; async-signal-safe.
    TW_TASK_ONLY static void join() noexcept;
    static WorkTable& get() noexcept;

    sync::Pool contexts;
    WorkTotals domain;
    platform::Atomic<std::uint32_t> folds;  ///< Odd while the worker moves counts into totals.
};

/// Sets this process's runner for a kind.
/// Context: task.
TW_TASK_ONLY void set_callback_runner(std::uint32_t kind, CallbackRunner runner) noexcept;

/// Schedules. Errors, in the order they are checked:
///   no_such_process                    the domain is closed, or the caller is no task of it
///   no_such_file_or_directory          the slot's element is deleted (K96)
///   not_enough_memory                  the slot was empty and no context is to be had (K8)
///   device_or_resource_busy            a work of this slot is scheduled or running (K3); or the
///                                      user count is 0 (K11)
///   no_such_process                    the target is past its last run point
/// The caller is inside a sleepable section that keeps the slot's memory.
/// Context: any. Lock-free; no system call but the notification (none onto oneself).
std::errc schedule(Slot& slot, const ScheduleRequest& request) noexcept;

/// Detaches what the slot holds and leaves it empty: the element lives on, or is recycled.
/// Context: any. Takes no lock, waits for nobody.
void cancel(Slot& slot) noexcept;
/// As cancel(), and marks the slot: later schedules through stale pointers are refused.
/// Context: any.
void cancel_dead(Slot& slot) noexcept;
/// Makes the slot of a recycled element empty; nobody else can reach the element.
/// Context: any.
void reset(Slot& slot) noexcept;

/// Whether a context in flight (pending to running) names the program.
/// Context: irq.
TW_NOT_NMI bool references_program(const void* program) noexcept;
TW_NOT_NMI bool references_map(const void* map) noexcept;

/// Before the memory of `totals` goes: what still carries counts for it (cancelled nodes on the
/// list of a sleeping task) will count for the domain alone. Nothing of the owner is in flight any
/// more. Context: irq.
TW_NOT_NMI void forget_totals(const WorkTotals& totals) noexcept;

/// Totals of a map (or of the domain: WorkTable::get().domain) with live contexts added. Exact when
/// nothing is scheduled, runs or is cancelled meanwhile.
/// Context: task, irq.
TW_NOT_NMI WorkCounts counts(const WorkTotals& totals) noexcept;

}  // namespace taskwork::defer
