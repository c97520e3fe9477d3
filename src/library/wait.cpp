// SPDX-License-Identifier: Apache-2.0
#include <taskwork/wait.hpp>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>

#include "base/raw_system_call.hpp"
#include "library/domain.hpp"
#include "library/safe_points.hpp"
#include "library/wait_window.hpp"
#include "sync/signal.hpp"
#include "task/run_point.hpp"

namespace taskwork {

namespace {

/// Bytes of the kernel's signal mask.
constexpr long kMaskBytes = 8;
using KernelMask = std::uint64_t;

constexpr KernelMask kOurBit = KernelMask{1} << (sync::kSignal - 1);

KernelMask kernel_mask(const sigset_t& mask) noexcept {
    KernelMask bits = 0;
    for (int signal = 1; signal <= 64; ++signal) {
        if (sigismember(&mask, signal) == 1) {
            bits |= KernelMask{1} << (signal - 1);
        }
    }
    return bits;
}

KernelMask change_mask(int how, KernelMask mask) noexcept {
    KernelMask before = 0;
    raw_system_call(SYS_rt_sigprocmask, how, reinterpret_cast<long>(&mask),
                    reinterpret_cast<long>(&before), kMaskBytes);
    return before;
}

int answer(long result) noexcept {
    if (result < 0) {
        errno = static_cast<int>(-result);
        return -1;
    }
    return static_cast<int>(result);
}

bool has_something(const task::Task& task) noexcept {
    return library::attention_word(task).load(std::memory_order_seq_cst) != 0;
}

/// Works that may run anywhere do so here; whether the wait is to end before it begins.
bool look(task::Task& task) noexcept {
    task::drain(task);
    return has_something(task);
}

/// A wait whose call sets a mask as it blocks: our signal is blocked from before the check on.
/// `call(mask)`: the system call with the kernel's mask.
template <class Call>
long masked_wait(const sigset_t* mask, Call call) noexcept {
    task::Task* self = library::self();
    if (self == nullptr || !library::in_task_context()) {
        KernelMask given = mask != nullptr ? kernel_mask(*mask) : 0;
        return call(mask != nullptr ? &given : nullptr);
    }
    auto& waiting = library::thread_of(*self).waiting;
    const KernelMask before = change_mask(SIG_BLOCK, kOurBit);
    waiting.store(1, std::memory_order_relaxed);
    platform::signal_fence();
    long result = -EINTR;
    if (!look(*self)) {
        KernelMask inside = (mask != nullptr ? kernel_mask(*mask) : before) & ~kOurBit;
        result = call(&inside);
    }
    waiting.store(0, std::memory_order_relaxed);
    if ((before & kOurBit) == 0) {
        change_mask(SIG_UNBLOCK, kOurBit);
    }
    return result;
}

}  // namespace

int ppoll(pollfd* descriptors, nfds_t count, const timespec* timeout,
          const sigset_t* mask) noexcept {
    return answer(masked_wait(mask, [&](KernelMask* inside) noexcept {
        timespec left{};  // The kernel writes what remains.
        if (timeout != nullptr) {
            left = *timeout;
        }
        return raw_system_call(SYS_ppoll, reinterpret_cast<long>(descriptors),
                               static_cast<long>(count),
                               timeout != nullptr ? reinterpret_cast<long>(&left) : 0,
                               reinterpret_cast<long>(inside), kMaskBytes);
    }));
}

int epoll_pwait(int epoll, epoll_event* events, int count, int timeout_ms,
                const sigset_t* mask) noexcept {
    return answer(masked_wait(mask, [&](KernelMask* inside) noexcept {
        return raw_system_call(SYS_epoll_pwait, epoll, reinterpret_cast<long>(events), count,
                               timeout_ms, reinterpret_cast<long>(inside), kMaskBytes);
    }));
}

std::errc futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                     const timespec* timeout) noexcept {
    const long call[] = {SYS_futex,
                         reinterpret_cast<long>(&word),
                         FUTEX_WAIT_PRIVATE,
                         static_cast<long>(expected),
                         reinterpret_cast<long>(timeout),
                         0,
                         0};
    task::Task* self = library::self();
    long result = 0;
    if (self == nullptr || !library::in_task_context()) {
        result = raw_system_call(call[0], call[1], call[2], call[3], call[4]);
    } else if (look(*self)) {
        result = -EINTR;
    } else {
        library::Thread& thread = library::thread_of(*self);
        thread.waiting.store(1, std::memory_order_relaxed);
        platform::signal_fence();
        result = taskwork_wait_window(&library::attention_word(*self), &thread.window, call);
        platform::signal_fence();
        thread.waiting.store(0, std::memory_order_relaxed);
    }
    return static_cast<std::errc>(-result);
}

void futex_wake(std::atomic<std::uint32_t>& word, int count) noexcept {
    raw_system_call(SYS_futex, reinterpret_cast<long>(&word), FUTEX_WAKE_PRIVATE, count);
}

}  // namespace taskwork
