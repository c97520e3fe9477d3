// SPDX-License-Identifier: Apache-2.0
//
// libc's waits that end with EINTR after any handler, resumed if it was ours (waits.hpp). Left
// alone: epoll_wait, semop, semtimedop and sockets with time limits, which the kernel's own task
// work interrupts too; and what SA_RESTART restarts, or libc itself repeats. A raw futex wait with
// a time limit, by syscall(2), sees EINTR, and so do waits of libc inside other functions of its
// own.
#undef _FORTIFY_SOURCE
#include <cerrno>
#include <climits>
#include <csignal>
#include <ctime>
#include <unistd.h>

#include "agent/libc.hpp"
#include "agent/masks.hpp"
#include "agent/waits.hpp"

#define TW_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

using namespace taskwork::agent;

constexpr std::int64_t kMillisecond = 1'000'000;

int interrupted() noexcept {
    errno = EINTR;
    return -1;
}

int wait_poll(pollfd* fds, nfds_t count, int timeout_ms) {
    const Deadline deadline(timeout_ms < 0 ? Deadline::kNever : timeout_ms * kMillisecond);
    return resume_wait(nullptr, [&](bool again) {
        if (again && !deadline.never()) {
            // Rounded up: a wait may be late, not early.
            timeout_ms =
                static_cast<int>((deadline.remaining_ns() + kMillisecond - 1) / kMillisecond);
        }
        return libc().poll(fds, count, timeout_ms);
    });
}

// A call with a relative time limit and a mask; `call(timeout, mask)`.
template <typename Call>
int wait_masked(const timespec* timeout, const sigset_t* mask, Call&& call) {
    MaskedWait masked(mask);
    if (masked.interrupted()) {
        masked.end();
        return interrupted();
    }
    const Deadline deadline(Deadline::to_ns(timeout));
    timespec left;
    const int result = resume_wait(&masked, [&](bool again) {
        if (!again || deadline.never()) {
            return call(timeout, masked.mask());
        }
        left = deadline.remaining();
        return call(static_cast<const timespec*>(&left), masked.mask());
    });
    masked.end();
    return result;
}

int wait_suspended(const sigset_t* mask) {
    return wait_masked(nullptr, mask, [](const timespec*, const sigset_t* instead) {
        return libc().sigsuspend(instead);
    });
}

// sigpause of System V: the present mask without one signal.
int pause_for(int signal) {
    sigset_t mask;
    application_sigmask(SIG_BLOCK, nullptr, &mask);
    if (sigdelset(&mask, signal) != 0) {
        return -1;
    }
    return wait_suspended(&mask);
}

// sigpause of BSD: a mask of 32 bits.
int pause_with(int bsd_mask) {
    sigset_t mask;
    sigemptyset(&mask);
    assign_bits(mask, static_cast<unsigned>(bsd_mask));
    return wait_suspended(&mask);
}

template <typename Wait, typename List>
int wait_requests(Wait* wait, List list, int count, const timespec* timeout, bool errno_is_set) {
    const Deadline deadline(Deadline::to_ns(timeout));
    timespec left;
    return resume_wait(
        nullptr,
        [&](bool again) {
            if (again && !deadline.never()) {
                left = deadline.remaining();
                return wait(list, count, &left);
            }
            return wait(list, count, timeout);
        },
        [=](int result) {
            return errno_is_set ? result == -1 && errno == EINTR : result == EAI_INTR;
        });
}

}  // namespace

TW_EXPORT int poll(pollfd* fds, nfds_t count, int timeout_ms) {
    return wait_poll(fds, count, timeout_ms);
}

TW_EXPORT int __poll(pollfd* fds, nfds_t count, int timeout_ms) {
    return wait_poll(fds, count, timeout_ms);
}

TW_EXPORT int __poll_chk(pollfd* fds, nfds_t count, int timeout_ms, size_t size) {
    if (size / sizeof(pollfd) < count) {
        return libc().poll_chk(fds, count, timeout_ms, size);  // which ends the program
    }
    return wait_poll(fds, count, timeout_ms);
}

TW_EXPORT int ppoll(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask) {
    return wait_masked(timeout, mask, [=](const timespec* left, const sigset_t* instead) {
        return libc().ppoll(fds, count, left, instead);
    });
}

TW_EXPORT int __ppoll_chk(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask,
                          size_t size) {
    if (size / sizeof(pollfd) < count) {
        return libc().ppoll_chk(fds, count, timeout, mask, size);
    }
    return ppoll(fds, count, timeout, mask);
}

namespace {

// Linux's select leaves in `timeout` what remains, and the sets as they were, when it is
// interrupted.
int wait_select(int count, fd_set* reads, fd_set* writes, fd_set* errors, timeval* timeout) {
    std::int64_t wait_ns = Deadline::kNever;
    if (timeout != nullptr) {
        const timespec time{timeout->tv_sec, timeout->tv_usec * 1000};
        wait_ns = Deadline::to_ns(&time);
    }
    const Deadline deadline(wait_ns);
    return resume_wait(nullptr, [&](bool again) {
        if (again && !deadline.never()) {
            const std::int64_t left_us = (deadline.remaining_ns() + 999) / 1000;
            timeout->tv_sec = left_us / 1'000'000;
            timeout->tv_usec = left_us % 1'000'000;
        }
        return libc().select(count, reads, writes, errors, timeout);
    });
}

}  // namespace

TW_EXPORT int select(int count, fd_set* reads, fd_set* writes, fd_set* errors, timeval* timeout) {
    return wait_select(count, reads, writes, errors, timeout);
}

