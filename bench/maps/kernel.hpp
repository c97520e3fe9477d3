// SPDX-License-Identifier: Apache-2.0
//
// The kernel's maps (kernel.bpf.c), driven by programs that BPF_PROG_TEST_RUN runs. Only as root on
// a kernel that can be the reference.
#pragma once

#include <cstdint>
#include <string>

#include "kernel_object.hpp"

namespace taskwork::bench {

class Kernel {
public:
    /// Threads that may run programs at the same time.
    static constexpr unsigned kLanes = 4;

    /// Its hash has room for `entries` elements and holds the keys 0 .. filled - 1.
    /// Context: task.
    Kernel(std::uint32_t entries, std::uint32_t filled);

    /// Why it cannot be measured; empty if it can. The rest is for one that can.
    [[nodiscard]] const std::string& why_not() const { return object_.why_not(); }

    struct Result {
        std::uint64_t ns;    ///< Of all operations, the loop around them included; 0: not run.
        std::uint64_t done;  ///< How many did what they were to.
    };
    /// Does `times` operations on the keys first .. first + count - 1, going on where the lane is.
    /// Context: task, one thread a lane.
    Result run(const char* program, std::uint64_t first, std::uint64_t count, std::uint32_t times,
               unsigned lane = 0);
    /// Where the lane's next run begins, to repeat one. Context: task.
    [[nodiscard]] std::uint64_t at(unsigned lane = 0) const { return at_[lane].key; }
    void go_to(std::uint64_t at, unsigned lane = 0) { at_[lane].key = at; }

    /// What the loop around so many operations takes, in ns; 0: not run. No lane moves.
    /// Context: task.
    std::uint64_t loop_ns(std::uint32_t times);

    /// Has a consumer pass all records. libbpf's own would map and poll. Context: task.
    bool consume();

private:
    Result run(const char* program, std::uint64_t first, std::uint64_t count, std::uint64_t stride,
               std::uint32_t times, unsigned lane);
    struct alignas(64) At {
        std::uint64_t key = 0;
    };
    KernelObject object_;
    ring_buffer* consumer_ = nullptr;
    At at_[kLanes];
};

/// One whose hash is full of so many elements: kSmall or kLarge. Context: task.
Kernel& kernel(std::uint32_t entries);

}  // namespace taskwork::bench
