// SPDX-License-Identifier: Apache-2.0
#include "event/perf.hpp"

#include <fcntl.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "base/raw_system_call.hpp"
#include "sync/signal.hpp"

namespace taskwork::event {

namespace {

perf_event_attr kernel_attributes(const EventAttributes& attributes) noexcept {
    perf_event_attr attr;
    std::memset(&attr, 0, sizeof(attr));
    attr.size = sizeof(attr);
    if (attributes.source == Source::cpu_cycles) {
        attr.type = PERF_TYPE_HARDWARE;
        attr.config = PERF_COUNT_HW_CPU_CYCLES;
    } else {
        attr.type = PERF_TYPE_SOFTWARE;
        attr.config = PERF_COUNT_SW_CPU_CLOCK;
    }
    const std::uint64_t period = period_of(attributes);
    if (period != 0) {
        attr.sample_period = period;
    } else {
        attr.freq = 1;
        attr.sample_freq = attributes.frequency;
    }
    attr.disabled = 1;
    // What an ordinary user may ask for; also, a signal born in user mode never interrupts a call.
    attr.exclude_kernel = 1;
    attr.exclude_hv = 1;
    // The next image of the process is not ours until it has joined.
    attr.remove_on_exec = 1;
    return attr;
}

int aim(int descriptor, pid_t tid) noexcept {
    f_owner_ex owner{};
    owner.type = F_OWNER_TID;
    owner.pid = tid;
    if (::fcntl(descriptor, F_SETOWN_EX, &owner) != 0 ||
        ::fcntl(descriptor, F_SETSIG, sync::kSignal) != 0 ||
        ::fcntl(descriptor, F_SETFL, O_RDWR | O_ASYNC) != 0) {
        return -errno;
    }
    return 0;
}

}  // namespace

std::uint64_t overflow_rate_max() noexcept {
    constexpr std::uint64_t timer_max = 100'000;
    const int file = ::open("/proc/sys/kernel/perf_event_max_sample_rate", O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return timer_max;
    }
    char text[32] = {};
    const ssize_t size = ::read(file, text, sizeof text - 1);
    ::close(file);
    std::uint64_t rate = 0;
    const bool parsed = size > 0 && std::from_chars(text, text + size, rate).ec == no_error;
    return parsed && rate != 0 ? std::min(rate, timer_max) : timer_max;
}

int open_perf(const EventAttributes& attributes, pid_t tid) noexcept {
    perf_event_attr attr = kernel_attributes(attributes);
    // Past libc: in a program linked with our answers to bpf(2), its syscall() leads back here.
    const auto open = [&] {
        return raw_system_call(SYS_perf_event_open, reinterpret_cast<long>(&attr), tid, -1, -1,
                               PERF_FLAG_FD_CLOEXEC);
    };
    long descriptor = open();
    if (descriptor == -EINVAL || descriptor == -E2BIG) {
        // Before Linux 5.13. The signal is one that a program without a handler ignores.
        attr.remove_on_exec = 0;
        descriptor = open();
    }
    if (descriptor < 0) {
        return static_cast<int>(descriptor);
    }
    const int fd = static_cast<int>(descriptor);
    const int error = aim(fd, tid);
    if (error != 0) {
        ::close(fd);
        return error;
    }
    return fd;
}

int start_perf(int descriptor) noexcept {
    return ::ioctl(descriptor, PERF_EVENT_IOC_ENABLE, 0) == 0 ? 0 : -errno;
}

int start_perf_once(int descriptor) noexcept {
    return ::ioctl(descriptor, PERF_EVENT_IOC_REFRESH, 1) == 0 ? 0 : -errno;
}

int set_perf_period(int descriptor, const EventAttributes& attributes) noexcept {
    const std::uint64_t period = period_of(attributes);
    const std::uint64_t value = period != 0 ? period : attributes.frequency;
    return ::ioctl(descriptor, PERF_EVENT_IOC_PERIOD, &value) == 0 ? 0 : -errno;
}

std::uint64_t read_perf(int descriptor) noexcept {
    std::uint64_t count = 0;
    return ::read(descriptor, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

}  // namespace taskwork::event
