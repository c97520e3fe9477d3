// SPDX-License-Identifier: Apache-2.0
#include "agent/thread_signals.hpp"

#include <cerrno>

namespace taskwork::agent {

constinit thread_local ThreadSignals thread_signals;

namespace {

// What the system-call instruction of a wait can lie below its wrapper's frame: the frames of the
// wrapper and of libc's function, 200 bytes at most in glibc 2.36. Less than a signal frame with
// its red zone, so that code in a handler nested on the wait is never taken for the wait itself.
constexpr std::uintptr_t kWaitRoom = 1024;

constexpr unsigned kWaitersMax = 16;

constinit PendingSlot process_pending;
constinit std::atomic<pid_t> waiters[kWaitersMax];

constexpr std::uint64_t kAnnouncementMark = 0x7477'7369'6770'6e64ULL;

std::uintptr_t stack_pointer(const ucontext_t& context) noexcept {
    return static_cast<std::uintptr_t>(context.uc_mcontext.gregs[REG_RSP]);
}

// The application's handler for kSignal is on the stack below `frame`, if code at `sp` is deeper.
bool in_application_handler(std::uintptr_t sp) noexcept {
    const std::uintptr_t frame = thread_signals.handler_frame;
    return frame != 0 && sp < frame;
}

siginfo_t make_announcement() noexcept {
    siginfo_t announcement{};
    announcement.si_signo = kSignal;
    announcement.si_code = SI_QUEUE;
    announcement.si_value.sival_ptr = reinterpret_cast<void*>(kAnnouncementMark);
    return announcement;
}

}  // namespace

bool PendingSlot::put(const siginfo_t& info) noexcept {
    unsigned state = state_.load(std::memory_order_relaxed);
    do {
        if ((state & kPhase) != kEmpty) {
            return false;
        }
    } while (!state_.compare_exchange_weak(state, state | kWriting, std::memory_order_acquire,
                                           std::memory_order_relaxed));
    info_[(state & kIndex) != 0 ? 1 : 0] = info;
    // Sequentially consistent with the table of waiters: either the waiter finds this, or we find
    // the waiter. Pairs with the acquire in take().
    state_.store((state & kIndex) | kFull, std::memory_order_seq_cst);
    return true;
}

bool PendingSlot::take(siginfo_t& info) noexcept {
    unsigned state = state_.load(std::memory_order_seq_cst);
    do {
        if ((state & kPhase) != kFull) {
            return false;
        }
    } while (!state_.compare_exchange_weak(state, (state & kIndex) ^ kIndex,
                                           std::memory_order_acq_rel, std::memory_order_relaxed));
    // The next signal goes to the other buffer while this one is copied.
    info = info_[(state & kIndex) != 0 ? 1 : 0];
    return true;
}

bool PendingSlot::full() const noexcept {
    return (state_.load(std::memory_order_relaxed) & kPhase) == kFull;
}

void PendingSlot::reset() noexcept { state_.store(kEmpty, std::memory_order_relaxed); }

bool in_marked_wait(const ucontext_t& context) noexcept {
    const std::uintptr_t frame = thread_signals.wait.frame;
    const std::uintptr_t sp = stack_pointer(context);
    if (frame == 0 || sp >= frame || frame - sp > kWaitRoom ||
        context.uc_mcontext.gregs[REG_RAX] != -EINTR) {
        return false;
    }
    // The frame test says that this is libc's own code, so the bytes before it can be read.
    const auto* next = reinterpret_cast<const unsigned char*>(context.uc_mcontext.gregs[REG_RIP]);
    return next[-2] == 0x0f && next[-1] == 0x05;  // syscall
}

bool application_blocks(const ucontext_t& context) noexcept {
    const ThreadSignals& mine = thread_signals;
    if (mine.hold) {
        return true;
    }
    if (mine.wait.has_mask && in_marked_wait(context)) {
        return (mine.wait.mask & bit_of(kSignal)) != 0;
    }
    return mine.blocked || in_application_handler(stack_pointer(context));
}

bool is_serving(const ucontext_t& context) noexcept {
    const std::uintptr_t frame = thread_signals.serving_frame;
    return frame != 0 && stack_pointer(context) < frame;
}

bool application_blocks_here() noexcept {
    return thread_signals.blocked ||
           in_application_handler(reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)));
}

void keep_pending(const siginfo_t& info) noexcept {
    if (info.si_code == SI_TKILL || thread_signals.hold) {
        thread_signals.pending.put(info);
        return;
    }
    process_pending.put(info);
    const pid_t self = kernel_tid();
    const siginfo_t announcement = make_announcement();
    const pid_t pid = kernel_pid();
    for (std::atomic<pid_t>& waiter : waiters) {
        const pid_t tid = waiter.load(std::memory_order_seq_cst);
        if (tid != 0 && tid != self) {
            raw_system_call(SYS_rt_tgsigqueueinfo, pid, tid, kSignal,
                            reinterpret_cast<long>(&announcement));
        }
    }
}

bool take_pending(siginfo_t& info) noexcept {
    return thread_signals.pending.take(info) || process_pending.take(info);
}

bool any_pending() noexcept { return thread_signals.pending.full() || process_pending.full(); }

void resend(const siginfo_t& info) noexcept {
    thread_signals.resent.put(info);
    queue_to_self(kSignal, make_announcement());
}

void deliver_pending() noexcept {
    siginfo_t info;
    // One waits in `resent` where the kernel has the signal blocked (a handler on an alternate
    // stack): another stays pending until that has been delivered.
    while (any_pending() && !thread_signals.resent.full() && !application_blocks_here() &&
           take_pending(info)) {
        resend(info);
    }
}

int begin_waiting() noexcept {
    const pid_t self = kernel_tid();
    for (unsigned i = 0; i < kWaitersMax; ++i) {
        pid_t none = 0;
        if (waiters[i].compare_exchange_strong(none, self, std::memory_order_seq_cst)) {
            return static_cast<int>(i);
        }
    }
    return -1;
}

void end_waiting(int token) noexcept {
    if (token >= 0) {
        waiters[token].store(0, std::memory_order_relaxed);
    }
}

bool is_announcement(const siginfo_t& info) noexcept {
    return info.si_code == SI_QUEUE &&
           info.si_value.sival_ptr == reinterpret_cast<void*>(kAnnouncementMark);
}

void forget_thread_signals() noexcept {
    const pid_t self = kernel_tid();
    for (std::atomic<pid_t>& waiter : waiters) {
        pid_t tid = self;
        waiter.compare_exchange_strong(tid, 0, std::memory_order_relaxed);
    }
}

void reset_thread_signals_in_child() noexcept {
    process_pending.reset();
    thread_signals.pending.reset();
    thread_signals.resent.reset();
    for (std::atomic<pid_t>& waiter : waiters) {
        waiter.store(0, std::memory_order_relaxed);
    }
}

}  // namespace taskwork::agent
