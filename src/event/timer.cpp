// SPDX-License-Identifier: Apache-2.0
#include "event/timer.hpp"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "event/event.hpp"
#include "sync/signal.hpp"

namespace taskwork::event {

namespace {

/// si_value of our timers: this, and the spec in the low bits.
constexpr std::uintptr_t kTimerMark = 0x74776b74696d0000;
constexpr std::uintptr_t kSpecMask = 0xff;
static_assert(EventTable::kSpecsMax <= kSpecMask);

}  // namespace

unsigned spec_of_timer_signal(const siginfo_t& info) noexcept {
    if (info.si_code != SI_TIMER) {
        return kNotATimer;
    }
    const auto value = reinterpret_cast<std::uintptr_t>(info.si_value.sival_ptr);
    if ((value & ~kSpecMask) != kTimerMark || (value & kSpecMask) >= EventTable::kSpecsMax) {
        return kNotATimer;
    }
    return static_cast<unsigned>(value & kSpecMask);
}

// Raw system calls: libc's keep books that a child of a threaded fork must not rely on.

int create_timer(unsigned spec, std::uint64_t interval_ns) noexcept {
    sigevent event;
    std::memset(&event, 0, sizeof(event));
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = sync::kSignal;
    event.sigev_value.sival_ptr = reinterpret_cast<void*>(kTimerMark | spec);
    event._sigev_un._tid = platform::thread_id();
    const int errno_before = errno;
    int id = -1;
    int result = 0;
    if (::syscall(SYS_timer_create, CLOCK_THREAD_CPUTIME_ID, &event, &id) != 0) {
        result = -errno;
    } else {
        itimerspec period{};
        period.it_interval.tv_sec = static_cast<time_t>(interval_ns / 1'000'000'000U);
        period.it_interval.tv_nsec = static_cast<long>(interval_ns % 1'000'000'000U);
        period.it_value = period.it_interval;
        if (::syscall(SYS_timer_settime, id, 0, &period, nullptr) != 0) {
            result = -errno;
            delete_timer(id);
        } else {
            result = id;
        }
    }
    errno = errno_before;
    return result;
}

void delete_timer(int id) noexcept {
    const int errno_before = errno;
    ::syscall(SYS_timer_delete, id);
    errno = errno_before;
}

}  // namespace taskwork::event
