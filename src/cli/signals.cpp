// SPDX-License-Identifier: Apache-2.0
#include "cli/signals.hpp"

#include <sys/signalfd.h>
#include <unistd.h>

namespace taskwork::cli {

Result<void> Signals::take() {
    // A parent may have left SIGCHLD ignored, and then nobody could be waited for.
    ::signal(SIGCHLD, SIG_DFL);
    sigset_t taken;
    sigemptyset(&taken);
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD}) {
        sigaddset(&taken, number);
    }
    sigset_t blocked = taken;
    // An error of write() says the same, and the report comes to its end.
    sigaddset(&blocked, SIGPIPE);
    sigaddset(&blocked, SIGXFSZ);
    ::pthread_sigmask(SIG_BLOCK, &blocked, &before_);
    descriptor_ = ::signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
    if (descriptor_ < 0) {
        return Error{last_errc(), "no descriptor for signals"};
    }
    return {};
}

std::vector<Signals::Arrival> Signals::arrivals() const {
    std::vector<Arrival> list;
    signalfd_siginfo info;
    while (::read(descriptor_, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
        list.push_back({static_cast<int>(info.ssi_signo), info.ssi_code == SI_KERNEL});
    }
    return list;
}

}  // namespace taskwork::cli
