// SPDX-License-Identifier: Apache-2.0
#include "platform_native.hpp"

#include <linux/futex.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/raw_system_call.hpp"
#include "sync/signal.hpp"

namespace taskwork::platform {

namespace {

std::uint64_t clock_ns(clockid_t clock) noexcept {
    timespec now{};
    ::clock_gettime(clock, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U +
           static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

namespace detail {
[[gnu::tls_model("initial-exec")]] thread_local constinit ThreadState thread_state{};
constinit std::atomic<std::uint64_t*> cookie_page{nullptr};
}  // namespace detail

using detail::cookie_page;

std::uint64_t now_ns() noexcept { return clock_ns(CLOCK_MONOTONIC); }
std::uint64_t boot_ns() noexcept { return clock_ns(CLOCK_BOOTTIME); }

std::int32_t thread_id() noexcept { return static_cast<std::int32_t>(raw_system_call(SYS_gettid)); }
std::int32_t process_id() noexcept {
    return static_cast<std::int32_t>(raw_system_call(SYS_getpid));
}

int notify_thread(std::int32_t pid, std::int32_t tid) noexcept {
    siginfo_t info;
    std::memset(&info, 0, sizeof(info));
    info.si_signo = sync::kSignal;
    info.si_code = SI_QUEUE;
    info.si_pid = process_id();
    info.si_uid = static_cast<uid_t>(raw_system_call(SYS_getuid));
    info.si_value.sival_ptr = reinterpret_cast<void*>(sync::notify_mark);
    return static_cast<int>(-raw_system_call(SYS_rt_tgsigqueueinfo, pid, tid, sync::kSignal,
                                             reinterpret_cast<long>(&info)));
}

int futex_wait(const Atomic<std::uint32_t>& word, std::uint32_t expected,
               std::uint64_t timeout_ns) noexcept {
    timespec timeout{};
    timeout.tv_sec = static_cast<time_t>(timeout_ns / 1'000'000'000U);
    timeout.tv_nsec = static_cast<long>(timeout_ns % 1'000'000'000U);
    return static_cast<int>(
        -raw_system_call(SYS_futex, reinterpret_cast<long>(&word), FUTEX_WAIT, expected,
                         timeout_ns == 0 ? 0 : reinterpret_cast<long>(&timeout)));
}

void futex_wake(Atomic<std::uint32_t>& word, int count) noexcept {
    raw_system_call(SYS_futex, reinterpret_cast<long>(&word), FUTEX_WAKE, count);
}

void yield() noexcept { raw_system_call(SYS_sched_yield); }

bool thread_is_gone(std::int32_t pid, std::int32_t tid) noexcept {
    return raw_system_call(SYS_tgkill, pid, tid, 0) == -ESRCH;
}

bool process_is_gone(std::int32_t pid) noexcept {
    return raw_system_call(SYS_kill, pid, 0) == -ESRCH;
}

int watch_process(std::int32_t pid) noexcept {
    return static_cast<int>(raw_system_call(SYS_pidfd_open, pid, 0));
}

void unwatch_process(int watch) noexcept {
    if (watch >= 0) {
        raw_system_call(SYS_close, watch);
    }
}

void ended_processes(const int* watches, bool* ended, std::size_t count) noexcept {
    std::array<pollfd, 64> polled;
    for (std::size_t begin = 0; begin < count; begin += polled.size()) {
        const std::size_t now = std::min(count - begin, polled.size());
        for (std::size_t at = 0; at < now; ++at) {
            polled[at] = {watches[begin + at], POLLIN, 0};  // The kernel passes over negative ones.
        }
        const long ready = raw_system_call(SYS_poll, reinterpret_cast<long>(polled.data()),
                                           static_cast<long>(now), 0);
        for (std::size_t at = 0; at < now; ++at) {
            ended[begin + at] = ready > 0 && polled[at].revents != 0;
        }
    }
}

bool membarrier_register() noexcept {
    return raw_system_call(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) == 0;
}
bool membarrier_all() noexcept {
    return raw_system_call(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED) == 0;
}

constinit ProcessState process_state{};

bool fork_cookie_renew() noexcept {
    std::uint64_t* page = cookie_page.load(std::memory_order_acquire);
    if (page == nullptr) {
        const long address = raw_system_call(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE,
                                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (address < 0 && address > -4096) {
            return false;
        }
        if (raw_system_call(SYS_madvise, address, 4096, MADV_WIPEONFORK) != 0) {
            raw_system_call(SYS_munmap, address, 4096);
            return false;
        }
        page = reinterpret_cast<std::uint64_t*>(address);
        std::uint64_t* none = nullptr;
        // Release: pairs with the acquire in fork_cookie.
        if (!cookie_page.compare_exchange_strong(none, page, std::memory_order_acq_rel)) {
            raw_system_call(SYS_munmap, address, 4096);
            page = none;
        }
    }
    // Never 0 and, with pid and time in it, never the value of an ancestor.
    const std::uint64_t fresh =
        (static_cast<std::uint64_t>(static_cast<std::uint32_t>(process_id())) << 32) ^ now_ns() ^ 1;
    __atomic_store_n(page, fresh == 0 ? 1 : fresh, __ATOMIC_RELAXED);
    return true;
}

void fork_cookie_clear() noexcept {
    if (std::uint64_t* page = cookie_page.load(std::memory_order_acquire); page != nullptr) {
        __atomic_store_n(page, 0, __ATOMIC_RELAXED);
    }
}

}  // namespace taskwork::platform
