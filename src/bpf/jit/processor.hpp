// SPDX-License-Identifier: Apache-2.0
//
// Processor: what else is to be known of the processor that programs are translated for, in members
// too, which translate nothing. A translator brings its own (x86_64_processor.cpp); none.cpp stands
// in where there is none.
#pragma once

#include <cstdint>

namespace taskwork::bpf::jit {

struct Processor {
    bool has_translator;
    std::uint16_t elf_machine;  ///< EM_*
    // How a native function's frame is unwound, behind its beginning: the instructions of a CIE,
    // with DWARF's numbers of registers. Data alignment is -8.
    std::uint8_t return_address;  ///< Its register, or column.
    std::uint8_t frame_rules[7];
};
extern const Processor kProcessor;

}  // namespace taskwork::bpf::jit
