// SPDX-License-Identifier: Apache-2.0
#include "bpf/instruction.hpp"

#include "bpf/isa.hpp"

namespace taskwork::bpf {

std::string hex_byte(unsigned value) {
    static constexpr char digits[] = "0123456789abcdef";
    return {digits[value >> 4 & 15], digits[value & 15]};
}

namespace {

std::string unless(bool condition, const std::string& text) { return condition ? "" : text; }
std::string unknown_opcode(const bpf_insn& insn) { return "unknown opcode " + hex_byte(insn.code); }

std::string check_alu(const bpf_insn& insn, InstructionSet set) {
    const bool wide = BPF_CLASS(insn.code) == BPF_ALU64;
    const bool by_register = BPF_SRC(insn.code) == BPF_X;
    const unsigned operation = BPF_OP(insn.code);
    if (insn.dst_reg == BPF_REG_10) {
        return "frame pointer is read only";
    }
    switch (operation) {
    case BPF_END: {
        if (wide && by_register) {
            return unknown_opcode(insn);
        }
        const bool reserved_clear = insn.src_reg == 0 && insn.off == 0;
        const bool width = insn.imm == 16 || insn.imm == 32 || insn.imm == 64;
        return unless(reserved_clear && width, "BPF_END uses reserved fields");
    }
    case BPF_NEG:
        return unless(!by_register && insn.src_reg == 0 && insn.off == 0 && insn.imm == 0,
                      "BPF_NEG uses reserved fields");
    case BPF_MOV: {
        const bool sign_extends = insn.off == 8 || insn.off == 16 || (wide && insn.off == 32);
        const bool valid = by_register ? insn.imm == 0 && (insn.off == 0 || sign_extends)
                                       : insn.src_reg == 0 && insn.off == 0;
        return unless(valid, "BPF_MOV uses reserved fields");
    }
    case BPF_ADD:
    case BPF_SUB:
    case BPF_MUL:
    case BPF_OR:
    case BPF_AND:
    case BPF_XOR:
    case BPF_LSH:
    case BPF_RSH:
    case BPF_ARSH:
    case BPF_DIV:
    case BPF_MOD:
        break;
    default:
        return unknown_opcode(insn);
    }
    const bool divides = operation == BPF_DIV || operation == BPF_MOD;
    const bool shifts = operation == BPF_LSH || operation == BPF_RSH || operation == BPF_ARSH;
    const bool offset = insn.off == 0 || (divides && insn.off == kSignedDivision);
    if (!offset || (by_register ? insn.imm != 0 : insn.src_reg != 0)) {
        return "BPF_ALU uses reserved fields";
    }
    if (set == InstructionSet::whole) {
        return {};
    }
    if (divides && !by_register && insn.imm == 0) {
        return "div by zero";
    }
    if (shifts && !by_register && (insn.imm < 0 || insn.imm >= (wide ? 64 : 32))) {
        return "invalid shift " + std::to_string(insn.imm);
    }
    return {};
}

std::string check_jump(const bpf_insn& insn, InstructionSet set) {
    const bool wide = BPF_CLASS(insn.code) == BPF_JMP;
    const bool by_register = BPF_SRC(insn.code) == BPF_X;
    switch (BPF_OP(insn.code)) {
    case BPF_CALL:
        if (wide && by_register && set == InstructionSet::whole) {
            return unless(insn.src_reg == 0 && insn.off == 0 && insn.imm == 0,
                          "BPF_CALL uses reserved fields");
        }
        if (!wide || by_register) {
            return unknown_opcode(insn);
        }
        if (insn.src_reg > static_cast<unsigned>(CallKind::kfunc) || insn.dst_reg != 0 ||
            (insn.off != 0 && insn.src_reg != static_cast<unsigned>(CallKind::kfunc))) {
            return "BPF_CALL uses reserved fields";
        }
        return {};
    case BPF_EXIT:
        if (!wide || by_register) {
            return unknown_opcode(insn);
        }
        return unless(insn.src_reg == 0 && insn.dst_reg == 0 && insn.off == 0 && insn.imm == 0,
                      "BPF_EXIT uses reserved fields");
    case BPF_JA:
        if (by_register) {
            return unknown_opcode(insn);
        }
        return unless(insn.src_reg == 0 && insn.dst_reg == 0 &&
                          (wide ? insn.imm == 0 : insn.off == 0),
                      "BPF_JA uses reserved fields");
    case kOpConditionalPseudo:
        if (!wide || by_register) {
            return unknown_opcode(insn);
        }
        return unless(insn.src_reg == 0 && insn.dst_reg == 0 && insn.imm == 0,
                      "invalid may_goto imm " + std::to_string(insn.imm));
    case BPF_JEQ:
    case BPF_JNE:
    case BPF_JGT:
    case BPF_JGE:
    case BPF_JLT:
    case BPF_JLE:
    case BPF_JSET:
    case BPF_JSGT:
    case BPF_JSGE:
    case BPF_JSLT:
    case BPF_JSLE:
        return unless(by_register ? insn.imm == 0 : insn.src_reg == 0,
                      "BPF_JMP/JMP32 uses reserved fields");
    default:
        return unknown_opcode(insn);
    }
}

std::string check_atomic(const bpf_insn& insn) {
    if (insn.imm == kAtomicLoadAcquire) {
        return unless(insn.dst_reg != BPF_REG_10, "frame pointer is read only");
    }
    if (insn.imm == kAtomicStoreRelease) {
        return {};
    }
    if (BPF_SIZE(insn.code) != BPF_W && BPF_SIZE(insn.code) != BPF_DW) {
        return "invalid atomic operand size";
    }
    const bool fetches = (insn.imm & BPF_FETCH) != 0;
    switch (insn.imm) {
    case BPF_ADD:
    case BPF_ADD | BPF_FETCH:
    case BPF_AND:
    case BPF_AND | BPF_FETCH:
    case BPF_OR:
    case BPF_OR | BPF_FETCH:
    case BPF_XOR:
    case BPF_XOR | BPF_FETCH:
    case BPF_XCHG:
        // A fetch writes the source register.
        return unless(!fetches || insn.src_reg != BPF_REG_10, "frame pointer is read only");
    case BPF_CMPXCHG:
        return {};
    default:
        return "BPF_ATOMIC uses invalid atomic opcode " + hex_byte(static_cast<unsigned>(insn.imm));
    }
}

std::string check_memory(const bpf_insn& insn) {
    switch (BPF_CLASS(insn.code)) {
    case BPF_LDX: {
        const bool sign_extends =
            BPF_MODE(insn.code) == kModeLoadSigned && BPF_SIZE(insn.code) != BPF_DW;
        if (BPF_MODE(insn.code) != BPF_MEM && !sign_extends) {
            return unknown_opcode(insn);
        }
        if (insn.dst_reg == BPF_REG_10) {
            return "frame pointer is read only";
        }
        return unless(insn.imm == 0, "BPF_LDX uses reserved fields");
    }
    case BPF_ST:
        if (BPF_MODE(insn.code) != BPF_MEM) {
            return unknown_opcode(insn);
        }
        return unless(insn.src_reg == 0, "BPF_ST uses reserved fields");
    default:
        if (BPF_MODE(insn.code) == kModeAtomic) {
            return check_atomic(insn);
        }
        if (BPF_MODE(insn.code) != BPF_MEM) {
            return unknown_opcode(insn);
        }
        return unless(insn.imm == 0, "BPF_STX uses reserved fields");
    }
}

std::string check_wide_immediate(const bpf_insn& insn, const bpf_insn* second) {
    if (insn.code != kLoadImmediate64) {
        const unsigned mode = BPF_MODE(insn.code);
        if (mode == BPF_ABS || mode == BPF_IND) {
            return "BPF_LD_[ABS|IND] instructions not allowed for this program type";
        }
        return unknown_opcode(insn);
    }
    if (second == nullptr || second->code != 0 || second->dst_reg != 0 || second->src_reg != 0 ||
        second->off != 0 || insn.off != 0) {
        return "invalid bpf_ld_imm64 insn";
    }
    if (insn.dst_reg == BPF_REG_10) {
        return "frame pointer is read only";
    }
    if (insn.src_reg > static_cast<unsigned>(Pseudo::function)) {
        return insn.src_reg <= static_cast<unsigned>(Pseudo::map_index_value)
                   ? "maps by index (fd_array) are not available"
                   : "unrecognized bpf_ld_imm64 insn";
    }
    return {};
}

}  // namespace

std::string fault_of_form(const std::vector<bpf_insn>& insns, std::uint32_t index,
                          InstructionSet set) {
    const bpf_insn& insn = insns[index];
    const bpf_insn* second = index + 1 < insns.size() ? &insn + 1 : nullptr;
    if (insn.dst_reg >= MAX_BPF_REG || insn.src_reg >= MAX_BPF_REG) {
        return "R" + std::to_string(insn.dst_reg >= MAX_BPF_REG ? insn.dst_reg : insn.src_reg) +
               " is invalid";
    }
    switch (BPF_CLASS(insn.code)) {
    case BPF_ALU:
    case BPF_ALU64:
        return check_alu(insn, set);
    case BPF_JMP:
    case BPF_JMP32:
        return check_jump(insn, set);
    case BPF_LD:
        return check_wide_immediate(insn, second);
    default:
        return check_memory(insn);
    }
}

}  // namespace taskwork::bpf
