// SPDX-License-Identifier: Apache-2.0
//
// Arithmetic: two operands of 64 or 32 bits, the second a register or a constant.
#include "bpf/jit/x86_64.hpp"

namespace taskwork::bpf::jit {

void Translator::set(const Gp& to, std::uint64_t value) {
    if (value == 0) {
        out_.xor_(to.r32(), to.r32());
    } else if (value <= UINT32_MAX) {
        out_.mov(to.r32(), static_cast<std::uint32_t>(value));
    } else {
        out_.mov(to, value);
    }
}

std::optional<asmjit::InstId> Translator::instruction_of(unsigned operation) {
    switch (operation) {
    case BPF_ADD:
        return x86::Inst::kIdAdd;
    case BPF_SUB:
        return x86::Inst::kIdSub;
    case BPF_OR:
        return x86::Inst::kIdOr;
    case BPF_AND:
        return x86::Inst::kIdAnd;
    case BPF_XOR:
        return x86::Inst::kIdXor;
    default:
        return std::nullopt;
    }
}

bool Translator::arithmetic(const bpf_insn& insn, bool wide) {
    const Gp dst = part(kRegisters[insn.dst_reg], wide);
    const Gp src = part(kRegisters[std::min<unsigned>(insn.src_reg, BPF_REG_10)], wide);
    const bool immediate = BPF_SRC(insn.code) == BPF_K;
    const asmjit::Imm imm(insn.imm);
    if (const std::optional<asmjit::InstId> instruction = instruction_of(BPF_OP(insn.code))) {
        immediate ? out_.emit(*instruction, dst, imm) : out_.emit(*instruction, dst, src);
        return true;
    }
    switch (BPF_OP(insn.code)) {
    case BPF_MUL:
        immediate ? out_.imul(dst, dst, imm) : out_.imul(dst, src);
        return true;
    case BPF_NEG:
        out_.neg(dst);
        return true;
    case BPF_MOV:
        move(insn, wide, dst, src, immediate);
        return true;
    case BPF_LSH:
    case BPF_RSH:
    case BPF_ARSH:
        if (immediate) {
            shift(BPF_OP(insn.code), dst, insn.imm & (wide ? 63 : 31));
        } else {
            shift_by(BPF_OP(insn.code), dst, src);
        }
        return true;
    case BPF_DIV:
    case BPF_MOD:
        divide(insn, wide, immediate);
        return true;
    case BPF_END:
        return convert(insn, wide);
    default:
        return false;
    }
}

void Translator::move(const bpf_insn& insn, bool wide, const Gp& dst, const Gp& src,
                      bool immediate) {
    if (immediate) {
        set(kRegisters[insn.dst_reg], wide ? static_cast<std::uint64_t>(std::int64_t{insn.imm})
                                           : static_cast<std::uint32_t>(insn.imm));
        return;
    }
    switch (insn.off) {
    case 8:
        out_.movsx(dst, src.r8());
        return;
    case 16:
        out_.movsx(dst, src.r16());
        return;
    case 32:
        if (wide) {
            out_.movsxd(dst, src.r32());
            return;
        }
        break;
    default:
        break;
    }
    if (!wide || insn.dst_reg != insn.src_reg) {
        out_.mov(dst, src);
    }
}

template <class Count>
void Translator::shift(unsigned operation, const Gp& dst, Count count) {
    switch (operation) {
    case BPF_LSH:
        out_.shl(dst, count);
        break;
    case BPF_RSH:
        out_.shr(dst, count);
        break;
    default:
        out_.sar(dst, count);
        break;
    }
    if (dst.isGpd()) {
        // A shift by nothing writes nothing: the upper half would stay.
        out_.mov(dst, dst);
    }
}

void Translator::shift_by(unsigned operation, const Gp& dst, const Gp& src) {
    // The processor takes counts modulo the width, as the instruction set wants it.
    if (has_bmi2_) {
        operation == BPF_LSH   ? out_.shlx(dst, dst, src)
        : operation == BPF_RSH ? out_.shrx(dst, dst, src)
                               : out_.sarx(dst, dst, src);
        return;
    }
    const bool counts_itself = src.id() == x86::rcx.id();
    const bool is_count = dst.id() == x86::rcx.id();
    const Gp work = is_count ? part(x86::r11, dst.isGpq()) : dst;
    if (!counts_itself || is_count) {
        out_.mov(x86::r11, x86::rcx);
    }
    if (!counts_itself) {
        out_.mov(x86::ecx, src.r32());
    }
    shift(operation, work, x86::cl);
    if (!counts_itself || is_count) {
        out_.mov(x86::rcx, x86::r11);
    }
}

void Translator::divide(const bpf_insn& insn, bool wide, bool immediate) {
    const Gp dst = kRegisters[insn.dst_reg];
    const Gp divisor = part(x86::r11, wide);
    const bool is_signed = insn.off == kSignedDivision;
    const bool wants_rest = BPF_OP(insn.code) == BPF_MOD;
    Label done = out_.newLabel();
    Label by_zero = out_.newLabel();
    Label by_minus_one = out_.newLabel();

    if (immediate) {
        out_.mov(divisor, insn.imm);
    } else {
        out_.mov(divisor, part(kRegisters[insn.src_reg], wide));
    }
    const bool may_be_zero = !immediate || insn.imm == 0;
    const bool may_be_minus_one = is_signed && (!immediate || insn.imm == -1);
    if (may_be_zero) {
        out_.test(divisor, divisor);
        out_.jz(by_zero);
    }
    if (may_be_minus_one) {
        // The most negative number divided by -1 is a fault to the processor.
        out_.cmp(divisor, -1);
        out_.je(by_minus_one);
    }
    if (dst != x86::rax) {
        out_.mov(x86::r10, x86::rax);
        out_.mov(part(x86::rax, wide), part(dst, wide));
    }
    if (dst != x86::rdx) {
        out_.mov(x86::r9, x86::rdx);
    }
    const Gp low = part(x86::rax, wide);
    const Gp high = part(x86::rdx, wide);
    if (is_signed) {
        wide ? out_.cqo() : out_.cdq();
        out_.idiv(high, low, divisor);
    } else {
        out_.xor_(x86::edx, x86::edx);
        out_.div(high, low, divisor);
    }
    const Gp result = wants_rest ? high : low;
    if (part(dst, wide) != result) {
        out_.mov(part(dst, wide), result);
    }
    if (dst != x86::rax) {
        out_.mov(x86::rax, x86::r10);
    }
    if (dst != x86::rdx) {
        out_.mov(x86::rdx, x86::r9);
    }
    if (may_be_zero || may_be_minus_one) {
        out_.jmp(done);
    }
    if (may_be_minus_one) {
        out_.bind(by_minus_one);
        if (wants_rest) {
            out_.xor_(dst.r32(), dst.r32());
        } else {
            out_.neg(part(dst, wide));
        }
        if (may_be_zero) {
            out_.jmp(done);
        }
    }
    if (may_be_zero) {
        out_.bind(by_zero);
        if (!wants_rest) {
            out_.xor_(dst.r32(), dst.r32());
        } else if (!wide) {
            out_.mov(dst.r32(), dst.r32());
        }
    }
    out_.bind(done);
}

bool Translator::convert(const bpf_insn& insn, bool wide) {
    const Gp dst = kRegisters[insn.dst_reg];
    const bool swaps = wide || BPF_SRC(insn.code) == BPF_TO_BE;
    switch (insn.imm) {
    case 16:
        if (swaps) {
            out_.rol(dst.r16(), 8);
        }
        out_.movzx(dst.r32(), dst.r16());
        return true;
    case 32:
        swaps ? out_.bswap(dst.r32()) : out_.mov(dst.r32(), dst.r32());
        return true;
    case 64:
        if (swaps) {
            out_.bswap(dst);
        }
        return true;
    default:
        return false;
    }
}

}  // namespace taskwork::bpf::jit
