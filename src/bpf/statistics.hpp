// SPDX-License-Identifier: Apache-2.0
//
// Statistics of executions: how many, and for how long. Taken while somebody asks for them, as in
// the kernel (BPF_ENABLE_STATS): reading the clock twice takes longer than a small program.
#pragma once

#include <cstdint>

#include "bpf/program.hpp"

namespace taskwork::bpf {

/// Asks for them as long as it lives, for all programs of the domain. Host only, while the domain
/// has its table of programs.
/// Context: task.
class Statistics {
public:
    Statistics() noexcept {
        ProgramTable::get().statistics.fetch_add(1, std::memory_order_relaxed);
    }
    ~Statistics() { ProgramTable::get().statistics.fetch_sub(1, std::memory_order_relaxed); }
    Statistics(const Statistics&) = delete;
    Statistics& operator=(const Statistics&) = delete;
};

/// An execution, from here to the end of the scope.
/// Context: any.
class CountedExecution {
public:
    CountedExecution(platform::Atomic<std::uint64_t>& count,
                     platform::Atomic<std::uint64_t>& ns) noexcept
        : count_(count), ns_(ns),
          is_counted_(ProgramTable::get().statistics.load(std::memory_order_relaxed) != 0),
          start_ns_(is_counted_ ? platform::now_ns() : 0) {}
    ~CountedExecution() {
        if (is_counted_) {
            count_.fetch_add(1, std::memory_order_relaxed);
            ns_.fetch_add(platform::now_ns() - start_ns_, std::memory_order_relaxed);
        }
    }
    CountedExecution(const CountedExecution&) = delete;
    CountedExecution& operator=(const CountedExecution&) = delete;

private:
    platform::Atomic<std::uint64_t>& count_;
    platform::Atomic<std::uint64_t>& ns_;
    const bool is_counted_;
    const std::uint64_t start_ns_;
};

}  // namespace taskwork::bpf
