// SPDX-License-Identifier: Apache-2.0
#include "agent/filters.hpp"

#include <sys/prctl.h>
#include <sys/syscall.h>

#include "agent/kernel_signal.hpp"
#include "sync/deferral.hpp"

namespace taskwork::agent {

void expect_filter() noexcept { sync::DeferralQueue::be_quiet(); }

void look_for_filter() noexcept {
    if (raw_system_call(SYS_prctl, PR_GET_SECCOMP) > 0) {
        expect_filter();
    }
}

}  // namespace taskwork::agent
