// SPDX-License-Identifier: Apache-2.0
#include "agent/waits.hpp"

#include "agent/libc.hpp"

namespace taskwork::agent {

int application_sleep(clockid_t clock, int flags, const timespec* request, timespec* remaining) {
    if ((flags & TIMER_ABSTIME) != 0) {
        return resume_wait(
            nullptr, [&](bool) { return libc().clock_nanosleep(clock, flags, request, remaining); },
            [](int error) { return error == EINTR; });
    }
    // A relative sleep by CLOCK_REALTIME does not follow changes of that clock.
    const Deadline deadline(Deadline::to_ns(request),
                            clock == CLOCK_REALTIME ? CLOCK_MONOTONIC : clock);
    timespec left{};
    timespec unslept{};
    const int error = resume_wait(
        nullptr,
        [&](bool again) {
            if (!again) {
                return libc().clock_nanosleep(clock, flags, request, &unslept);
            }
            left = deadline.never() ? *request : deadline.remaining();
            return libc().clock_nanosleep(clock, flags, &left, &unslept);
        },
        [](int result) { return result == EINTR; });
    if (error == EINTR && remaining != nullptr) {
        *remaining = unslept;
    }
    return error;
}

}  // namespace taskwork::agent
