// SPDX-License-Identifier: Apache-2.0
//
// Between task.cpp, run_point.cpp and worker.cpp: what the rest of the layers does not call.
#pragma once

#include "task/task.hpp"

namespace taskwork::task {

/// Runs the works of the safe-point list unless a section, a handler or a drain is open.
/// Context: task, task_work (no-op), nmi (no-op).
void drain_safe(Task& task) noexcept;

/// Before a control block is free again; see EventDescriptorHooks.
/// Context: any.
void free_hook(Task& task) noexcept;

/// Closes the lists of the calling thread's task and runs what was on them.
/// Context: task.
TW_TASK_ONLY void close_and_run(Task& task) noexcept;

/// Closes the lists of a dead thread's task; their nodes are found through the works themselves.
/// Context: irq.
TW_NOT_NMI void close_dead(Task& task) noexcept;

/// Whether the task was told of works by signal and has not looked since.
/// Context: any.
bool told_by_signal(const Task& task) noexcept;

/// What the works are to this process.
/// Context: any.
const WorkOps& work_ops() noexcept;

/// Link words of nodes: {round : 31, claimed : 1, index of the next node : 32}.
struct Link {
    std::uint64_t bits;
    static constexpr std::uint64_t kClaimed = std::uint64_t{1} << 32;

    [[nodiscard]] static constexpr Link make(std::uint32_t round, std::uint32_t next) {
        return Link{static_cast<std::uint64_t>(round & 0x7fffffffU) << 33 | next};
    }
    [[nodiscard]] constexpr bool claimed() const { return (bits & kClaimed) != 0; }
    [[nodiscard]] constexpr std::uint32_t next() const { return static_cast<std::uint32_t>(bits); }
    [[nodiscard]] constexpr std::uint32_t round() const {
        return static_cast<std::uint32_t>(bits >> 33);
    }
    [[nodiscard]] constexpr Link as_claimed() const { return Link{bits | kClaimed}; }
    [[nodiscard]] constexpr Link with_next(std::uint32_t next) const {
        return Link{(bits & ~std::uint64_t{0xffffffff}) | next};
    }
};

/// Whether round `a` of a link comes after `b`; they are counted modulo 2^31.
constexpr bool is_later(std::uint32_t a, std::uint32_t b) {
    const std::uint32_t ahead = (a - b) & 0x7fffffffU;
    return ahead != 0 && ahead < 0x40000000U;
}

}  // namespace taskwork::task
