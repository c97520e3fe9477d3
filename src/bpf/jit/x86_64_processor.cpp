// SPDX-License-Identifier: Apache-2.0
#include <elf.h>

#include "bpf/jit/processor.hpp"

namespace taskwork::bpf::jit {

namespace {

constexpr std::uint8_t kDefCfa = 0x0c;  // DW_CFA_def_cfa
constexpr std::uint8_t kOffset = 0x80;  // DW_CFA_offset, with the register
constexpr std::uint8_t kRbp = 6;
constexpr std::uint8_t kReturnAddress = 16;

}  // namespace

constinit const Processor kProcessor{
    .has_translator = true,
    .elf_machine = EM_X86_64,
    .return_address = kReturnAddress,
    .frame_rules = {kDefCfa, kRbp, 16, kOffset | kReturnAddress, 1, kOffset | kRbp, 2},
};

}  // namespace taskwork::bpf::jit
