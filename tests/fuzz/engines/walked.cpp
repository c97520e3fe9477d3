// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/engines/walked.hpp"

#include <algorithm>

#include "tests/fuzz/soundness/instructions.hpp"

namespace taskwork::fuzz {

using bpf::verifier::Register;
using bpf::verifier::Slot;
using bpf::verifier::State;
using bpf::verifier::Type;

namespace {

/// What generated programs give helpers of memory, at most.
constexpr int kArgumentBytes = 64;
/// Of global functions; and of keys, twice.
constexpr int kSmallBytes = 16;

struct HelperArguments {
    std::int32_t helper;
    std::array<unsigned, 2> numbers;                      ///< Registers; 0: none.
    std::array<std::pair<unsigned, int>, 2> memory = {};  ///< Registers, and bytes behind them.
};
constexpr HelperArguments kHelpers[] = {
    {BPF_FUNC_map_lookup_elem, {}, {{{2, 4}}}},
    {BPF_FUNC_map_update_elem, {4}, {{{2, 4}, {3, kArgumentBytes}}}},
    {BPF_FUNC_map_delete_elem, {}, {{{2, 4}}}},
    {BPF_FUNC_for_each_map_elem, {4}},
    {BPF_FUNC_loop, {1, 4}},
    {BPF_FUNC_ringbuf_reserve, {2, 3}},
    {BPF_FUNC_ringbuf_submit, {2}},
    {BPF_FUNC_ringbuf_discard, {2}},
    {BPF_FUNC_ringbuf_output, {3, 4}, {{{2, kArgumentBytes}}}},
    {BPF_FUNC_ringbuf_query, {2}},
    {BPF_FUNC_get_current_comm, {2}, {{{1, kArgumentBytes}}}},
    {BPF_FUNC_strncmp, {2}, {{{1, kArgumentBytes}}}},
};

bool holds_pointer(const Slot& slot) { return slot.is_spilled() && slot.spilled.is_pointer(); }

/// Whether [offset, offset + bytes) behind a pointer into a stack may have something of an address.
bool holds_address(const State& state, const Register& to, int offset, int bytes) {
    if (to.type != Type::stack) {
        return false;
    }
    const std::vector<Slot>& stack = state.frames[to.frame].stack;
    const std::int64_t first = to.value.s64.min + to.offset + offset;
    const std::int64_t end = to.value.s64.max + to.offset + offset + bytes;
    for (std::size_t i = 0; i < stack.size(); ++i) {
        const std::int64_t slot = -8 * static_cast<std::int64_t>(i + 1);
        if (slot < end && first < slot + 8 && holds_pointer(stack[i])) {
            return true;
        }
    }
    return false;
}

/// The access is of one whole slot.
bool is_of_slot(const Register& to, const bpf_insn& insn) {
    return to.type == Type::stack && to.value.is_constant() && BPF_SIZE(insn.code) == BPF_DW &&
           BPF_MODE(insn.code) == BPF_MEM &&
           (static_cast<std::int64_t>(to.value.bits.value) + to.offset + insn.off) % 8 == 0;
}

bool arithmetic_tells(const bpf_insn& insn, bool dst, bool src) {
    const unsigned operation = BPF_OP(insn.code);
    const bool is_narrow = BPF_CLASS(insn.code) == BPF_ALU;
    if (operation == BPF_MOV) {
        return src && (is_narrow || insn.off != 0);
    }
    if (!dst && !src) {
        return false;
    }
    return is_narrow || (operation != BPF_ADD && operation != BPF_SUB) || (dst && src) ||
           (operation == BPF_SUB && src);
}

}  // namespace

bool Walked::has_idle_callback() const {
    const std::vector<bpf_insn>& insns = program_.insns;
    for (std::uint32_t i = 0; i < insns.size(); ++i) {
        const bool is_wide = insns[i].code == bpf::kLoadImmediate64;
        const std::uint32_t to = i + static_cast<std::uint32_t>(insns[i].imm) + 1;
        if (is_wide && insns[i].src_reg == BPF_PSEUDO_FUNC && walked_.contains(i) &&
            !walked_.contains(to)) {
            return true;
        }
        i += is_wide ? 1 : 0;
    }
    return false;
}

void Walked::walk(std::uint32_t insn, const State& state) {
    walked_.insert(insn);
    tells_addresses_ = tells_addresses_ || tells(insn, state);
}

bool Walked::call_tells(std::uint32_t number, const State& state) const {
    const bpf_insn& insn = program_.insns[number];
    const auto& registers = state.frame().registers;
    if (insn.src_reg == BPF_PSEUDO_CALL) {
        const std::uint32_t to = number + static_cast<std::uint32_t>(insn.imm) + 1;
        const bool is_global =
            std::any_of(program_.functions.begin(), program_.functions.end(),
                        [to](const auto& each) { return each.insn == to && each.is_global; });
        return is_global &&
               std::any_of(registers.begin() + 1, registers.begin() + 6, [&](const auto& each) {
                   return holds_address(state, each, 0, kSmallBytes);
               });
    }
    for (const HelperArguments& each : kHelpers) {
        if (each.helper != insn.imm) {
            continue;
        }
        for (const unsigned reg : each.numbers) {
            if (reg != 0 && registers[reg].is_pointer()) {
                return true;
            }
        }
        for (const auto& [reg, bytes] : each.memory) {
            if (reg != 0 && holds_address(state, registers[reg], 0, bytes)) {
                return true;
            }
        }
    }
    return false;
}

bool Walked::tells(std::uint32_t number, const State& state) const {
    const bpf_insn& insn = program_.insns[number];
    const auto& registers = state.frame().registers;
    const Register& dst = registers[insn.dst_reg];
    const Register& src = registers[insn.src_reg];
    const bool by_register = BPF_SRC(insn.code) == BPF_X && BPF_OP(insn.code) != BPF_END;
    const auto access = [&](const Register& to) {
        return !is_of_slot(to, insn) &&
               holds_address(state, to, insn.off, static_cast<int>(bpf::access_bytes(insn.code)));
    };
    switch (BPF_CLASS(insn.code)) {
    case BPF_ALU:
    case BPF_ALU64:
        return arithmetic_tells(insn, dst.is_pointer() && BPF_OP(insn.code) != BPF_MOV,
                                by_register && src.is_pointer());
    case BPF_LDX:
        return access(src);
    case BPF_ST:
        return access(dst);
    case BPF_STX:
        if (!is_atomic(insn)) {
            return access(dst) || (src.is_pointer() && !is_of_slot(dst, insn));
        }
        if (insn.imm == bpf::kAtomicLoadAcquire) {
            return access(src);
        }
        return access(dst) || src.is_pointer() ||
               (insn.imm == BPF_CMPXCHG && registers[0].is_pointer());
    case BPF_JMP:
    case BPF_JMP32:
        break;
    default:
        return false;
    }
    switch (BPF_OP(insn.code)) {
    case BPF_CALL:
        return call_tells(number, state);
    case BPF_EXIT:
        return state.frames.size() == 1 && registers[0].is_pointer();
    case BPF_JA:
    case bpf::kOpConditionalPseudo:
        return false;
    default: {
        const bool is_for_null = !by_register && insn.imm == 0 && BPF_CLASS(insn.code) == BPF_JMP &&
                                 (BPF_OP(insn.code) == BPF_JEQ || BPF_OP(insn.code) == BPF_JNE);
        return (dst.is_pointer() && !is_for_null) || (by_register && src.is_pointer());
    }
    }
}

}  // namespace taskwork::fuzz
