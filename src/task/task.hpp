// SPDX-License-Identifier: Apache-2.0
//
// Task: one thread of a process of the domain, as the rest of taskwork sees it. Its control block
// lies in the arena, so that any member can schedule onto it and the worker can sweep it after a
// death. The thread finds its own by current().
//
// Who touches what:
//   own thread (and its handlers)   depths, stamps, reader slots, BPF stacks, statistics
//   any thread                      lists (push), pending, attention, husks, references
//   worker                          retires it; interior unlink of husks
//
// States (the pool word's state):
//
//   free --claim--> born --attached--> alive --exit--> exited --worker--> retired --GP--> free
//                                        \--process died--> exited
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/context.hpp"
#include "base/errc.hpp"
#include "sync/arena.hpp"
#include "sync/grace.hpp"
#include "sync/platform.hpp"
#include "sync/pool.hpp"

namespace taskwork::task {

inline constexpr std::uint8_t kTaskBorn = sync::kStateUser;
inline constexpr std::uint8_t kTaskAlive = sync::kStateUser + 1;
inline constexpr std::uint8_t kTaskExited = sync::kStateUser + 2;

inline constexpr std::uint8_t kProcessJoining = sync::kStateUser;
inline constexpr std::uint8_t kProcessAlive = sync::kStateUser + 1;
inline constexpr std::uint8_t kProcessDead = sync::kStateUser + 2;

/// A BPF program may use 512 bytes a frame in at most 8 frames, per level; callbacks of helpers
/// (bpf_loop, for_each) run in frames of the same stack.
inline constexpr std::size_t kBpfStackBytes = 512 * 8;

/// Room kept for the structures that programs see (task_struct, mm_struct of our BTF); filled by
/// the bpf layer.
inline constexpr std::size_t kTaskViewBytes = 512;
inline constexpr std::size_t kProcessViewBytes = 256;

/// How a target is told of a work (kernel: TWA_SIGNAL, TWA_RESUME). `none` only pushes.
enum class Notify : std::uint8_t { none, resume, signal };

/// The two lists of a task, by where its works may run: at any run point, on top of whatever a
/// handler has interrupted; or at explicit safe points and the end of the thread alone.
enum class List : std::uint8_t { anywhere, safe_point };
inline constexpr unsigned list_count = 2;

/// Bits of Task::attention.
inline constexpr std::uint32_t kAttentionResume = 1;    ///< Safe-point works: told by resume,
inline constexpr std::uint32_t kAttentionSignal = 2;    ///< by signal.
inline constexpr std::uint32_t kAttentionReadable = 4;  ///< NotifyHooks::raise was called.
inline constexpr std::uint32_t kAttentionLook = 8;      ///< Works were left for a later run point.

/// A node of a task's list of works: the beginning of a 64-aligned pooled object, so that its state
/// and its link share a cache line.
/// `next` is {round : 31, claimed : 1, index of the next node : 32}: the claim bit says that the
/// drainer or the compacting worker owns the node of that round, and freezes the link; the round
/// makes a late compare-exchange fail when the node has been pushed again meanwhile.
struct WorkNode {
    sync::AtomicWord word;  ///< The pool's and the owner's; the lists do not look at it.
    platform::Atomic<std::uint64_t> next;
    platform::Plain<WorkNode*> run_next;  ///< Order of the drainer's private list; drainer only.
};

/// Counts of a log-linear histogram of nanoseconds: 8 buckets an octave.
struct LatencyHistogram {
    static constexpr unsigned kBuckets = 8 * 40;
    platform::LocalStatistic counts[kBuckets];
    platform::LocalStatistic max_ns;
    /// Context: own thread, any context.
    void record(std::uint64_t ns) noexcept;
    /// Lowest value of a bucket in ns. Context: any.
    static std::uint64_t lower_bound_ns(unsigned bucket) noexcept;
};

struct TaskStatistics {
    platform::LocalStatistic drains;           ///< Lists taken that held a node.
    platform::LocalStatistic drains_cut;       ///< Drains ended by their budget.
    platform::LocalStatistic events_nested;    ///< Dropped: an event was being handled.
    platform::LocalStatistic events_no_stack;  ///< Dropped: too little stack left.
    platform::LocalStatistic notifications;    ///< Signals this thread sent.
    platform::LocalStatistic resets;           ///< Sections found open after a longjmp.
};

/// How deep a thread is in something of ours (a section, a handler, a drain), with the stack
/// pointer of the outermost entry, in one word {stack pointer : 48, depth : 16}: a handler that
/// nests between two instructions finds a consistent pair and leaves it as it was.
class Depth {
public:
    /// Context: any (own thread).
    void enter(std::uintptr_t stack_pointer) noexcept {
        const std::uint64_t word = word_.load(std::memory_order_relaxed);
        word_.store((word & kDepthMask) == 0 ? (stack_pointer << kStackShift) | 1 : word + 1,
                    std::memory_order_relaxed);
        platform::signal_fence();
    }
    /// Context: any (own thread).
    void exit() noexcept {
        platform::signal_fence();
        const std::uint64_t word = word_.load(std::memory_order_relaxed);
        if ((word & kDepthMask) != 0) {
            word_.store((word & kDepthMask) == 1 ? 0 : word - 1, std::memory_order_relaxed);
        }
    }
    void reset() noexcept { word_.store(0, std::memory_order_relaxed); }
    [[nodiscard]] bool is_open() const noexcept { return bits() != 0; }
    /// 0 when it is closed: the last exit leaves no stamp.
    [[nodiscard]] std::uint64_t bits() const noexcept {
        return word_.load(std::memory_order_relaxed);
    }
    /// Stack pointer of the outermost entry. Precondition: is_open().
    [[nodiscard]] std::uintptr_t stamp() const noexcept {
        return word_.load(std::memory_order_relaxed) >> kStackShift;
    }

private:
    static constexpr std::uint64_t kDepthMask = 0xffff;
    static constexpr unsigned kStackShift = 16;
    platform::Atomic<std::uint64_t> word_;
};

/// A process of the domain.
struct alignas(64) Process {
    sync::AtomicWord word;
    platform::Plain<std::int32_t> pid;
    std::uint32_t joined_item;                      ///< Deferral item: the worker watches the pid.
    platform::Atomic<std::uint32_t> attached;       ///< Futex word: raised when the worker is done.
    platform::Plain<std::uint64_t> start_ns;        ///< CLOCK_BOOTTIME of joining.
    char command[64];                               ///< Name of the executable, for reports.
    alignas(64) std::byte view[kProcessViewBytes];  ///< mm_struct of our BTF.
};

struct alignas(64) Task {
    sync::AtomicWord word;
    platform::Plain<std::int32_t> pid;
    platform::Plain<std::int32_t> tid;
    platform::Plain<std::uint16_t>
        process;         ///< Index of the process; also the owner in the words it moves.
    std::uint16_t lane;  ///< Of what it claims in pools: its index.
    std::uint32_t born_item;
    std::uint32_t exited_item;
    std::uint32_t compact_item;
    std::uint32_t kick_item;
    platform::Atomic<std::uint32_t>
        sampled;  ///< Period in microseconds of its fastest event; 0: none.
    platform::Atomic<std::uint32_t> references;  ///< Of this process's handles; see get().

