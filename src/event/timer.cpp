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

/// si_value of our timers: this, and the event's index in the low bits.
constexpr std::uintptr_t kTimerMark = 0x74776b74696d0000;
constexpr std::uintptr_t kEventMask = 0xff;
static_assert(EventTable::kEventsMax <= kEventMask);

}  // namespace

unsigned event_of_timer_signal(const siginfo_t& info) noexcept {
    if (info.si_code != SI_TIMER) {
        return kNotATimer;
    }
    const auto value = reinterpret_cast<std::uintptr_t>(info.si_value.sival_ptr);
    if ((value & ~kEventMask) != kTimerMark || (value & kEventMask) >= EventTable::kEventsMax) {
        return kNotATimer;
    }
    return static_cast<unsigned>(value & kEventMask);
}

// Raw system calls: libc's keep books that a child of a threaded fork must not rely on.

int create_timer(unsigned event, std::uint64_t interval_ns) noexcept {
    sigevent notice;
    std::memset(&notice, 0, sizeof(notice));
    notice.sigev_notify = SIGEV_THREAD_ID;
    notice.sigev_signo = sync::kSignal;
    notice.sigev_value.sival_ptr = reinterpret_cast<void*>(kTimerMark | event);
    notice._sigev_un._tid = platform::thread_id();
    const int errno_before = errno;
    int id = -1;
    int result = 0;
    if (::syscall(SYS_timer_create, CLOCK_THREAD_CPUTIME_ID, &notice, &id) != 0) {
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