TW_EXPORT int __select(int count, fd_set* reads, fd_set* writes, fd_set* errors, timeval* timeout) {
    return wait_select(count, reads, writes, errors, timeout);
}

TW_EXPORT int pselect(int count, fd_set* reads, fd_set* writes, fd_set* errors,
                      const timespec* timeout, const sigset_t* mask) {
    return wait_masked(timeout, mask, [=](const timespec* left, const sigset_t* instead) {
        return libc().pselect(count, reads, writes, errors, left, instead);
    });
}

// These two are not resumed, but their mask must not block us.
TW_EXPORT int epoll_pwait(int epoll, epoll_event* events, int count, int timeout_ms,
                          const sigset_t* mask) {
    MaskedWait masked(mask);
    const int result = masked.interrupted()
                           ? interrupted()
                           : libc().epoll_pwait(epoll, events, count, timeout_ms, masked.mask());
    masked.end();
    return result;
}

TW_EXPORT int epoll_pwait2(int epoll, epoll_event* events, int count, const timespec* timeout,
                           const sigset_t* mask) {
    if (libc().epoll_pwait2 == nullptr) {
        errno = ENOSYS;
        return -1;
    }
    MaskedWait masked(mask);
    const int result = masked.interrupted()
                           ? interrupted()
                           : libc().epoll_pwait2(epoll, events, count, timeout, masked.mask());
    masked.end();
    return result;
}

TW_EXPORT int clock_nanosleep(clockid_t clock, int flags, const timespec* request,
                              timespec* remaining) {
    return application_sleep(clock, flags, request, remaining);
}

TW_EXPORT int nanosleep(const timespec* request, timespec* remaining) {
    const int error = application_sleep(CLOCK_REALTIME, 0, request, remaining);
    if (error != 0) {
        errno = error;
        return -1;
    }
    return 0;
}

TW_EXPORT int __nanosleep(const timespec* request, timespec* remaining) {
    return nanosleep(request, remaining);
}

TW_EXPORT int usleep(useconds_t microseconds) {
    const timespec request{microseconds / 1'000'000,
                           static_cast<long>(microseconds % 1'000'000) * 1000};
    return nanosleep(&request, nullptr);
}

TW_EXPORT unsigned sleep(unsigned seconds) {
    const int error = errno;
    const timespec request{seconds, 0};
    timespec remaining{};
    if (nanosleep(&request, &remaining) != 0) {
        return static_cast<unsigned>(remaining.tv_sec);
    }
    errno = error;
    return 0;
}

TW_EXPORT int thrd_sleep(const timespec* request, timespec* remaining) {
    const int error = application_sleep(CLOCK_REALTIME, 0, request, remaining);
    return error == 0 ? 0 : error == EINTR ? -1 : -2;
}

TW_EXPORT int pause() {
    return resume_wait(nullptr, [](bool) { return libc().pause(); });
}

TW_EXPORT int sigsuspend(const sigset_t* mask) { return wait_suspended(mask); }

TW_EXPORT int __sigsuspend(const sigset_t* mask) { return wait_suspended(mask); }

TW_EXPORT int __sigpause(int signal_or_mask, int is_signal) {
    return is_signal != 0 ? pause_for(signal_or_mask) : pause_with(signal_or_mask);
}

// <signal.h> gives sigpause this symbol under X/Open; the symbol of its own name is BSD's.
TW_EXPORT int __xpg_sigpause(int signal) { return pause_for(signal); }
TW_EXPORT int tw_bsd_sigpause(int mask) __asm__("sigpause");
TW_EXPORT int tw_bsd_sigpause(int mask) { return pause_with(mask); }

TW_EXPORT int sem_timedwait(sem_t* semaphore, const timespec* until) {
    return resume_wait(nullptr, [=](bool) { return libc().sem_timedwait(semaphore, until); });
}

TW_EXPORT int sem_clockwait(sem_t* semaphore, clockid_t clock, const timespec* until) {
    if (libc().sem_clockwait == nullptr) {
        errno = ENOSYS;
        return -1;
    }
    return resume_wait(nullptr,
                       [=](bool) { return libc().sem_clockwait(semaphore, clock, until); });
}

TW_EXPORT ssize_t msgrcv(int queue, void* message, size_t size, long type, int flags) {
    return resume_wait(nullptr,
                       [=](bool) { return libc().msgrcv(queue, message, size, type, flags); });
}

TW_EXPORT int msgsnd(int queue, const void* message, size_t size, int flags) {
    return resume_wait(nullptr, [=](bool) { return libc().msgsnd(queue, message, size, flags); });
}

// Both keep an entry for each request on the stack, so a long list is beyond the reach of
// in_marked_wait, and sees EINTR.
TW_EXPORT int aio_suspend(const aiocb* const list[], int count, const timespec* timeout) {
    return wait_requests(libc().aio_suspend, list, count, timeout, true);
}

TW_EXPORT int aio_suspend64(const aiocb64* const list[], int count, const timespec* timeout) {
    // Files are 64-bit here anyway: the two structures are one.
    return wait_requests(libc().aio_suspend, reinterpret_cast<const aiocb* const*>(list), count,
                         timeout, true);
}

TW_EXPORT int gai_suspend(const gaicb* const list[], int count, const timespec* timeout) {
    if (libc().gai_suspend == nullptr) {
        errno = ENOSYS;
        return EAI_SYSTEM;
    }
    return wait_requests(libc().gai_suspend, list, count, timeout, false);
}
