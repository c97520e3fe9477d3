// SPDX-License-Identifier: Apache-2.0
//
// translate: BPF instructions to machine code, in one pass, one native function for each function
// of the program. The encoding is asmjit's. The build chooses the translator by the processor:
//
//     x86_64*.cpp, enter_x86_64.S    translate(), kProcessor, and the way into native code and out
//     none.cpp                       where there is none: programs are interpreted
#pragma once

#include <linux/bpf.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/context.hpp"
#include "base/result.hpp"
#include "bpf/instruction.hpp"
#include "bpf/jit/native_code.hpp"

namespace taskwork::bpf {
struct Program;
}

namespace taskwork::bpf::jit {

/// A program whose structure the loader has checked, rewritten (program.hpp).
struct Source {
    const bpf_insn* insns = nullptr;
    std::uint32_t insn_count = 0;
    /// A bit an instruction: a function begins here. Instruction 0 always does.
    const std::uint64_t* function_starts = nullptr;
    /// A bit an instruction: this load, as those that is_probe() tells, reads by a pointer that
    /// nobody vouches for. It gives 0 where NativeState does not say that the address is readable.
    /// nullptr: none.
    const std::uint64_t* checked_loads = nullptr;
    /// What the verifier found out about calls, ascending; nullptr: nothing.
    const std::vector<KnownCall>* known_calls = nullptr;
    /// The program that this becomes, which calls of others lead away from; nullptr: there is none.
    Program* program = nullptr;
    /// Whether functions and loops take from the execution's budget: nobody has walked all of it.
    bool counts = false;
    /// Whether instructions may be used that not every processor of this kind has (but this one).
    bool extensions = true;
};

/// Machine code. It may stand at any address.
struct Image {
    std::vector<std::byte> code;
    std::vector<Place> functions;  ///< Where functions begin, ascending.
    std::vector<Place> calls;      ///< Where calls of helpers and kfuncs return to, ascending.
};

/// Errors: not_enough_memory, not_supported (an instruction that this processor's translator does
/// not know, or there is no translator).
/// Context: task.
TW_TASK_ONLY Result<Image> translate(const Source& source);

}  // namespace taskwork::bpf::jit
