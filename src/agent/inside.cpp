// SPDX-License-Identifier: Apache-2.0
#include "agent/inside.hpp"

#include <ctime>

namespace taskwork::agent {

constinit platform::Atomic<std::uint32_t> Inside::count_{0};

bool Inside::wait_until_none(unsigned limit_ms) noexcept {
    // An addition of nothing, not a load: whatever enters after it in the order of the count's
    // changes also sees everything that was written before it.
    for (unsigned waited = 0; count_.fetch_add(0, std::memory_order_seq_cst) != 0; ++waited) {
        if (waited == limit_ms) {
            return false;
        }
        const timespec pause{0, 1'000'000};
        ::nanosleep(&pause, nullptr);
    }
    return true;
}

bool Inside::reset_in_child() noexcept {
    return count_.exchange(0, std::memory_order_seq_cst) == 0;
}

}  // namespace taskwork::agent
