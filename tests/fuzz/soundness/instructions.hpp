// SPDX-License-Identifier: Apache-2.0
//
// What the follower asks of an instruction.
#pragma once

#include <linux/bpf.h>

#include <cstdint>

#include "bpf/isa.hpp"

namespace taskwork::fuzz {

using bpf::CallKind;

inline bool calls(const bpf_insn& insn, CallKind kind) {
    return insn.code == (BPF_JMP | BPF_CALL) && insn.src_reg == static_cast<unsigned>(kind);
}

inline bool leaves(const bpf_insn& insn) { return insn.code == (BPF_JMP | BPF_EXIT); }

inline bool is_atomic(const bpf_insn& insn) {
    return BPF_CLASS(insn.code) == BPF_STX && BPF_MODE(insn.code) == bpf::kModeAtomic;
}

/// Registers that the instruction reads; of calls and exits nothing.
inline std::uint16_t read_by(const bpf_insn& insn) {
    const auto dst = static_cast<std::uint16_t>(1U << insn.dst_reg);
    const auto src = static_cast<std::uint16_t>(1U << insn.src_reg);
    const bool by_register = BPF_SRC(insn.code) == BPF_X;
    switch (BPF_CLASS(insn.code)) {
    case BPF_ALU:
    case BPF_ALU64: {
        const unsigned operation = BPF_OP(insn.code);
        std::uint16_t read = operation == BPF_MOV ? 0 : dst;
        if (by_register && operation != BPF_END) {
            read |= src;
        }
        return read;
    }
    case BPF_LDX:
        return src;
    case BPF_ST:
        return dst;
    case BPF_STX:
        if (is_atomic(insn) && insn.imm == bpf::kAtomicLoadAcquire) {
            return src;
        }
        return static_cast<std::uint16_t>(dst | src |
                                          (is_atomic(insn) && insn.imm == BPF_CMPXCHG ? 1 : 0));
    case BPF_JMP:
    case BPF_JMP32:
        if (BPF_OP(insn.code) == BPF_CALL || BPF_OP(insn.code) == BPF_EXIT ||
            BPF_OP(insn.code) == BPF_JA || BPF_OP(insn.code) == bpf::kOpConditionalPseudo) {
            return 0;
        }
        return static_cast<std::uint16_t>(dst | (by_register ? src : 0));
    default:
        return 0;
    }
}

}  // namespace taskwork::fuzz
