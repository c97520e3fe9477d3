// SPDX-License-Identifier: Apache-2.0
//
// Generator: programs that the verifier has reason to accept. It knows what its registers hold (a
// number, a pointer to so many bytes) and writes what programs do: lookups with a check for null,
// numbers bounded in one of a dozen ways before they are offsets, spills and fills, branches,
// loops, calls, callbacks, records. Now and then it errs; at the end a few instructions may be
// changed at random.
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <vector>

#include "bpf/verifier/verifier.hpp"
#include "tests/fuzz/soundness/choices.hpp"

namespace taskwork::fuzz {

/// The maps that programs use, as descriptors for the loader.
struct MapFds {
    int values = 0;     ///< Array of 2 values of 64 bytes.
    int hash = 0;       ///< Hash, keys of 4 bytes, values of 48.
    int ring = 0;       ///< Ring buffer.
    int direct = 0;     ///< Array of one value of 128 bytes.
    int constants = 0;  ///< The same, frozen, read-only to programs.
    // Not of the kernel. Arrays of 2 values of 64 bytes, whose last 8 are no memory of programs'.
    int spin = 0;       ///< There, a struct bpf_spin_lock;
    int resilient = 0;  ///< a struct bpf_res_spin_lock;
    int works = 0;      ///< a struct bpf_task_work.
    int programs = 0;   ///< For programs of perf events: the program itself, and nothing.
    static constexpr unsigned kSpecialAt = 56;
};

struct Generated {
    std::uint32_t type = 0;  ///< BPF_PROG_TYPE_*
    std::vector<bpf_insn> insns;
    std::vector<bpf::verifier::FunctionInfo> functions;
};

/// Who runs the programs.
enum class Audience : std::uint8_t {
    ours,
    /// Our engines, of which all is compared that is left in memory: in main's frame lies at the
    /// end what was in registers.
    engines,
    /// And the kernel, which must come to the same: only of the type that it runs on demand, of
    /// numbers, memory and helpers whose results repeat; frames are filled before they are used,
    /// and what is in registers and in the stack at the end is left in the context.
    kernel
};

Generated generate(Choices& choices, const MapFds& maps, Audience audience = Audience::ours);

}  // namespace taskwork::fuzz
