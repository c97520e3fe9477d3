// SPDX-License-Identifier: Apache-2.0
//
// The application's signal mask, with kSignal kept out of the kernel's.
//
// What the application asks about kSignal is remembered per thread and reported back: an old mask
// shows it blocked exactly if the application has blocked it. Foreign ones that arrive meanwhile
// stay pending (sigpending shows them) and are delivered when the mask opens, or taken by sigwait,
// sigwaitinfo and sigtimedwait. In the kernel it is blocked only
//
//   - in handlers on an alternate stack (dispositions.hpp), until they end; waits in them open it
//     only if their mask admits it and the application has a handler for it, for which it must have
//     made room;
//   - for moments inside the waits below, which must not lose a foreign signal between looking for
//     one and going to sleep.
//
// Limits:
//   - signalfd never reports kSignal: the bit is dropped, for the descriptor would eat ours.
//   - A foreign signal sent to the process while one thread blocks it and another does not may stay
//     pending until the other one opens its mask, or waits: the kernel chooses the receiver, and to
//     it nobody blocks the signal.
//   - In a handler on an alternate stack, a foreign signal that meets one of ours while sigwait
//     waits for it merges with it, and is delivered, not taken, when the handler ends.
//   - Raw system calls, siglongjmp's own mask, and libc's internal blocking act on the kernel's
//   mask
//     directly. They can delay us, until the next call of a mask function.
//   - A program that is started by exec finds kSignal unblocked in its mask.
#pragma once

#include <csignal>
#include <ctime>

#include "agent/kernel_signal.hpp"
#include "agent/thread_signals.hpp"

namespace taskwork::agent {

/// pthread_sigmask(3) for the application: 0 or the error number. Opening the mask delivers what is
/// pending.
/// Context: any.
int application_sigmask(int how, const sigset_t* set, sigset_t* old);

/// sigpending(2) for the application.
/// Context: any.
int application_sigpending(sigset_t* set);

/// sigtimedwait(2) for the application; no timeout: sigwaitinfo. With kSignal in the set a foreign
/// one is returned; one of ours is served, and the call ends with EINTR, as a call without it does
/// and as the kernel's own task work has it.
/// Context: task, task_work. Cancellation point.
int application_sigtimedwait(const sigset_t* set, siginfo_t* info, const timespec* timeout);

/// A wait that brings a mask of its own (sigsuspend, ppoll, pselect, epoll_pwait): what to hand to
/// libc instead, and what its handler has to know. A foreign signal that is pending and that the
/// mask admits is delivered before the wait, which is then to fail with EINTR.
class MaskedWait {
public:
    /// `mask` as the application gave it; nullptr: the call leaves the mask alone.
    /// Context: task, task_work. The application's handler may run.
    explicit MaskedWait(const sigset_t* mask);
    /// To be called after the wait; not a destructor, see thread_signals.hpp.
    /// Context: task, task_work.
    void end();
    /// What to call libc with.
    /// Context: task, task_work.
    [[nodiscard]] const sigset_t* mask() const noexcept { return given_ ? &mask_ : nullptr; }
    /// What the application called us with.
    /// Context: task, task_work.
    [[nodiscard]] SignalBits asked() const noexcept { return bits_of(mask_) | ours_; }
    /// A handler has run already.
    /// Context: task, task_work.
    [[nodiscard]] bool interrupted() const noexcept { return interrupted_; }

private:
    sigset_t mask_;
    SignalBits ours_ = 0;  // the bit of kSignal, if the application's mask has it
    int waiting_ = -1;
    bool given_;
    bool guarded_ = false;
    bool stays_ = false;  // kSignal is blocked, and to be so after the wait
    bool interrupted_ = false;
};

}  // namespace taskwork::agent
