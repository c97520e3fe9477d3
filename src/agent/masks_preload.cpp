// SPDX-License-Identifier: Apache-2.0
//
// libc's functions that change or show the calling thread's signal mask, those that wait for
// blocked signals, and signalfd. pthread_attr_setsigmask_np needs no replacement: a new thread
// corrects its mask itself (threads.cpp). posix_spawnattr_setsigmask needs none either: its mask is
// that of a program to be started, where we are not yet.
#include <cerrno>
#include <csignal>
#include <sys/signalfd.h>

#include "agent/dispositions.hpp"
#include "agent/libc.hpp"
#include "agent/masks.hpp"

#define TW_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

using namespace taskwork::agent;

// 0, or -1 and errno.
int change_mask(int how, const sigset_t* set, sigset_t* old) noexcept {
    if (const int error = application_sigmask(how, set, old); error != 0) {
        errno = error;
        return -1;
    }
    return 0;
}

// BSD masks have 32 bits.
sigset_t set_of(int bsd_mask) noexcept {
    sigset_t set;
    sigemptyset(&set);
    assign_bits(set, static_cast<unsigned>(bsd_mask));
    return set;
}

int bsd_mask_of(const sigset_t& set) noexcept { return static_cast<int>(bits_of(set)); }

int change_bsd_mask(int how, int mask) noexcept {
    const sigset_t set = set_of(mask);
    sigset_t old;
    return change_mask(how, &set, &old) == 0 ? bsd_mask_of(old) : -1;
}

int change_one(int how, int signal) noexcept {
    sigset_t set;
    sigemptyset(&set);
    if (sigaddset(&set, signal) != 0) {
        return -1;
    }
    return change_mask(how, &set, nullptr);
}

}  // namespace

TW_EXPORT int pthread_sigmask(int how, const sigset_t* set, sigset_t* old) noexcept {
    return application_sigmask(how, set, old);
}

TW_EXPORT int sigprocmask(int how, const sigset_t* set, sigset_t* old) noexcept {
    return change_mask(how, set, old);
}

TW_EXPORT int sigblock(int mask) noexcept { return change_bsd_mask(SIG_BLOCK, mask); }

TW_EXPORT int sigsetmask(int mask) noexcept { return change_bsd_mask(SIG_SETMASK, mask); }

TW_EXPORT int siggetmask() noexcept { return change_bsd_mask(SIG_BLOCK, 0); }

TW_EXPORT int sighold(int signal) noexcept { return change_one(SIG_BLOCK, signal); }

TW_EXPORT int sigrelse(int signal) noexcept { return change_one(SIG_UNBLOCK, signal); }

TW_EXPORT int sigpending(sigset_t* set) noexcept { return application_sigpending(set); }

// The descriptor would eat our notifications. Foreign ones go to the handler instead.
TW_EXPORT int signalfd(int fd, const sigset_t* set, int flags) noexcept {
    if (!owns_dispositions()) {
        return libc().signalfd(fd, set, flags);
    }
    sigset_t mask = *set;
    assign_bits(mask, bits_of(mask) & ~bit_of(kSignal));
    return libc().signalfd(fd, &mask, flags);
}

TW_EXPORT int sigtimedwait(const sigset_t* set, siginfo_t* info, const timespec* timeout) {
    return application_sigtimedwait(set, info, timeout);
}

TW_EXPORT int sigwaitinfo(const sigset_t* set, siginfo_t* info) {
    return application_sigtimedwait(set, info, nullptr);
}

TW_EXPORT int sigwait(const sigset_t* set, int* signal) {
    for (;;) {
        siginfo_t info;
        if (application_sigtimedwait(set, &info, nullptr) >= 0) {
            *signal = info.si_signo;
            return 0;
        }
        if (errno != EINTR) {
            return errno;
        }
    }
}
