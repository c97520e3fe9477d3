// SPDX-License-Identifier: Apache-2.0
//
// Functions, jumps and calls.
#include "bpf/jit/x86_64.hpp"

#include "bpf/helpers.hpp"

namespace taskwork::bpf::jit {

Result<Image> Translator::translate() {
    if (code_.init(asmjit::Environment::host()) != asmjit::kErrorOk ||
        code_.attach(&out_) != asmjit::kErrorOk) {
        return no_memory();
    }
    code_.setErrorHandler(&errors_);
    find_labels();
    Image image;
    for (std::uint32_t begin = 0; begin < source_.insn_count;) {
        std::uint32_t end = begin + 1;
        while (end < source_.insn_count && !starts_function(end)) {
            ++end;
        }
        out_.align(asmjit::AlignMode::kCode, 16);
        image.functions.push_back({begin, static_cast<std::uint32_t>(out_.offset())});
        function(begin, end);
        begin = end;
    }
    if (refused_ != 0) {
        return Error{std::errc::not_supported,
                     "insn " + std::to_string(refused_ - 1) + ": opcode " +
                         std::to_string(source_.insns[refused_ - 1].code) + " has no translation"};
    }
    if (errors_.first != asmjit::kErrorOk || code_.flatten() != asmjit::kErrorOk ||
        code_.resolveUnresolvedLinks() != asmjit::kErrorOk) {
        return no_memory();
    }
    image.calls = std::move(calls_);
    image.code.resize(code_.codeSize());
    if (code_.copyFlattenedData(image.code.data(), image.code.size()) != asmjit::kErrorOk) {
        return no_memory();
    }
    return image;
}

void Translator::find_labels() {
    labels_.resize(source_.insn_count);
    for (std::uint32_t i = 0; i < source_.insn_count; ++i) {
        const bpf_insn& insn = source_.insns[i];
        if (insn.code == kLoadImmediate64) {
            ++i;
        } else if (is_jump(insn)) {
            want_label(i + 1 + distance(insn));
        } else if (is_call(insn) && insn.src_reg == static_cast<unsigned>(CallKind::subprogram)) {
            want_label(i + 1 + insn.imm);
        } else if (is_call(insn)) {
            calls_programs_ |= insn.src_reg == static_cast<unsigned>(CallKind::tail);
            if (const KnownCall* const known = known_loop(i)) {
                want_label(known->callback);
            }
        }
    }
}

void Translator::want_label(std::int64_t index) {
    Label& label = labels_[static_cast<std::size_t>(index)];
    if (!label.isValid()) {
        label = out_.newLabel();
    }
}

void Translator::function(std::uint32_t begin, std::uint32_t end) {
    bool makes_calls = false;
    bool needs_state = false;
    bool counts = false;
    bool loops = false;
    begin_ = begin;
    again_ = out_.newLabel();
    uses_frame_ = false;
    saved_count_ = 0;
    std::array<bool, MAX_BPF_REG + 1> used{};
    for (std::uint32_t i = begin; i < end; ++i) {
        const bpf_insn& insn = source_.insns[i];
        used[std::min<unsigned>(insn.dst_reg, MAX_BPF_REG)] = true;
        if (is_call(insn)) {
            makes_calls = needs_state = true;
            loops |= known_loop(i) != nullptr;
        } else {
            used[std::min<unsigned>(insn.src_reg, MAX_BPF_REG)] = true;
        }
        const bool is_may_goto = insn.code == (BPF_JMP | kOpConditionalPseudo);
        needs_state |= is_checked(i) || is_may_goto || is_counted(i);
        counts |= is_may_goto;
        i += insn.code == kLoadImmediate64 ? 1 : 0;
    }
    // Whoever is called finds its frame where the interpreter would have put it.
    uses_frame_ = used[BPF_REG_10] || makes_calls;

    if (label_at(begin).isValid()) {
        out_.bind(label_at(begin));
    }
    out_.push(x86::rbp);
    out_.mov(x86::rbp, x86::rsp);
    if (source_.counts) {
        charge(begin, end, begin);
    }
    std::int32_t depth = 0;
    state_at_ = loops_at_ = 0;
    if (needs_state) {
        out_.push(kStateRegister);
        state_at_ = depth -= 8;
    }
    if (counts) {
        out_.push(asmjit::Imm(kLoopsMax));
        loops_at_ = depth -= 8;
    }
    if (loops) {
        out_.sub(x86::rsp, 16);
        loop_at_ = depth -= 16;
    }
    for (unsigned i = kFirstSaved; i <= kLastSaved; ++i) {
        if (used[i]) {
            out_.push(kRegisters[i]);
            saved_[saved_count_++] = {i, depth -= 8};
        }
    }
    if (makes_calls && depth % 16 != 0) {
        out_.sub(x86::rsp, 8);
    }
    leaves_frame_ = depth != 0;
    if (uses_frame_) {
        out_.add(kFrame, kFrameBytes);
    }
    out_.bind(again_);
    for (std::uint32_t i = begin; i < end; ++i) {
        if (i != begin && label_at(i).isValid()) {
            out_.bind(label_at(i));
        }
        if (!instruction(i) && refused_ == 0) {
            refused_ = i + 1;
        }
        i += source_.insns[i].code == kLoadImmediate64 ? 1 : 0;
    }
    write_asides();
}

void Translator::leave() {
    give_back_frame();
    out_.ret();
}

void Translator::give_back_frame() {
    if (uses_frame_) {
        out_.sub(kFrame, kFrameBytes);
    }
    for (unsigned i = 0; i < saved_count_; ++i) {
        out_.mov(kRegisters[saved_[i].reg], x86::ptr(x86::rbp, saved_[i].at));
    }
    leaves_frame_ ? out_.leave() : out_.pop(x86::rbp);
}

bool Translator::instruction(std::uint32_t index) {
    const bpf_insn& insn = source_.insns[index];
    switch (BPF_CLASS(insn.code)) {
    case BPF_ALU:
        return arithmetic(insn, false);
    case BPF_ALU64:
        return arithmetic(insn, true);
    case BPF_JMP:
        return jump(insn, index, true);
    case BPF_JMP32:
        return jump(insn, index, false);
    case BPF_LD:
        if (insn.code != kLoadImmediate64) {
            return false;
        }
        set(kRegisters[insn.dst_reg],
            static_cast<std::uint32_t>(insn.imm) |
                std::uint64_t{static_cast<std::uint32_t>(source_.insns[index + 1].imm)} << 32);
        return true;
    case BPF_LDX:
        return load(insn, is_checked(index));
    case BPF_ST:
    case BPF_STX:
        return BPF_MODE(insn.code) == BPF_MEM ? store(insn) : atomic(insn);
    default:
        return false;
    }
}

std::optional<x86::CondCode> Translator::condition(unsigned operation) {
    switch (operation) {
    case BPF_JEQ:
        return x86::CondCode::kE;
    case BPF_JNE:
    case BPF_JSET:
        return x86::CondCode::kNE;
    case BPF_JGT:
        return x86::CondCode::kUnsignedGT;
    case BPF_JGE:
        return x86::CondCode::kUnsignedGE;
    case BPF_JLT:
        return x86::CondCode::kUnsignedLT;
    case BPF_JLE:
        return x86::CondCode::kUnsignedLE;
    case BPF_JSGT:
        return x86::CondCode::kSignedGT;
    case BPF_JSGE:
        return x86::CondCode::kSignedGE;
    case BPF_JSLT:
        return x86::CondCode::kSignedLT;
    case BPF_JSLE:
        return x86::CondCode::kSignedLE;
    default:
        return std::nullopt;
    }
}

bool Translator::jump(const bpf_insn& insn, std::uint32_t index, bool wide) {
    if (is_counted(index)) {
        // Whether it is taken or not.
        out_.mov(kStateRegister, x86::ptr(x86::rbp, state_at_));
        charge(static_cast<std::uint32_t>(std::int64_t{index} + 1 + distance(insn)), index + 1,
               index);
    }
    switch (BPF_OP(insn.code)) {
    case BPF_CALL:
        return wide && call(insn, index);
    case BPF_EXIT:
        leave();
        return wide;
    case BPF_JA:
        out_.jmp(target_of(index));
        return true;
    case kOpConditionalPseudo: {
        // may_goto: leaves the loop when no more rounds are left, or no more time for any.
        Label& target = target_of(index);
        out_.cmp(x86::ptr(x86::rbp, loops_at_, 8), 0);
        out_.je(target);
        out_.mov(kStateRegister, x86::ptr(x86::rbp, state_at_));
        out_.mov(x86::r11, x86::ptr(kStateRegister, kStateBudget, 8));
        out_.cmp(x86::r11, x86::ptr(kStateRegister, kStateMayGotoReserve, 8));
        out_.jl(target);
        out_.sub(x86::ptr(x86::rbp, loops_at_, 8), 1);
        return wide;
    }
    default:
        break;
    }
    const std::optional<x86::CondCode> when = condition(BPF_OP(insn.code));
    if (!when) {
        return false;
    }
    const Gp dst = part(kRegisters[insn.dst_reg], wide);
    const Gp src = part(kRegisters[std::min<unsigned>(insn.src_reg, BPF_REG_10)], wide);
    const bool immediate = BPF_SRC(insn.code) == BPF_K;
    if (BPF_OP(insn.code) == BPF_JSET) {
        immediate ? out_.test(dst, asmjit::Imm(insn.imm)) : out_.test(dst, src);
    } else if (immediate && insn.imm == 0) {
        out_.test(dst, dst);
    } else {
        immediate ? out_.cmp(dst, asmjit::Imm(insn.imm)) : out_.cmp(dst, src);
    }
    out_.j(*when, target_of(index));
    return true;
}

bool Translator::is_counted(std::uint32_t index) const {
    const bpf_insn& insn = source_.insns[index];
    return source_.counts && is_jump(insn) && distance(insn) < 0;
}

std::int32_t Translator::cost_of(std::uint32_t begin, std::uint32_t end) const {
    std::uint32_t bare = 0;
    for (std::uint32_t i = begin; i < end; ++i) {
        const bpf_insn& insn = source_.insns[i];
        if (insn.code == kLoadImmediate64) {
            ++i;
        } else if (is_call(insn) && insn.src_reg == static_cast<unsigned>(CallKind::helper) &&
                   helper(insn.imm).needs == Helper::Needs::nothing) {
            ++bare;
        }
    }
    return static_cast<std::int32_t>(1 + (end - begin) / kInsnsPerUnit + bare * kBareCallCost);
}

void Translator::charge(std::uint32_t begin, std::uint32_t end, std::uint32_t index) {
    const End none{out_.newLabel(), index};
    out_.sub(x86::ptr(kStateRegister, kStateBudget, 8), cost_of(begin, end));
    out_.jle(none.from);
    ends_.push_back(none);
}

bool Translator::call(const bpf_insn& insn, std::uint32_t index) {
    if (BPF_SRC(insn.code) == BPF_X) {
        out_.mov(kStateRegister, x86::ptr(x86::rbp, state_at_));
        // By register: a helper's number. Verified programs have no such call.
        Label none = out_.newLabel();
        Label done = out_.newLabel();
        const Gp number = kRegisters[insn.dst_reg];
        out_.cmp(number, x86::ptr(kStateRegister, kStateHelperCount));
        out_.jae(none);
        out_.mov(x86::r11, x86::ptr(kStateRegister, kStateHelpers));
        out_.mov(x86::ptr(kStateRegister, kStateFrame), kFrame);
        out_.call(x86::ptr(x86::r11, number, 3));
        out_.jmp(done);
        out_.bind(none);
        out_.xor_(x86::eax, x86::eax);
        out_.bind(done);
        return true;
    }
    switch (static_cast<CallKind>(insn.src_reg)) {
    case CallKind::subprogram:
        out_.mov(kStateRegister, x86::ptr(x86::rbp, state_at_));
        out_.call(label_at(std::int64_t{index} + 1 + insn.imm));
        own_program_again();
        return true;
    case CallKind::tail:
        tail_call(index);
        return true;
    case CallKind::helper:
        if (!inlined(insn, index)) {
            call_helper(insn, index);
        }
        return true;
    case CallKind::kfunc:
        call_helper(insn, index);
        return true;
    default:
        return false;
    }
}

void Translator::call_helper(const bpf_insn& insn, std::uint32_t index) {
    const bool helper = insn.src_reg == static_cast<unsigned>(CallKind::helper);
    // A number that must not be reached is that of helper 0, which ends the execution.
    const std::int32_t number = std::max(insn.imm, 0);
    out_.mov(kStateRegister, x86::ptr(x86::rbp, state_at_));
    out_.mov(x86::ptr(kStateRegister, kStateFrame), kFrame);
    out_.mov(x86::r11,
             x86::ptr(kStateRegister, helper || insn.imm < 0 ? kStateHelpers : kStateKfuncs));
    out_.call(x86::ptr(x86::r11, 8 * number));
    calls_.push_back({index, static_cast<std::uint32_t>(out_.offset())});
}

Result<Image> translate(const Source& source) {
    assume_task();
    return Translator(source).translate();
}

}  // namespace taskwork::bpf::jit
