// SPDX-License-Identifier: Apache-2.0
//
// What a thread's signal state would be if we were not there, as far as it concerns kSignal.
//
// The kernel never has kSignal blocked for long: our notifications must get through. The
// application may have asked for it all the same. Its wish is remembered here, shown by the mask
// functions, and obeyed for foreign signals (those that are not ours): they wait in a slot, as the
// kernel keeps one pending standard signal, until the thread opens its mask or waits for them.
//
// | field            | written by                                   | read by                    |
// |------------------|----------------------------------------------|----------------------------|
// | blocked, hold    | own thread, mask and wait functions          | own thread and its handler |
// | serving_frame    | own thread's handler                         | same                       |
// | handler_frame    | own thread's handler, mask functions         | same                       |
// | wait             | own thread, wait wrappers; two bits: handler | same                       |
// | pending          | own thread's handler fills, own thread takes | same                       |
// | resent           | own thread fills, own thread's handler takes | same                       |
//
// All of it is initial-exec, constant-initialised and trivially destructible, for a handler may be
// the first to touch it. Nothing is undone by destructors: a frame that longjmp or cancellation
// leaves behind must do no harm, so every mark that names a frame is believed only while the stack
// pointer says that the frame can still exist.
#pragma once

#include <atomic>
#include <cstdint>

#include "agent/kernel_signal.hpp"

namespace taskwork::agent {

/// One pending standard signal: the first stays, later ones coalesce with it. Two buffers, so that
/// a signal that arrives while one is being taken is kept.
class PendingSlot {
public:
    /// False: one is pending already.
    /// Context: any. Lock-free.
    bool put(const siginfo_t& info) noexcept;
    /// False: none is pending.
    /// Context: any. Lock-free.
    bool take(siginfo_t& info) noexcept;
    /// Context: any.
    [[nodiscard]] bool full() const noexcept;
    /// Forgets what is pending.
    /// Context: task. In a fresh fork child only: no other thread exists.
    void reset() noexcept;

private:
    enum : unsigned { kEmpty = 0, kWriting = 1, kFull = 2, kPhase = 3, kIndex = 4 };
    std::atomic<unsigned> state_{kEmpty};
    siginfo_t info_[2]{};
};

/// The blocking libc call that a wrapper of ours is in.
struct WaitMark {
    std::uintptr_t frame = 0;  // an address in the wrapper's frame; 0: none
    bool resume = false;       // our signal has interrupted it, and no other will
    bool delivered = false;    // the application's handler for kSignal has run meanwhile
    bool has_mask = false;     // the call brings a mask of its own:
    SignalBits mask = 0;       // as the application gave it
};

struct ThreadSignals {
    bool blocked = false;              // the application asked to block kSignal
    bool hold = false;                 // the next foreign signal goes to `pending` in any case
    std::uintptr_t handler_frame = 0;  // its handler for kSignal runs below this address
    std::uintptr_t serving_frame = 0;  // one of ours is being served below this address
    WaitMark wait;
    PendingSlot pending;
    PendingSlot resent;  // what resend() has the handler see, whichever signal brings it there
};

extern constinit thread_local ThreadSignals thread_signals
    __attribute__((tls_model("initial-exec")));

/// Whether the context shows the calling thread inside the libc call that `wait` marks, which has
/// just been interrupted.
/// Context: nmi.
bool in_marked_wait(const ucontext_t& context) noexcept;

/// Whether the application believes that kSignal is blocked in the code that `context` shows.
/// Context: nmi.
bool application_blocks(const ucontext_t& context) noexcept;

/// Whether one of ours was being served in the code that `context` shows: no code of the
/// application may run on top of that, for it could leave it by longjmp, half done.
/// Context: nmi.
bool is_serving(const ucontext_t& context) noexcept;

/// The same as application_blocks for the calling code itself.
/// Context: task, task_work.
bool application_blocks_here() noexcept;

/// Keeps a foreign signal that the application does not want now. One sent to the process goes to
/// the process, and whoever waits for it is told.
/// Context: nmi. Lock-free.
void keep_pending(const siginfo_t& info) noexcept;

/// Takes a foreign signal pending for the calling thread or the process.
/// Context: any. Lock-free.
bool take_pending(siginfo_t& info) noexcept;

/// Context: any.
bool any_pending() noexcept;

/// Has the handler see a kSignal that has been kept or taken, as if it arrived now. Not by sending
/// it again: the kernel drops a standard signal while another of its number is pending for the
/// thread, as one of ours or an announcement may be at any time.
/// Context: any. While kSignal is open in the kernel it is seen before this returns.
void resend(const siginfo_t& info) noexcept;

/// Has what is pending delivered, if the application's mask is open.
/// Context: task, task_work. The application's handler may run, and longjmp.
void deliver_pending() noexcept;

/// Registers the calling thread as one that waits for foreign signals sent to the process; those
/// that others receive are announced to it by is_announcement. Returns a token for the end, which
/// is negative when the table is full: such a thread sees only what is sent to itself.
/// Context: task.
int begin_waiting() noexcept;
/// Context: task.
void end_waiting(int token) noexcept;

/// Whether a signal says no more than that one is pending for the process.
/// Context: any.
bool is_announcement(const siginfo_t& info) noexcept;

/// Takes the calling thread off the table of those that wait (it may have left by cancellation).
/// Context: task. At thread exit.
void forget_thread_signals() noexcept;

/// A child of fork starts with nothing pending and nobody waiting.
/// Context: any. In the child, before it has other threads.
void reset_thread_signals_in_child() noexcept;

}  // namespace taskwork::agent
