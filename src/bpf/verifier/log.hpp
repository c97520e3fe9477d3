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
/// Levels of the log, as bpf(2)'s.
inline constexpr std::uint32_t kLogPath = 1;
inline constexpr std::uint32_t kLogAll = 2;
inline constexpr std::uint32_t kLogStatistics = 4;

inline constexpr std::uint32_t kAllRegisters = ~0U;
inline constexpr std::uint64_t kAllSlots = ~0ULL;

/// "R1=map_value(map=counts,ks=4,vs=8)" without the "R1=". Of a pointer into the stack the frame is
/// named if it is not `frame`.
std::string describe(const Register& reg, unsigned frame = 0);
/// Registers and stack of one frame, each with a blank before it; of the registers only those in
/// `registers`, of the slots those in `slots`.
std::string describe_frame(const State& state, unsigned frame,
                           std::uint32_t registers = kAllRegisters,
                           std::uint64_t slots = kAllSlots);
/// Of the innermost frame.
std::string describe(const State& state, std::uint32_t registers = kAllRegisters,
                     std::uint64_t slots = kAllSlots);
/// Those that the instruction reads or writes.
std::uint32_t registers_of(const bpf_insn& insn);
/// "(b7) r0 = 0": the instruction at `index`.
std::string describe(const std::vector<bpf_insn>& insns, std::uint32_t index);
/// "+=", ...: of an ALU operation.
const char* operator_of(unsigned code);

}  // namespace taskwork::bpf::verifier
