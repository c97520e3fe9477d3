// SPDX-License-Identifier: Apache-2.0
//
// Run points: where a thread's pending works run, and the counters that say where it is.
//
//   (1) the end of the outermost nmi handler, section depth 0   NmiScope
//   (2) the notification's handler, same condition              on_signal
//   (3) the end of the outermost section                        Section
//   (4) an explicit safe point                                  safe_point
//   (5) thread exit                                             exit_current (task.hpp)
//
// Works of List::safe_point run at (4) and (5) only, never in a handler. While they do, the thread
// is in task context: works of List::anywhere may run on top of them, at (1) to (3).
//
// Depths change by single instructions, for a handler may nest between any two. Each outermost
// entry stamps the stack pointer: an entry found open whose frame lies deeper (lower) than the code
// now running, on the thread's own stack, was left by longjmp or cancellation, and is reset. The
// test is made only where both addresses lie on the thread's own stack: between different stacks
// the order of addresses says nothing.
//
// A drain takes the list whole and runs it newest first, as the kernel does (K55). It has a budget:
// kDrainPasses takes, but only two once events have nested on its callbacks: what they schedule
// further waits for the next run point, so that a thread always returns to its program.
#pragma once

#include <csignal>
#include <cstdint>

#include "base/context.hpp"
#include "task/task.hpp"

