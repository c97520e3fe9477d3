// SPDX-License-Identifier: Apache-2.0
//
// The code region: where translated programs stand, at one address in every process of the domain.
// It is the end of the arena's memfd, behind the arena itself, mapped executable and nowhere
// writable: the host writes it through the descriptor. So no stray store of a member changes code.
//
// Where perf is to find names it is a segment (code_segment.hpp), so mapped and so written.
//
// Memory comes with what is written, and goes with what is given back. A process that may not map
// executable memory interprets; so does the whole domain if its host may not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <system_error>

#include "base/context.hpp"
#include "sync/arena.hpp"

namespace taskwork::bpf::jit {

class CodeRegion {
public:
    /// Of address space.
    static constexpr std::size_t kBytes = std::size_t{32} << 20;
    /// In the range that is the arena's, at the end which only the largest arenas reach.
    static constexpr std::uintptr_t kBase = sync::kArenaBase + sync::kArenaSizeMax - kBytes;

    /// Adds it to the domain of this host, and maps it. Errors: permission_denied,
    /// operation_not_permitted (executable memory is forbidden), file_too_large (RLIMIT_FSIZE),
    /// not_enough_memory, not_supported (the arena is private), operation_canceled
    /// (why_unwanted()). Context: task.
    TW_TASK_ONLY static std::errc create() noexcept;
    /// Why native code has no names for perf though they are asked for: this host's region is no
    /// segment (CodeSegment::create()). no_error: it is one, nobody asks, or there is no region.
    /// Context: any.
    static std::errc why_nameless() noexcept;
    /// Maps it in a member, from the arena's descriptor. Errors: as create();
    /// no_such_device_or_address (the domain has none).
    /// Context: task.
    TW_TASK_ONLY static std::errc map(int arena_fd) noexcept;
    /// Forgets it. Nobody runs anything of it in this process any more.
    /// Context: task.
    TW_TASK_ONLY static void unmap() noexcept;

    /// Why this build or the environment lets no program be native code, in some words; nullptr:
    /// they do. (ThreadSanitizer does not see what native code does.)
    /// Context: task.
    TW_TASK_ONLY static const char* why_unwanted() noexcept;
    /// Whether this process can run what is in it.
    /// Context: any.
    static bool usable() noexcept;
    /// Context: any.
    static constexpr bool contains(std::uintptr_t address) noexcept {
        return address - kBase < kBytes;
    }

    /// Copies code to a place of its own, aligned to 64; nullptr: no room or no memory, or not
    /// usable(). Host only.
    /// Context: task. Takes a lock of the host.
    TW_TASK_ONLY static const std::byte* place(const void* code, std::size_t size) noexcept;
    /// Gives it back, when nobody runs it any more. Host only.
    /// Context: task, irq. Takes a lock of the host.
    static void release(const std::byte* code, std::size_t size) noexcept;
};

}  // namespace taskwork::bpf::jit
