// SPDX-License-Identifier: Apache-2.0
//
// Where the text of bpf_trace_printk() goes: lines in the arena, written in any context by any
// member, read by the host (drain_trace() in program.hpp).
//
// A line is an object of a pool: its word says free, being written (by which process) or ready, so
// a writer that dies leaves nothing but a line of its own, which the sweep takes back. Lines carry
// numbers; a drain prints what is ready in the order of the numbers. No free line: dropped,
// counted.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/errc.hpp"
#include "sync/platform.hpp"
#include "sync/pool.hpp"
#include "task/task.hpp"

namespace taskwork::bpf {

struct alignas(64) TraceLine {
    sync::AtomicWord word;
    std::uint64_t number;  ///< Order of the lines of a domain.
    std::uint64_t time_ns;
    std::int32_t tid;
    std::uint32_t processor;
    char name[16];
    char text[464];  ///< NUL terminated.
};
static_assert(sizeof(TraceLine) == 512);

struct TraceRing {
    static constexpr std::uint32_t kLines = 512;

    sync::Pool lines;
    platform::Atomic<std::uint64_t> next_number;
    platform::Atomic<std::uint64_t> dropped;

    /// Creates in the arena, with a sweeper for the dead. nullptr: no memory. Host only.
    /// Context: task.
    static TraceRing* create() noexcept;

    /// A line to write into, with all but its text filled in; nullptr: none free (counted).
    /// Context: any.
    TraceLine* begin(const task::Task& task) noexcept;
    /// Lets the host see it, when it looks next: nobody is woken, so that a line costs no system
    /// call. Context: any.
    void commit(TraceLine& line) noexcept;
    /// Gives it back unseen.
    /// Context: any.
    void abandon(TraceLine& line) noexcept;

    /// Hands over what is ready as lines of the form of the kernel's trace pipe, each ending in a
    /// newline, and a line that tells what was dropped since the last time.
    /// Context: task (host).
    void drain(void (*sink)(void* argument, const char* line, std::size_t size), void* argument);
};

}  // namespace taskwork::bpf
