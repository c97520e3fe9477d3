// SPDX-License-Identifier: Apache-2.0
//
// CodeSegment: the code region as a System V segment, in place of the end of the arena's memfd.
// perf reads the names in a perf map only for memory that it takes for nobody's file; a memfd is
// one to it, and a segment is not. So a domain has it if its names are asked for
// (TASKWORK_PERF_MAP), and if such segments may be had.
//
// It goes with the last process that has it mapped. As the memfd, it is mapped writable only while
// the host writes, elsewhere than it is executed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <system_error>

#include "base/context.hpp"

namespace taskwork::bpf::jit {

class CodeSegment {
public:
    /// Bytes at the region's beginning that say whose it is.
    static constexpr std::size_t kHeadBytes = 64;

    /// Makes one, maps it executable where the region is, and notes it behind the arena in this
    /// file. Errors: those of shmget(2), shmat(2), pwrite(2). Host only.
    /// Context: task.
    TW_TASK_ONLY static std::errc create(int arena_fd) noexcept;
    /// Whether one of this size may be had and mapped there. Errors: those of shmget(2), shmat(2).
    /// Precondition: nothing is mapped where the region is.
    /// Context: task.
    TW_TASK_ONLY static std::errc probe() noexcept;
    /// Maps the domain's. Errors: no_such_device_or_address (it has none, or not for this process:
    /// in another IPC namespace), those of shmat(2).
    /// Context: task.
    TW_TASK_ONLY static std::errc map(int arena_fd) noexcept;
    /// Whether this host's region is one.
    /// Context: any.
    static bool exists() noexcept;
    /// Of a host whose next region is none, perhaps.
    /// Context: task.
    TW_TASK_ONLY static void forget() noexcept;

    /// Copies code to its place. False: no memory. Host only. Precondition: exists().
    /// Context: task.
    TW_TASK_ONLY static bool write(std::uintptr_t address, const void* code,
                                   std::size_t size) noexcept;
    /// Gives back the whole pages in it. Host only. Precondition: exists().
    /// Context: task, irq.
    static void give_back(std::uintptr_t address, std::size_t size) noexcept;
};

}  // namespace taskwork::bpf::jit
