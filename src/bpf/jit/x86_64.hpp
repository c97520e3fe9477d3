// SPDX-License-Identifier: Apache-2.0
//
// The translator for x86-64. The instructions are RFC 9669's, their results those of the
// interpreter.
//
//     R0 rax   R1 rdi   R2 rsi   R3 rdx   R4 rcx   R5 r8   R6 rbx   R7 r13   R8 r14   R9 r15
//     R10 r12: R1-R5 are the first five arguments of the System V ABI, R6-R9 and the frame what
//     calls keep
//
// r9, the sixth argument, is the state in a call; it, r10 and r11 are for single instructions. A
// native frame, from rbp down: the state, where anything in the function needs it; the loops that
// may_goto has left; the callee-saved registers that the function uses.
#pragma once

#include <asmjit/x86.h>

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "bpf/isa.hpp"
#include "bpf/jit/native.hpp"
#include "bpf/jit/translate.hpp"

namespace taskwork::bpf::jit {

namespace x86 = asmjit::x86;
using asmjit::Label;
using x86::Gp;

inline constexpr Gp kRegisters[MAX_BPF_REG] = {x86::rax, x86::rdi, x86::rsi, x86::rdx,
                                               x86::rcx, x86::r8,  x86::rbx, x86::r13,
                                               x86::r14, x86::r15, x86::r12};
inline constexpr Gp kFrame = x86::r12;
inline constexpr Gp kStateRegister = x86::r9;
inline constexpr unsigned kFirstSaved = BPF_REG_6;
inline constexpr unsigned kLastSaved = BPF_REG_9;

/// The part of a register that an operation of this width works on; a 32-bit result clears the
/// rest.
inline Gp part(const Gp& whole, bool wide) { return wide ? whole : whole.r32(); }

inline bool is_jump(const bpf_insn& insn) {
    const unsigned kind = BPF_CLASS(insn.code);
    const unsigned operation = BPF_OP(insn.code);
    return (kind == BPF_JMP || kind == BPF_JMP32) && operation != BPF_CALL && operation != BPF_EXIT;
}

inline bool is_call(const bpf_insn& insn) {
    return BPF_CLASS(insn.code) == BPF_JMP && BPF_OP(insn.code) == BPF_CALL;
}

/// Instructions that a jump skips.
inline std::int32_t distance(const bpf_insn& insn) {
    return insn.code == (BPF_JMP32 | BPF_JA) ? insn.imm : insn.off;
}

/// Keeps the first error of asmjit's functions.
class Errors final : public asmjit::ErrorHandler {
public:
    void handleError(asmjit::Error error, const char*, asmjit::BaseEmitter*) override {
        first = first == asmjit::kErrorOk ? error : first;
    }
    asmjit::Error first = asmjit::kErrorOk;
};

/// One translation.
class Translator {
public:
    explicit Translator(const Source& source)
        : source_(source),
          has_bmi2_(source.extensions &&
                    asmjit::CpuInfo::host().hasFeature(asmjit::CpuFeatures::X86::kBMI2)) {}

    Result<Image> translate();

private:
    static Error no_memory() {
        return {std::errc::not_enough_memory, "no memory to translate a program"};
    }

    bool starts_function(std::uint32_t index) const {
        return index == 0 || (source_.function_starts[index / 64] >> (index % 64) & 1) != 0;
    }
    bool is_checked(std::uint32_t index) const {
        return is_probe(source_.insns[index]) ||
               (source_.checked_loads != nullptr &&
                (source_.checked_loads[index / 64] >> (index % 64) & 1) != 0);
    }

    /// Whether it is a jump backwards that takes from the budget.
    bool is_counted(std::uint32_t index) const;

    /// A label before every instruction that something leads to.
    void find_labels();
    void want_label(std::int64_t index);
    Label& label_at(std::int64_t index) { return labels_[static_cast<std::size_t>(index)]; }
    /// Where a jump leads; at the first instruction of a function, a call leads to what is before.
    Label& target_of(std::uint32_t index) {
        const std::int64_t target = std::int64_t{index} + 1 + distance(source_.insns[index]);
        return target == begin_ ? again_ : label_at(target);
    }