namespace taskwork::task {

/// Takes of the list per drain. Chains of callbacks that schedule on their own task run to this
/// depth before the program goes on (K56).
inline constexpr unsigned kDrainPasses = 8;

/// Least stack that must be left below a handler for a program and its callbacks to run.
inline constexpr std::size_t kHandlerStackMin = 12 * 1024;

/// A runtime section of the calling thread: task_work does not cut it. At the end of the outermost
/// one, outside handlers, pending works run (run point 3).
class Section {
public:
    /// `task` is current(); nullptr makes the section a no-op.
    /// Context: any.
    [[gnu::always_inline]] explicit Section(Task* task) noexcept;
    /// Context: as the constructor's. May run works.
    [[gnu::always_inline]] ~Section();
    Section(const Section&) = delete;
    Section& operator=(const Section&) = delete;

private:
    Task* task_;
};

/// A reader section of one flavour (GP.1). Opens no Section.
class ReadSection {
public:
    /// Context: any (own thread).
    ReadSection(Task& task, sync::Flavour flavour) noexcept
        : slot_(task.readers[static_cast<unsigned>(flavour)]) {
        slot_.enter();
    }
    ~ReadSection() { slot_.exit(); }
    ReadSection(const ReadSection&) = delete;
    ReadSection& operator=(const ReadSection&) = delete;

private:
    sync::ReaderSlot& slot_;
};

/// What is known of code that a handler has interrupted.
struct Interrupted {
    std::uintptr_t stack_pointer;
    bool on_alternate_stack;  ///< The handler runs on one, the kernel says.
    bool room;                ///< Enough stack is left below the handler for works to run.
};
/// `ucontext`: a handler's third argument. Context: nmi.
Interrupted interrupted_by(const Task& task, const void* ucontext) noexcept;

/// The span of an event's handler. If entered() is false the event is to be dropped: an event is
/// being handled on this thread already (counted).
class NmiScope {
public:
    /// `interrupted_sp`: stack pointer of the interrupted code; `on_alternate_stack`: the kernel
    /// says the handler runs on one; `room`: enough stack is left for works to run at the end.
    /// Context: nmi.
    NmiScope(Task& task, std::uintptr_t interrupted_sp, bool on_alternate_stack,
             bool room = true) noexcept;
    /// The two halves, for a scope that another object opens: `stamp` is the stack pointer of the
    /// scope. enter() is false where the event is to be dropped; then there is no exit().
    /// Context: nmi.
    static bool enter(Task& task, const Interrupted& interrupted, std::uintptr_t stamp) noexcept;
    static void exit(Task& task, bool room) noexcept;
    /// Lowers the thread to task_work and drains if no section is open (run point 1).
    /// Context: nmi.
    ~NmiScope();
    NmiScope(const NmiScope&) = delete;
    NmiScope& operator=(const NmiScope&) = delete;
    [[nodiscard]] bool entered() const noexcept { return entered_; }

private:
    Task& task_;
    bool entered_;
    bool room_;
};

/// The level at which the calling thread runs our code now.
/// Context: any.
Level current_level(const Task& task) noexcept;

/// Run point 4: runs what is pending for the calling thread. One load when idle.
/// Context: task.
TW_TASK_ONLY void safe_point() noexcept;

/// Runs pending works of the calling thread unless a section, a handler or a drain is open.
/// Context: task, task_work (no-op), nmi (no-op).
void drain(Task& task) noexcept;

/// Resets whatever the own thread left open by longjmp or cancellation, judged by the stack pointer
/// of the code now running (or, in a handler, of the code interrupted).
/// Context: any (own thread).
void recover(Task& task, std::uintptr_t stack_pointer) noexcept;

/// Puts a node of round `round` on the target's list. False: the list is closed, nothing was done.
/// The caller is inside a brief section. Ordering: what the caller did before is visible to the
/// run. Context: any.
bool push(Task& target, WorkNode& node, std::uint32_t round, List list = List::anywhere) noexcept;

/// Sets the target's pending flag and, if it was clear, tells it: not at all if it is the calling
/// thread (a run point follows); by signal; or, for resume, by a kick that a blocked thread does
/// not feel, through the worker. The caller is inside a brief section.
/// Works of List::safe_point: the target's attention is raised, whoever it is; its event descriptor
/// too, if it has one; and `signal` interrupts what it waits in.
/// Context: any. At most two system calls.
/// `self` is current(), if the caller knows it.
void notify(Task* self, Task& target, Notify mode, List list) noexcept;
void notify(Task& target, Notify mode, List list = List::anywhere) noexcept;

/// A descriptor by which a thread's event loop comes to its safe point, and the kick; the layer
/// above has them.
struct EventDescriptorHooks {
    /// Makes it readable; false: the thread has none. Context: any.
    bool (*raise)(Task& task) noexcept = nullptr;
    /// The opposite. Context: own thread, task.
    void (*lower)(Task& task) noexcept = nullptr;
    /// The control block is about to be free; nobody can raise it any more. Context: any.
    void (*freed)(Task& task) noexcept = nullptr;
    /// Kicks the thread as the worker would (LifeHooks::kick), one hop earlier; false: the worker
    /// has to. The caller is the thread itself, or inside a brief section. Context: any.
    bool (*kick)(Task& task) noexcept = nullptr;
};
/// Context: task. Before the first task.
TW_TASK_ONLY void set_event_descriptor_hooks(const EventDescriptorHooks& hooks) noexcept;

/// Raises the task's event descriptor so that its safe point lowers it again.
/// Context: any.
void raise_event_descriptor(Task& task) noexcept;

/// Why an event is not served.
enum class Dropped : std::uint8_t {
    no,
    nested,    ///< One is being handled on this thread already.
    no_stack,  ///< Less than kHandlerStackMin is left.
};

/// What the layer above does with an event signal: returns true if (info, context) is an event of
/// its own. Runs inside an NmiScope that was entered unless dropped: then it only counts.
using EventHook = bool (*)(Task& task, const siginfo_t& info, void* ucontext,
                           Dropped dropped) noexcept;
/// Tells whether the signal is an event, without side effects. Context: nmi.
using EventTest = bool (*)(const Task& task, const siginfo_t& info) noexcept;

/// Context: task. Before the handler is installed.
TW_TASK_ONLY void set_event_hook(EventTest test, EventHook hook) noexcept;

/// The handler proper for sync::kSignal: serves events and notifications, drains. Returns true if
/// the signal was ours (the caller passes others on to the application). Preserves errno.
/// Context: nmi.
bool on_signal(int signal, siginfo_t* info, void* ucontext) noexcept;

/// Installs on_signal for sync::kSignal in a process without the preload library. Foreign signals
/// are passed to the handler that was there before. Idempotent.
/// Context: task.
TW_TASK_ONLY std::errc install_handler() noexcept;

/// Worker: unlinks cancelled nodes inside the task's list.
/// Context: irq.
TW_NOT_NMI void compact(Task& task) noexcept;

// Here, because they are a few instructions and stand in every path. A section is inlined into the
// frame that it is in, and stamps its end: above it is whoever outlives the section.

namespace detail {
void notify_other(Task* self, Task& target, Notify mode, List list) noexcept;
void recover_open(Task& task, std::uintptr_t stack_pointer) noexcept;
void drain_pending(Task& task) noexcept;
}  // namespace detail

inline void recover(Task& task, std::uintptr_t stack_pointer) noexcept {
    if (task.is_inside()) {
        detail::recover_open(task, stack_pointer);
    }
}

inline void drain(Task& task) noexcept {
    // The flag counts too: it may be set by a pusher whose node an earlier drain has run already,
    // and left set it would silence the next pusher.
    if ((task.works.load(std::memory_order_acquire) |
         task.pending.load(std::memory_order_relaxed)) != 0) {
        detail::drain_pending(task);
    }
}

inline void notify(Task* self, Task& target, Notify mode, List list) noexcept {
    // Onto oneself: the section, the handler or the drain we are in ends with a run point.
    if (list != List::anywhere || (mode != Notify::none && &target != self)) {
        detail::notify_other(self, target, mode, list);
    }
}

inline Section::Section(Task* task) noexcept : task_(task) {
    if (task_ != nullptr) {
        const std::uintptr_t scope = platform::stack_end();
        recover(*task_, scope);
        task_->section.enter(scope);
    }
}

inline Section::~Section() {
    if (task_ != nullptr) {
        task_->section.exit();
        drain(*task_);
    }
}

}  // namespace taskwork::task
