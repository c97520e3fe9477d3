// SPDX-License-Identifier: Apache-2.0
//
// The form of single instructions: opcodes, registers and reserved fields as the instruction set
// (RFC 9669) and the kernel's verifier have them. Where calls, jumps and addresses lead is the
// loader's part.
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <string>
#include <vector>

namespace taskwork::map {
struct Map;
}

namespace taskwork::bpf {

/// A call of a helper of which the verifier knows the same however it is come to.
struct KnownCall {
    std::uint32_t insn = 0;
    const map::Map* map = nullptr;  ///< bpf_map_lookup_elem: the array. Else:
    std::uint32_t callback = 0;     ///< bpf_loop without flags: the function.
};

/// Which instructions a program may have.
enum class InstructionSet : std::uint8_t {
    kernel,  ///< What the kernel's verifier lets through.
    /// Also what the instruction set defines and that verifier refuses: division by an immediate of
    /// 0, shifts by immediates beyond the width, calls through a register (callx).
    whole,
};

/// What is wrong with the instruction at `index` (not the second half of a pair), in the phrases of
/// the kernel's verifier; empty if nothing is.
/// Context: task.
std::string fault_of_form(const std::vector<bpf_insn>& insns, std::uint32_t index,
                          InstructionSet set = InstructionSet::kernel);

/// Two hexadecimal digits.
/// Context: task.
std::string hex_byte(unsigned value);

}  // namespace taskwork::bpf