    // Control block: own thread and its handlers.
    alignas(64) Depth section;
    Depth nmi;
    Depth draining;
    Depth safe_draining;  ///< In callbacks of a safe point: handlers may run works on top of them.
    platform::LocalCounter events_in_drains;  ///< Events that came on top of callbacks.
    std::uintptr_t stack_low;  ///< Bounds of the thread's own stack; 0 where unknown.
    std::uintptr_t stack_high;
    sync::ReaderSlot readers[sync::flavour_count];

    // The lists: any thread.
    alignas(64)
        platform::Atomic<std::uint64_t> works;  ///< arena_index of the newest node, kListClosed.
    platform::Atomic<std::uint32_t> pending;    ///< How it was told of works, until it looks.
    /// What a safe point has to look at; with `pending`, one 64-bit word for the idle check.
    platform::Atomic<std::uint32_t> attention;
    platform::Atomic<std::uint64_t> safe_works;     ///< As `works`, of List::safe_point.
    platform::Atomic<std::uint32_t> take_sequence;  ///< Odd while a taken list is being claimed.
    platform::Atomic<std::uint32_t> husks;          ///< Cancelled nodes still on the lists, about.

    alignas(64) TaskStatistics statistics;
    LatencyHistogram latency;
    alignas(64) std::byte view[kTaskViewBytes];  ///< task_struct of our BTF.
    alignas(64) std::byte bpf_stack[level_count][kBpfStackBytes];

    /// Whether the thread is in anything of ours: a section, a handler, a drain.
    /// Context: any (own thread).
    [[nodiscard]] bool is_inside() const noexcept {
        return (section.bits() | nmi.bits() | draining.bits() | safe_draining.bits()) != 0;
    }
    /// Whether works of List::anywhere may run now.
    /// Context: any (own thread).
    [[nodiscard]] bool may_drain() const noexcept {
        return (section.bits() | nmi.bits() | draining.bits()) == 0;
    }

