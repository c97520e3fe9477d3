// SPDX-License-Identifier: Apache-2.0
//
// The verifier's text: instructions, registers and states in the kernel's notation. Of this folder
// only.
#pragma once

#include <linux/bpf.h>

#include <cstdarg>
#include <string>
#include <vector>

#include "bpf/verifier/state.hpp"

namespace taskwork::bpf::verifier {

/// printf into a string.
[[gnu::format(printf, 1, 2)]] std::string text_of(const char* format, ...);
std::string text_of(const char* format, std::va_list arguments);

/// "map_value_or_null", "scalar", "trusted_ptr_": as messages name it.
std::string type_name(const Register& reg);
const char* name_of(Struct structure);
/// A number, or "(0x0; 0xff)".
std::string describe(Tnum bits);
/// "R1=map_value(map=counts,ks=4,vs=8)" without the "R1=".
std::string describe(const Register& reg);
/// Registers and stack of the innermost frame, each with a blank before it; of the registers only
/// those in `registers`, of the slots those in `slots`.
std::string describe(const State& state, std::uint32_t registers = ~0U,
                     std::uint64_t slots = ~0ULL);
/// "(b7) r0 = 0": the instruction at `index`.
std::string describe(const std::vector<bpf_insn>& insns, std::uint32_t index);
/// "+=", ...: of an ALU operation.
const char* operator_of(unsigned code);

}  // namespace taskwork::bpf::verifier
