// SPDX-License-Identifier: Apache-2.0
//
// libc's functions that set signal handlers, all made of sigaction.
#include <atomic>
#include <cerrno>
#include <csignal>

#include "agent/dispositions.hpp"
#include "agent/masks.hpp"

#define TW_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

using namespace taskwork::agent;

// Signals for which the application has said siginterrupt(signal, 1).
constinit std::atomic<SignalBits> interrupting{0};

bool is_valid(int signal) noexcept { return signal >= 1 && signal <= kSignalMax; }

// The handlers before and after; SIG_ERR and errno.
sighandler_t set_handler(int signal, sighandler_t handler, int flags, bool masks_itself) noexcept {
    if (handler == SIG_ERR || !is_valid(signal)) {
        errno = EINVAL;
        return SIG_ERR;
    }
    struct sigaction action{};
    struct sigaction old{};
    action.sa_handler = handler;
    action.sa_flags = flags;
    if (masks_itself) {
        sigaddset(&action.sa_mask, signal);
    }
    return application_sigaction(signal, &action, &old) == 0 ? old.sa_handler : SIG_ERR;
}

sighandler_t set_bsd_handler(int signal, sighandler_t handler) noexcept {
    const bool interrupts =
        is_valid(signal) && (interrupting.load(std::memory_order_relaxed) & bit_of(signal)) != 0;
    return set_handler(signal, handler, interrupts ? 0 : SA_RESTART, true);
}

sighandler_t set_sysv_handler(int signal, sighandler_t handler) noexcept {
    return set_handler(signal, handler, SA_RESETHAND | SA_NODEFER, false);
}

}  // namespace

TW_EXPORT int sigaction(int signal, const struct sigaction* action,
                        struct sigaction* old) noexcept {
    return application_sigaction(signal, action, old);
}

TW_EXPORT int __sigaction(int signal, const struct sigaction* action,
                          struct sigaction* old) noexcept {
    return application_sigaction(signal, action, old);
}

#undef signal
TW_EXPORT sighandler_t signal(int number, sighandler_t handler) noexcept {
    return set_bsd_handler(number, handler);
}

TW_EXPORT sighandler_t ssignal(int number, sighandler_t handler) noexcept {
    return set_bsd_handler(number, handler);
}

TW_EXPORT sighandler_t bsd_signal(int number, sighandler_t handler) noexcept {
    return set_bsd_handler(number, handler);
}

TW_EXPORT sighandler_t sysv_signal(int number, sighandler_t handler) noexcept {
    return set_sysv_handler(number, handler);
}

TW_EXPORT sighandler_t __sysv_signal(int number, sighandler_t handler) noexcept {
    return set_sysv_handler(number, handler);
}

TW_EXPORT int siginterrupt(int number, int interrupt) noexcept {
    struct sigaction action{};
    if (application_sigaction(number, nullptr, &action) != 0) {
        return -1;
    }
    if (interrupt != 0) {
        interrupting.fetch_or(bit_of(number), std::memory_order_relaxed);
        action.sa_flags &= ~SA_RESTART;
    } else {
        interrupting.fetch_and(~bit_of(number), std::memory_order_relaxed);
        action.sa_flags |= SA_RESTART;
    }
    return application_sigaction(number, &action, nullptr);
}

TW_EXPORT int sigignore(int number) noexcept {
    return set_handler(number, SIG_IGN, 0, false) == SIG_ERR ? -1 : 0;
}

// System V's sigset: SIG_HOLD blocks the signal, anything else unblocks it and sets the handler;
// the answer is SIG_HOLD if it was blocked, else the handler before.
TW_EXPORT sighandler_t sigset(int number, sighandler_t handler) noexcept {
    if (!is_valid(number) || handler == SIG_ERR) {
        errno = EINVAL;
        return SIG_ERR;
    }
    sigset_t set;
    sigset_t old_mask;
    sigemptyset(&set);
    if (sigaddset(&set, number) != 0) {
        return SIG_ERR;
    }
    struct sigaction old{};
    if (handler == SIG_HOLD) {
        if (application_sigaction(number, nullptr, &old) != 0) {
            return SIG_ERR;
        }
        application_sigmask(SIG_BLOCK, &set, &old_mask);
    } else {
        struct sigaction action{};
        action.sa_handler = handler;
        if (application_sigaction(number, &action, &old) != 0) {
            return SIG_ERR;
        }
        application_sigmask(SIG_UNBLOCK, &set, &old_mask);
    }
    return sigismember(&old_mask, number) == 1 ? SIG_HOLD : old.sa_handler;
}