    /// The head of one of its lists.
    /// Context: any.
    platform::Atomic<std::uint64_t>& head(List list) noexcept {
        return list == List::anywhere ? works : safe_works;
    }
    [[nodiscard]] const platform::Atomic<std::uint64_t>& head(List list) const noexcept {
        return list == List::anywhere ? works : safe_works;
    }
};

/// `works` of a task past its last run point.
inline constexpr std::uint64_t kListClosed = UINT64_MAX;

/// What the owner of the nodes does with them; set once per process before the first task.
struct WorkOps {
    /// Runs the work of a node that the drainer has claimed, or drops it if it was cancelled.
    /// Context: task_work.
    void (*run)(Task& task, WorkNode& node) noexcept;
    /// Whether the work was cancelled while on the list. Context: any.
    bool (*is_husk)(const WorkNode& node) noexcept;
    /// Lets go of a husk that the worker has unlinked. Context: irq.
    void (*drop)(WorkNode& node) noexcept;
};

/// The table of tasks and processes of a domain (Root::tasks).
class TaskTable {
public:
    static constexpr std::uint32_t kTasksDefault = 1024;
    static constexpr std::uint32_t kProcessesDefault = 4096;

    /// Host only. Errors: not_enough_memory.
    /// Context: task.
    TW_TASK_ONLY static std::errc create(std::uint32_t tasks_max,
                                         std::uint32_t processes_max = kProcessesDefault) noexcept;
    /// Arena that create() takes, about.
    static std::size_t bytes(std::uint32_t tasks_max, std::uint32_t processes_max) noexcept;
    /// Context: any.
    static TaskTable& get() noexcept { return *sync::Arena::root<TaskTable>(sync::Root::tasks); }

    sync::Pool tasks;
    sync::Pool processes;
    /// Thread ids by index of the task; left behind at its end. Apart from the tasks, so that
    /// find() does not make all their pages resident.
    platform::Atomic<std::int32_t>* tids;
    platform::Atomic<std::uint64_t> tasks_refused;  ///< Threads that found the table full.
    platform::Atomic<std::uint64_t> processes_refused;

    /// A live task by thread id; nullptr: none. Valid for the caller's sleepable section.
    /// Context: any. Bounded by the table.
    Task* find(std::int32_t tid) noexcept;
    /// Context: any.
    Task& task_at(std::uint32_t index) noexcept { return *static_cast<Task*>(tasks.at(index)); }
    /// Context: any.
    [[nodiscard]] std::uint32_t index_of(const Task& task) const noexcept {
        // By the size, which is known here: the pool would divide.
        return static_cast<std::uint32_t>(&task - static_cast<const Task*>(tasks.at(0)));
    }
    Process& process_at(std::uint32_t index) noexcept {
        return *static_cast<Process*>(processes.at(index));
    }
};

/// The calling thread's task; nullptr if it is not registered, or if it is a forked child's thread
/// that has not joined yet.
/// Context: any.
inline Task* current() noexcept {
    const platform::ThreadState& state = platform::this_thread();
    void* const task = state.task.get();
    return task == nullptr || state.cookie.get() != platform::fork_cookie()
               ? nullptr
               : static_cast<Task*>(task);
}

/// Joins this process to the domain of the arena it has mapped: registers for membarrier, claims a
/// Process. Errors: not_enough_memory (table full), no_such_process (domain closed).
/// Context: task; async-signal-safe, for forked children.
TW_TASK_ONLY std::errc join_process(const char* command_name) noexcept;
/// Leaves the domain: no thread of this process is a task of it any more (what runs now runs on);
/// what the process owned is swept when it ends. It may join again.
/// Context: task; async-signal-safe.
TW_TASK_ONLY void leave_process() noexcept;
/// For a process that has left, once none of its threads is inside the domain's code: the worker
/// sweeps what it owned now, as if it had ended. Context: task; async-signal-safe.
TW_TASK_ONLY void close_left_process(Process& process) noexcept;
/// The process joined by this process, or nullptr.
/// Context: any.
Process* current_process() noexcept;

/// Registers the calling thread as a task of its process. `prepare` is called on the control block
/// before any event or work can come to it. Idempotent. Errors: not_enough_memory
/// (table full, counted), no_such_process (domain closed, or process not joined).
/// Context: task; async-signal-safe but for the stack bounds, which need `stack_low`/`stack_high`
/// from the caller (0, 0: unknown).
TW_TASK_ONLY std::errc register_current(std::uintptr_t stack_low, std::uintptr_t stack_high,
                                        void (*prepare)(Task& task) noexcept = nullptr) noexcept;

/// Run point 5: runs what is pending, closes the list (later schedules: -ESRCH), hands the control
/// block to the worker. The thread can register again. `process_ends`: the process is exiting, and
/// the worker is not woken for it, which takes a system call.
/// Context: task.
TW_TASK_ONLY void exit_current(bool process_ends = false) noexcept;

/// Counted references of this process's handles: the control block of a thread that has ended is
/// not used again while there are any. get(): the caller has a reference, or found the task in the
/// sleepable section it is in. put(): the last one may release the block. A member of a domain of
/// several processes may not use them: a death would leave them counted.
/// Context: any. Precondition: put() by a task of the process.
void get(Task& task) noexcept;
void put(Task& task) noexcept;

/// Sets what nodes mean, once per process.
/// Context: task.
TW_TASK_ONLY void set_work_ops(const WorkOps& ops) noexcept;

}  // namespace taskwork::task
