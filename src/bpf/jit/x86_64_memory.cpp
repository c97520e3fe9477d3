// SPDX-License-Identifier: Apache-2.0
//
// Loads, stores and atomic operations.
#include "bpf/jit/x86_64.hpp"

namespace taskwork::bpf::jit {

bool Translator::load(const bpf_insn& insn, bool checked) {
    const unsigned mode = BPF_MODE(insn.code);
    const bool is_signed = mode == kModeLoadSigned || mode == kModeProbeSigned;
    if (!is_signed && mode != BPF_MEM && mode != kModeProbe) {
        return false;
    }
    const Gp dst = kRegisters[insn.dst_reg];
    const unsigned bytes = access_bytes(insn.code);
    x86::Mem from = at(kRegisters[insn.src_reg], insn.off, bytes);
    Label astray;
    Label done;
    if (checked) {
        astray = out_.newLabel();
        done = out_.newLabel();
        from.setSize(8);
        out_.lea(x86::r11, from);
        out_.mov(kStateRegister, x86::ptr(x86::rbp, state_at_));
        out_.mov(x86::r10, x86::r11);
        out_.sub(x86::r10, x86::ptr(kStateRegister, kStateReadableStart));
        out_.cmp(x86::r10, x86::ptr(kStateRegister, kStateReadableSize));
        out_.jae(astray);
        from = at(x86::r11, 0, bytes);
    }
    switch (bytes) {
    case 1:
    case 2:
        is_signed ? out_.movsx(dst, from) : out_.movzx(dst.r32(), from);
        break;
    case 4:
        is_signed ? out_.movsxd(dst, from) : out_.mov(dst.r32(), from);
        break;
    default:
        out_.mov(dst, from);
        break;
    }
    if (checked) {
        out_.short_().jmp(done);
        out_.bind(astray);
        out_.xor_(dst.r32(), dst.r32());
        out_.bind(done);
    }
    return true;
}

Gp Translator::sized(const Gp& whole, unsigned bytes) {
    switch (bytes) {
    case 1:
        return whole.r8();
    case 2:
        return whole.r16();
    case 4:
        return whole.r32();
    default:
        return whole;
    }
}

bool Translator::store(const bpf_insn& insn) {
    const unsigned bytes = access_bytes(insn.code);
    const x86::Mem to = at(kRegisters[insn.dst_reg], insn.off, bytes);
    if (BPF_CLASS(insn.code) == BPF_STX) {
        out_.mov(to, sized(kRegisters[insn.src_reg], bytes));
    } else {
        const std::int64_t value = bytes == 1   ? static_cast<std::int8_t>(insn.imm)
                                   : bytes == 2 ? static_cast<std::int16_t>(insn.imm)
                                                : insn.imm;
        out_.mov(to, asmjit::Imm(value));
    }
    return true;
}

bool Translator::atomic(const bpf_insn& insn) {
    const unsigned bytes = access_bytes(insn.code);
    if (BPF_CLASS(insn.code) != BPF_STX || BPF_MODE(insn.code) != kModeAtomic) {
        return false;
    }
    if (insn.imm == kAtomicLoadAcquire) {
        // Loads acquire and stores release by themselves on this processor.
        bpf_insn plain = insn;
        plain.code = static_cast<std::uint8_t>(BPF_LDX | BPF_MEM | BPF_SIZE(insn.code));
        return load(plain, false);
    }
    if (insn.imm == kAtomicStoreRelease) {
        bpf_insn plain = insn;
        plain.code = static_cast<std::uint8_t>(BPF_STX | BPF_MEM | BPF_SIZE(insn.code));
        return store(plain);
    }
    if (bytes < 4) {
        return false;
    }
    const bool wide = bytes == 8;
    const Gp src = part(kRegisters[insn.src_reg], wide);
    const x86::Mem to = at(kRegisters[insn.dst_reg], insn.off, bytes);
    switch (insn.imm) {
    case BPF_ADD:
    case BPF_OR:
    case BPF_AND:
    case BPF_XOR:
        out_.lock().emit(*instruction_of(static_cast<unsigned>(insn.imm)), to, src);
        return true;
    case BPF_ADD | BPF_FETCH:
        out_.lock().xadd(to, src);
        return true;
    case BPF_XCHG:
        out_.xchg(to, src);
        return true;
    case BPF_CMPXCHG:
        out_.lock().cmpxchg(to, src, part(x86::rax, wide));
        if (!wide) {
            out_.mov(x86::eax, x86::eax);  // Not written if it was equal.
        }
        return true;
    case BPF_OR | BPF_FETCH:
    case BPF_AND | BPF_FETCH:
    case BPF_XOR | BPF_FETCH:
        fetch_logical(insn, wide);
        return true;
    default:
        return false;
    }
}

void Translator::fetch_logical(const bpf_insn& insn, bool wide) {
    const bool is_result = insn.src_reg == BPF_REG_0;
    const Gp value = part(x86::r11, wide);
    // rax is the old value here; what was in it is in r10, the operand too if that was R0.
    const Gp operand = part(is_result ? x86::r10 : kRegisters[insn.src_reg], wide);
    out_.lea(x86::r9, at(kRegisters[insn.dst_reg], insn.off, 8));
    const x86::Mem to = at(x86::r9, 0, wide ? 8 : 4);
    out_.mov(x86::r10, x86::rax);
    out_.mov(part(x86::rax, wide), to);
    Label again = out_.newLabel();
    out_.bind(again);
    out_.mov(value, part(x86::rax, wide));
    out_.emit(*instruction_of(static_cast<unsigned>(insn.imm & ~BPF_FETCH)), value, operand);
    out_.lock().cmpxchg(to, value, part(x86::rax, wide));
    out_.jne(again);
    if (is_result) {
        if (!wide) {
            out_.mov(x86::eax, x86::eax);
        }
    } else {
        out_.mov(part(kRegisters[insn.src_reg], wide), part(x86::rax, wide));
        out_.mov(x86::rax, x86::r10);
    }
}

}  // namespace taskwork::bpf::jit
