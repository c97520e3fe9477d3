// SPDX-License-Identifier: Apache-2.0
#include "agent/libc.hpp"

#include <atomic>
#include <dlfcn.h>

namespace taskwork::agent {

namespace {

constinit Libc functions{};
constinit std::atomic<bool> found{false};

template <typename Function>
void find(Function*& function, const char* name) noexcept {
    function = reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

// Two threads may do this at once, before our constructor: both write the same values.
__attribute__((constructor(101))) void find_all() noexcept {
    if (found.load(std::memory_order_acquire)) {
        return;
    }
    find(functions.sigaction, "sigaction");
    find(functions.pthread_sigmask, "pthread_sigmask");
    find(functions.sigpending, "sigpending");
    find(functions.sigsuspend, "sigsuspend");
    find(functions.sigwait, "sigwait");
    find(functions.sigtimedwait, "sigtimedwait");
    find(functions.signalfd, "signalfd");
    find(functions.pause, "pause");
    find(functions.poll, "poll");
    find(functions.poll_chk, "__poll_chk");
    find(functions.ppoll, "ppoll");
    find(functions.ppoll_chk, "__ppoll_chk");
    find(functions.select, "select");
    find(functions.pselect, "pselect");
    find(functions.epoll_pwait, "epoll_pwait");
    find(functions.epoll_pwait2, "epoll_pwait2");
    find(functions.clock_nanosleep, "clock_nanosleep");
    find(functions.sem_timedwait, "sem_timedwait");
    find(functions.sem_clockwait, "sem_clockwait");
    find(functions.msgrcv, "msgrcv");
    find(functions.msgsnd, "msgsnd");
    find(functions.aio_suspend, "aio_suspend");
    find(functions.gai_suspend, "gai_suspend");
    find(functions.pthread_create, "pthread_create");
    find(functions.thrd_create, "thrd_create");
    find(functions.fork_without_hooks, "_Fork");
    // Pairs with the acquire above and in libc().
    found.store(true, std::memory_order_release);
}

}  // namespace

const Libc& libc() noexcept {
    if (!found.load(std::memory_order_acquire)) {
        find_all();
    }
    return functions;
}

}  // namespace taskwork::agent
