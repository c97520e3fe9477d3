// SPDX-License-Identifier: Apache-2.0
//
// libc's own functions behind the names that this layer replaces.
//
// They are looked up once, by a constructor: dlsym takes locks and may allocate, so it must not
// happen in a handler. Libraries that are initialised before us may call a replaced function
// earlier; that call looks them up on demand, at a time when no handler of ours exists.
#pragma once

#include <aio.h>
#include <csignal>
#include <ctime>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <threads.h>

namespace taskwork::agent {

/// Null where the libc in use lacks the function (epoll_pwait2 before 2.35, _Fork before 2.34,
/// sem_clockwait before 2.30, gai_suspend before 2.34).
struct Libc {
    int (*sigaction)(int, const struct sigaction*, struct sigaction*);
    int (*pthread_sigmask)(int, const sigset_t*, sigset_t*);
    int (*sigpending)(sigset_t*);
    int (*sigsuspend)(const sigset_t*);
    int (*sigwait)(const sigset_t*, int*);
    int (*sigtimedwait)(const sigset_t*, siginfo_t*, const timespec*);
    int (*signalfd)(int, const sigset_t*, int);
    int (*pause)();
    int (*poll)(pollfd*, nfds_t, int);
    int (*poll_chk)(pollfd*, nfds_t, int, size_t);
    int (*ppoll)(pollfd*, nfds_t, const timespec*, const sigset_t*);
    int (*ppoll_chk)(pollfd*, nfds_t, const timespec*, const sigset_t*, size_t);
    int (*select)(int, fd_set*, fd_set*, fd_set*, timeval*);
    int (*pselect)(int, fd_set*, fd_set*, fd_set*, const timespec*, const sigset_t*);
    int (*epoll_pwait)(int, epoll_event*, int, int, const sigset_t*);
    int (*epoll_pwait2)(int, epoll_event*, int, const timespec*, const sigset_t*);
    int (*clock_nanosleep)(clockid_t, int, const timespec*, timespec*);
    int (*sem_timedwait)(sem_t*, const timespec*);
    int (*sem_clockwait)(sem_t*, clockid_t, const timespec*);
    ssize_t (*msgrcv)(int, void*, size_t, long, int);
    int (*msgsnd)(int, const void*, size_t, int);
    int (*aio_suspend)(const aiocb* const*, int, const timespec*);
    int (*gai_suspend)(const gaicb* const*, int, const timespec*);
    int (*pthread_create)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
    int (*thrd_create)(thrd_t*, thrd_start_t, void*);
    pid_t (*fork_without_hooks)();  // _Fork
};

/// libc's functions.
/// Context: any, once they are looked up (at start); before that: task.
const Libc& libc() noexcept;

}  // namespace taskwork::agent
