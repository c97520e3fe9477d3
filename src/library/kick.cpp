// SPDX-License-Identifier: Apache-2.0
//
// Resume mode onto a thread that computes: a perf event on it that fires once, in user mode only,
// so that a thread in a system call is not disturbed.
#include <fcntl.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/raw_system_call.hpp"
#include "library/handler.hpp"
#include "sync/signal.hpp"
#include "task/worker.hpp"

namespace taskwork::library {

namespace {

constexpr std::int32_t kNoneYet = -1;
constexpr std::int32_t kForbidden = -2;

/// The kernel's timers for the CPU clock go no lower.
constexpr std::uint64_t kPeriodNs = 10'000;

/// The number travels in the signal. High, as far as the limit allows: the preload library of
/// `taskwork run` takes a low one for one of its host's.
constexpr int kLowestDescriptor = 900;

int raise_number(int descriptor) noexcept {
    const int high = ::fcntl(descriptor, F_DUPFD_CLOEXEC, kLowestDescriptor);
    if (high < 0) {
        return descriptor;
    }
    ::close(descriptor);
    return high;
}

int open_kick(pid_t tid) noexcept {
    perf_event_attr attributes;
    std::memset(&attributes, 0, sizeof(attributes));
    attributes.size = sizeof(attributes);
    attributes.type = PERF_TYPE_SOFTWARE;
    attributes.config = PERF_COUNT_SW_CPU_CLOCK;
    attributes.sample_period = kPeriodNs;
    attributes.disabled = 1;
    attributes.exclude_kernel = 1;
    attributes.exclude_hv = 1;
    const long opened = raw_system_call(SYS_perf_event_open, reinterpret_cast<long>(&attributes),
                                        tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
    if (opened < 0) {
        return kForbidden;
    }
    const int descriptor = raise_number(static_cast<int>(opened));
    f_owner_ex owner{};
    owner.type = F_OWNER_TID;
    owner.pid = tid;
    if (::fcntl(descriptor, F_SETOWN_EX, &owner) != 0 ||
        ::fcntl(descriptor, F_SETSIG, sync::kSignal) != 0 ||
        ::fcntl(descriptor, F_SETFL, O_RDWR | O_ASYNC) != 0) {
        ::close(descriptor);
        return kForbidden;
    }
    return descriptor;
}

}  // namespace

void kick(task::Task& task) noexcept {
    auto& field = thread_of(task).kick_descriptor;
    std::int32_t descriptor = field.load(std::memory_order_relaxed);
    if (descriptor == kNoneYet) {
        descriptor = open_kick(task.tid);
        // Release: the thread's handler compares it with the number in its signal.
        field.store(descriptor, std::memory_order_release);
    }
    kick_now(task);
}

bool kick_now(task::Task& task) noexcept {
    // Acquire: pairs with the release above. The caller's section keeps the descriptor open.
    const std::int32_t descriptor = thread_of(task).kick_descriptor.load(std::memory_order_acquire);
    if (descriptor == kNoneYet) {
        return false;
    }
    if (descriptor >= 0) {
        raw_system_call(SYS_ioctl, descriptor, PERF_EVENT_IOC_REFRESH, 1);
    }
    return true;
}

void forget_kick(task::Task& task) noexcept {
    assume_not_nmi();
    const std::int32_t descriptor =
        thread_of(task).kick_descriptor.exchange(kNoneYet, std::memory_order_acq_rel);
    if (descriptor >= 0) {
        // Its number must name nothing else while a scheduler may be about to use it.
        task::Worker::after_grace_period(
            [](void* argument) noexcept {
                ::close(static_cast<int>(reinterpret_cast<std::intptr_t>(argument)));
            },
            reinterpret_cast<void*>(static_cast<std::intptr_t>(descriptor)));
    }
}

bool is_kick(const task::Task& task, const siginfo_t& info) noexcept {
    return (info.si_code == POLL_IN || info.si_code == POLL_HUP) && info.si_fd >= 0 &&
           info.si_fd == thread_of(task).kick_descriptor.load(std::memory_order_acquire);
}

}  // namespace taskwork::library
