// SPDX-License-Identifier: Apache-2.0
//
// Processors, as programs know them: a number that is theirs alone while they run, which chooses
// the slot of a per-CPU value. In the kernel a program that an event starts cannot leave its
// processor, nor can another one run there meanwhile. Here a thread can be preempted or moved in
// the middle of its handler, and another one's handler run on the same processor. If both took its
// number, the plain `value = value + 1` of a program would lose updates.
//
// So an execution in nmi claims a number: that of the processor it finds itself on, or, if that is
// taken, another one that is free, and keeps it to its end. There are as many as the machine has
// processors, for user space knows no more slots. If all are taken (by preempted threads) it shares
// its processor's number, and is counted: what it and others of that number update without an
// atomic instruction may be lost then, but not in silence (the report of `run` tells).
//
// Executions in task context and callbacks can be preempted in the kernel too; they claim nothing
// and keep the number that they began with.
#pragma once

#include <cstdint>

#include "base/errc.hpp"
#include "sync/platform.hpp"

namespace taskwork::map {

struct alignas(64) Processor {
    platform::Atomic<std::uint32_t> owner;  ///< Process that runs on it, + 1; 0: nobody.
};

class Processors {
public:
    struct Claim {
        std::uint32_t number = 0;
        bool exclusive = false;
    };

    /// As many as the machine may have (/sys/devices/system/cpu/possible). Host only; part of
    /// MapTable::create(). Errors: not_enough_memory.
    /// Context: task.
    std::errc create() noexcept;

    [[nodiscard]] std::uint32_t count() const noexcept { return count_; }
    /// `current`: where the thread runs now.
    /// Context: any.
    Claim claim(std::uint16_t owner, std::uint32_t current) noexcept;
    /// Context: any. By the thread that claimed.
    void release(const Claim& claim) noexcept;
    /// Claims that found all numbers taken.
    /// Context: any.
    [[nodiscard]] std::uint64_t shared() const noexcept {
        return shared_.load(std::memory_order_relaxed);
    }
    /// Context: irq.
    void sweep(std::uint16_t dead_owner) noexcept;

private:
    Processor* processors_ = nullptr;
    std::uint32_t count_ = 0;
    platform::Atomic<std::uint64_t> shared_;
};

}  // namespace taskwork::map
