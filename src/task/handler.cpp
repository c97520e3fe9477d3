// SPDX-License-Identifier: Apache-2.0
//
// The handler in the process's table of signals, where no preload library stands in front of it.
#include <signal.h>

#include "base/errc.hpp"
#include "sync/signal.hpp"
#include "task/run_point.hpp"

namespace taskwork::task {

namespace {

struct sigaction previous_action;

void handle(int signal, siginfo_t* info, void* ucontext) {
    if (on_signal(signal, info, ucontext)) {
        return;
    }
    if ((previous_action.sa_flags & SA_SIGINFO) != 0) {
        previous_action.sa_sigaction(signal, info, ucontext);
    } else if (previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN) {
        previous_action.sa_handler(signal);
    }
}

}  // namespace

std::errc install_handler() noexcept {
    struct sigaction action{};
    action.sa_sigaction = handle;
    action.sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER;
    sigfillset(&action.sa_mask);
    for (const int open : {sync::kSignal, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS}) {
        sigdelset(&action.sa_mask, open);
    }
    struct sigaction before{};
    if (::sigaction(sync::kSignal, &action, &before) != 0) {
        return last_errc();
    }
    if ((before.sa_flags & SA_SIGINFO) == 0 || before.sa_sigaction != handle) {
        previous_action = before;
    }
    return no_error;
}

}  // namespace taskwork::task