    // False, here and below: the instruction has no translation.

    void function(std::uint32_t begin, std::uint32_t end);
    void leave();
    void give_back_frame();
    bool instruction(std::uint32_t index);
    static std::optional<x86::CondCode> condition(unsigned operation);
    bool jump(const bpf_insn& insn, std::uint32_t index, bool wide);
    bool call(const bpf_insn& insn, std::uint32_t index);
    /// What these instructions take from the budget (kInsnsPerUnit).
    [[nodiscard]] std::int32_t cost_of(std::uint32_t begin, std::uint32_t end) const;
    /// Takes it, and ends the execution if nothing is left. The state is in its register.
    void charge(std::uint32_t begin, std::uint32_t end, std::uint32_t index);

    void call_helper(const bpf_insn& insn, std::uint32_t index);

    // x86_64_inline.cpp

    [[nodiscard]] const KnownCall* known_call(std::uint32_t index) const;
    [[nodiscard]] const KnownCall* known_loop(std::uint32_t index) const;
    bool inlined(const bpf_insn& insn, std::uint32_t index);
    void state_result(std::int32_t offset, unsigned bytes);
    void array_lookup(const map::Map& map);
    void write_asides();
    void loop(const bpf_insn& insn, std::uint32_t index, std::uint32_t callback);
    void tail_call(std::uint32_t index);
    /// Behind a call of a function, in which another program may have been called.
    void own_program_again();

    // x86_64_arithmetic.cpp

    void set(const Gp& to, std::uint64_t value);
    /// The processor's instruction for an operation of two operands, where one does it.
    static std::optional<asmjit::InstId> instruction_of(unsigned operation);
    bool arithmetic(const bpf_insn& insn, bool wide);
    void move(const bpf_insn& insn, bool wide, const Gp& dst, const Gp& src, bool immediate);
    template <class Count>
    void shift(unsigned operation, const Gp& dst, Count count);
    void shift_by(unsigned operation, const Gp& dst, const Gp& src);
    void divide(const bpf_insn& insn, bool wide, bool immediate);
    bool convert(const bpf_insn& insn, bool wide);

    // x86_64_memory.cpp

    static x86::Mem at(const Gp& base, std::int32_t offset, unsigned bytes) {
        return x86::ptr(base, offset, bytes);
    }
    static Gp sized(const Gp& whole, unsigned bytes);
    bool load(const bpf_insn& insn, bool checked);
    bool store(const bpf_insn& insn);
    bool atomic(const bpf_insn& insn);
    /// The processor has no such instructions that give back the old value.
    void fetch_logical(const bpf_insn& insn, bool wide);

    /// The call of a helper that is rare, and out of the way.
    struct Aside {
        Label from;
        Label back;
        std::uint32_t call;
    };
    /// The end of an execution, at an instruction.
    struct End {
        Label from;
        std::uint32_t insn;
    };
    struct Saved {
        unsigned reg;
        std::int32_t at;  ///< From rbp.
    };
    /// Rounds of may_goto in a function.
    static constexpr std::int32_t kLoopsMax = kMayGotoMax;
    const Source& source_;
    const bool has_bmi2_;
    Errors errors_;
    asmjit::CodeHolder code_;
    x86::Assembler out_;
    std::vector<Label> labels_;
    std::vector<Place> calls_;
    std::uint32_t refused_ = 0;  ///< Index + 1.
    bool calls_programs_ = false;

    // The function at hand.
    std::uint32_t begin_ = 0;
    Label again_;  ///< Its first instruction, in its frame.
    std::vector<Aside> asides_;
    std::vector<End> ends_;
    bool uses_frame_ = false;
    bool leaves_frame_ = false;
    std::int32_t state_at_ = 0;
    std::int32_t loops_at_ = 0;
    std::int32_t loop_at_ = 0;  ///< Two words of a bpf_loop.
    std::array<Saved, kLastSaved - kFirstSaved + 1> saved_{};
    unsigned saved_count_ = 0;
};

}  // namespace taskwork::bpf::jit
