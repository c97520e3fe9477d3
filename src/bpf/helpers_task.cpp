// SPDX-License-Identifier: Apache-2.0
//
// Who and when. None makes a system call: names and ids come from the task's view (task_view.hpp),
// clocks and processor number from the vDSO.
#include <sched.h>
#include <time.h>

#include <atomic>
#include <cstring>

#include "bpf/checking.hpp"
#include "bpf/helpers.hpp"
#include "bpf/kernel_btf/task_struct.h"
#include "bpf/task_view.hpp"

namespace taskwork::bpf {

namespace {

std::uint64_t read_clock(clockid_t clock) noexcept {
    timespec now{};
    ::clock_gettime(clock, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U +
           static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

std::uint64_t ktime_get_ns(Machine&, const std::uint64_t*) noexcept { return platform::now_ns(); }

std::uint64_t ktime_get_boot_ns(Machine&, const std::uint64_t*) noexcept {
    return platform::boot_ns();
}

std::uint64_t ktime_get_coarse_ns(Machine&, const std::uint64_t*) noexcept {
    return read_clock(CLOCK_MONOTONIC_COARSE);
}

std::uint64_t ktime_get_tai_ns(Machine&, const std::uint64_t*) noexcept {
    return read_clock(CLOCK_TAI);
}

/// Steele, Lea and Flood's SplitMix64: one step of a counter, then a mix of its bits. The counter
/// is this process's; forks differ by the clock that enters with each draw.
std::uint64_t get_prandom_u32(Machine& machine, const std::uint64_t*) noexcept {
    static std::atomic<std::uint64_t> counter{0};
    std::uint64_t x = counter.fetch_add(0x9e3779b97f4a7c15, std::memory_order_relaxed);
    x ^= platform::now_ns() ^ static_cast<std::uint64_t>(machine.task.tid) << 32;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return (x ^ x >> 31) >> 32;
}

std::uint64_t get_smp_processor_id(Machine& machine, const std::uint64_t*) noexcept {
    return machine.processor();
}

std::uint64_t get_numa_node_id(Machine&, const std::uint64_t*) noexcept {
    unsigned processor = 0;
    unsigned node = 0;
    ::getcpu(&processor, &node);
    return node;
}

std::uint64_t get_current_pid_tgid(Machine& machine, const std::uint64_t*) noexcept {
    return std::uint64_t{static_cast<std::uint32_t>(machine.task.pid)} << 32 |
           static_cast<std::uint32_t>(machine.task.tid);
}

std::uint64_t get_current_uid_gid(Machine& machine, const std::uint64_t*) noexcept {
    const ProcessView& process = process_view(machine.task);
    return std::uint64_t{process.gid} << 32 | process.uid;
}

/// R1 buffer, R2 its size: the name, cut to fit, padded with zeros.
std::uint64_t get_current_comm(Machine& machine, const std::uint64_t* arguments) noexcept {
    const std::uint64_t size = arguments[1];
    if (kIsChecking && (size == 0 || !machine.may_write(arguments[0], size))) {
        return machine.fault(FaultKind::bad_argument);
    }
    auto* buffer = reinterpret_cast<char*>(arguments[0]);
    const task_struct& task = task_view(machine.task);
    const std::size_t length = strnlen(task.comm, sizeof(task.comm));
    const std::size_t copied = length < size ? length : size - 1;
    std::memcpy(buffer, task.comm, copied);
    std::memset(buffer + copied, 0, size - copied);
    return 0;
}

std::uint64_t get_current_task(Machine& machine, const std::uint64_t*) noexcept {
    return reinterpret_cast<std::uint64_t>(machine.task.view);
}

std::uint64_t get_attach_cookie(Machine& machine, const std::uint64_t* arguments) noexcept {
    if (kIsChecking &&
        (machine.execution.context == nullptr ||
         arguments[0] != reinterpret_cast<std::uint64_t>(machine.execution.context))) {
        return machine.fault(FaultKind::bad_argument);
    }
    return machine.execution.cookie;
}

}  // namespace taskwork::bpf
