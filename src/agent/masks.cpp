// SPDX-License-Identifier: Apache-2.0
#include "agent/masks.hpp"

#include <cerrno>

#include "agent/dispositions.hpp"
#include "agent/libc.hpp"
#include "agent/signals.hpp"
#include "agent/waits.hpp"

namespace taskwork::agent {

namespace {

bool contains_ours(const sigset_t* set) noexcept {
    return set != nullptr && (bits_of(*set) & bit_of(kSignal)) != 0;
}

void set_ours(sigset_t& set, bool member) noexcept {
    const SignalBits bits = bits_of(set);
    assign_bits(set, member ? bits | bit_of(kSignal) : bits & ~bit_of(kSignal));
}

// Whether the caller is in a handler on an alternate stack, where kSignal is to stay blocked.
bool on_alternate_stack() noexcept {
    if (!uses_alternate_stacks()) {
        return false;
    }
    stack_t stack{};
    raw_system_call(SYS_sigaltstack, 0, reinterpret_cast<long>(&stack));
    return (stack.ss_flags & SS_ONSTACK) != 0;
}

// Blocks kSignal. True if it is to stay so: such a handler runs, and has found it blocked.
bool block_ours() noexcept {
    const SignalBits before = kernel_sigmask(SIG_BLOCK, bit_of(kSignal));
    return (before & bit_of(kSignal)) != 0 && on_alternate_stack();
}

// The same without blocking it.
bool stays_blocked() noexcept {
    return on_alternate_stack() && (kernel_sigmask(SIG_BLOCK, 0) & bit_of(kSignal)) != 0;
}

}  // namespace

int application_sigmask(int how, const sigset_t* set, sigset_t* old) {
    if (!owns_dispositions()) {
        return libc().pthread_sigmask(how, set, old);
    }
    ThreadSignals& mine = thread_signals;
    const bool was = application_blocks_here();
    if (set == nullptr) {
        const int error = libc().pthread_sigmask(how, nullptr, old);
        if (error == 0 && old != nullptr) {
            set_ours(*old, was);
        }
        return error;
    }
    sigset_t mask = *set;
    const bool member = contains_ours(set);
    const bool changes = how == SIG_SETMASK ? member != was || member : member;
    if (changes && in_foreign_process()) {
        const int error = libc().pthread_sigmask(how, set, old);
        if (error == 0 && old != nullptr) {
            set_ours(*old, was);
        }
        return error;
    }
    // Opening may find it blocked in the kernel after all (a raw call, or a handler left by
    // longjmp), and then corrects that.
    const bool opens = how != SIG_BLOCK && !on_alternate_stack();
    set_ours(mask, how == SIG_UNBLOCK ? opens : how == SIG_SETMASK && !opens);
    const int error = libc().pthread_sigmask(how, &mask, old);
    if (error != 0) {
        return error;
    }
    if (old != nullptr) {
        set_ours(*old, was);
    }
    if (changes) {
        mine.blocked = how != SIG_UNBLOCK && member;
        mine.handler_frame = 0;
        if (!mine.blocked) {
            const int saved = errno;
            deliver_pending();
            errno = saved;
        }
    }
    return 0;
}

int application_sigpending(sigset_t* set) {
    const int result = libc().sigpending(set);
    if (result == 0 && owns_dispositions()) {
        set_ours(*set, any_pending());
    }
    return result;
}

int application_sigtimedwait(const sigset_t* set, siginfo_t* info, const timespec* timeout) {
    if (!owns_dispositions() || !contains_ours(set)) {
        return libc().sigtimedwait(set, info, timeout);
    }
    const Deadline deadline(Deadline::to_ns(timeout));
    timespec left = timeout != nullptr ? *timeout : timespec{};
    // From here on none of ours is served, and no foreign one kept, without our seeing it.
    const bool stays = block_ours();
    const int waiting = begin_waiting();
    sigset_t awaited = *set;
    siginfo_t found;
    int result;
    for (;;) {
        // What was resent where a raw call, or a handler on an alternate stack, has it blocked
        // waits here still; what we dequeue below may be the signal by which it was announced.
        if (take_pending(found) || thread_signals.resent.take(found)) {
            result = kSignal;
            break;
        }
        result = libc().sigtimedwait(&awaited, &found, timeout != nullptr ? &left : nullptr);
        if (result != kSignal) {
            break;
        }
        if (!is_announcement(found)) {
            // Ours, or foreign: the handler knows. libc hides tkill's code, by which others tell.
            if (found.si_code == SI_USER && found.si_pid == kernel_pid()) {
                found.si_code = SI_TKILL;
            }
            if (stays) {
                if (!is_own_signal(found)) {
                    break;
                }
                // The stack has no room to serve it: back it goes, until the handler that we are in
                // ends. A foreign one that meets it merges with it.
                queue_to_self(kSignal, found);
                set_ours(awaited, false);
                left = deadline.remaining();
                continue;
            }
            thread_signals.hold = true;
            kernel_sigmask(SIG_UNBLOCK, bit_of(kSignal));
            resend(found);
            kernel_sigmask(SIG_BLOCK, bit_of(kSignal));
            thread_signals.hold = false;
            if (!any_pending()) {
                errno = EINTR;
                result = -1;
                break;
            }
        }
        left = deadline.remaining();
    }
    const int error = errno;
    end_waiting(waiting);
    if (!stays) {
        kernel_sigmask(SIG_UNBLOCK, bit_of(kSignal));
    }
    if (result >= 0 && info != nullptr) {
        *info = found;
        if (info->si_code == SI_TKILL) {
            info->si_code = SI_USER;  // as libc has it
        }
    }
    errno = error;
    return result;
}

MaskedWait::MaskedWait(const sigset_t* mask) : given_(mask != nullptr) {
    if (!given_) {
        return;
    }
    mask_ = *mask;
    if (!owns_dispositions()) {
        return;
    }
    ours_ = bits_of(*mask) & bit_of(kSignal);
    stays_ = stays_blocked();
    if (stays_ && (ours_ != 0 || !is_function(disposition_of(kSignal).read()))) {
        set_ours(mask_, true);
        return;
    }
    set_ours(mask_, false);
    if (ours_ != 0 || !application_blocks_here()) {
        return;
    }
    // The mask admits what has been blocked up to now: no foreign signal may slip in between our
    // looking for one and the wait.
    guarded_ = true;
    kernel_sigmask(SIG_BLOCK, bit_of(kSignal));
    waiting_ = begin_waiting();
    siginfo_t pending;
    if (take_pending(pending)) {
        ThreadSignals& mine = thread_signals;
        const bool blocked = mine.blocked;
        const std::uintptr_t frame = mine.handler_frame;
        interrupted_ = is_function(disposition_of(kSignal).read());
        mine.blocked = false;
        mine.handler_frame = 0;
        kernel_sigmask(SIG_UNBLOCK, bit_of(kSignal));
        resend(pending);
        kernel_sigmask(SIG_BLOCK, bit_of(kSignal));
        mine.blocked = blocked;
        mine.handler_frame = frame;
    }
}

void MaskedWait::end() {
    if (!guarded_ && !(ours_ != 0 && any_pending())) {
        return;
    }
    const int error = errno;
    if (guarded_) {
        end_waiting(waiting_);
        if (!stays_) {
            kernel_sigmask(SIG_UNBLOCK, bit_of(kSignal));
        }
    } else {
        deliver_pending();  // what the mask has kept out
    }
    errno = error;
}

}  // namespace taskwork::agent
