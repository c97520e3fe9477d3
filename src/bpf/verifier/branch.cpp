// SPDX-License-Identifier: Apache-2.0
//
// Conditional jumps: which ways are possible, and what is known on each.
#include <cerrno>

#include "bpf/verifier/walk.hpp"

namespace taskwork::bpf::verifier {

namespace {

Compare compare_of(unsigned code) {
    switch (BPF_OP(code)) {
    case BPF_JEQ:
        return Compare::eq;
    case BPF_JNE:
        return Compare::ne;
    case BPF_JGT:
        return Compare::gt;
    case BPF_JGE:
        return Compare::ge;
    case BPF_JLT:
        return Compare::lt;
    case BPF_JLE:
        return Compare::le;
    case BPF_JSGT:
        return Compare::sgt;
    case BPF_JSGE:
        return Compare::sge;
    case BPF_JSLT:
        return Compare::slt;
    case BPF_JSLE:
        return Compare::sle;
    default:
        return Compare::set;
    }
}

}  // namespace

/// All numbers of one id are equal: what is learned of one is learned of all, in the frame.
void Walk::narrow_linked(State& state, const Register& before, const Scalar& now) {
    if (before.id == 0) {
        return;
    }
    const auto narrow = [&before, &now](Register& each) {
        if (!each.is_scalar() || each.id != before.id) {
            return;
        }
        const std::int64_t apart = std::int64_t{each.delta} - before.delta;
        const Scalar known =
            apart == 0
                ? now
                : apply(Alu::add, true, now, Scalar::constant(static_cast<std::uint64_t>(apart)));
        if (apart == 0 || each.value.contains(known)) {
            each.value = known;
        }
    };
    Frame& frame = state.frame();
    for (Register& each : frame.registers) {
        narrow(each);
    }
    for (Slot& slot : frame.stack) {
        if (slot.is_spilled() && slot.spilled_bytes() == 8) {
            narrow(slot.spilled);
        }
    }
}

void Walk::note_links(const Register& a, const Register& b) {
    if (a.id == 0 && b.id == 0) {
        return;
    }
    Step& step = state_.history.back();
    const auto linked = [&a, &b](const Register& each) {
        return each.is_scalar() && each.id != 0 && (each.id == a.id || each.id == b.id);
    };
    const Frame& frame = state_.frame();
    for (unsigned i = 0; i < MAX_BPF_REG; ++i) {
        step.linked |= static_cast<std::uint16_t>(linked(frame.registers[i]) ? 1U << i : 0);
    }
    for (unsigned i = 0; i < frame.stack.size(); ++i) {
        if (frame.stack[i].is_spilled() && linked(frame.stack[i].spilled)) {
            step.linked_slots |= 1ULL << i;
        }
    }
}

/// Pointers of one id are null together.
void Walk::set_null(State& state, std::uint32_t id, bool is_null) {
    state.for_each_register([id, is_null](Register& each) {
        if (!each.is_pointer() || !each.or_null || each.id != id) {
            return;
        }
        if (is_null) {
            each = Register::constant(0);
            return;
        }
        each.or_null = false;
        if (each.type == Type::map_value && each.map->inner != nullptr) {
            each.type = Type::map_pointer;
            each.map = each.map->inner;
            each.map_uid = each.map->fields.task_work != map::kNoField ? id : 0;
            each.id = 0;
        } else if (each.type != Type::map_value ||
                   map::lock_of(each.map->fields) == map::kNoField) {
            each.id = 0;
        }
    });
    if (is_null) {
        // A reference that turned out to be null was never taken.
        std::erase_if(state.held, [id](const Held& held) {
            return held.kind == HeldKind::reference && held.id == id;
        });
    }
}

bool Walk::branch_on_null(const Register& pointer, bool equal, std::uint32_t target) {
    const std::uint32_t id = pointer.id;
    State other = state_;
    set_null(other, id, equal);
    set_null(state_, id, !equal);
    if (!push(std::move(other), target)) {
        return false;
    }
    ++insn_;
    return true;
}

bool Walk::branch() {
    const bpf_insn& at = insn();
    const bool wide = BPF_CLASS(at.code) == BPF_JMP;
    if (BPF_OP(at.code) == BPF_JA) {
        insn_ = static_cast<std::uint32_t>(std::int64_t{insn_} + 1 + (wide ? at.off : at.imm));
        return true;
    }
    if (BPF_OP(at.code) == kOpConditionalPseudo) {
        return may_goto();
    }
    const bool by_register = BPF_SRC(at.code) == BPF_X;
    if ((by_register && !may_read(at.src_reg)) || !may_read(at.dst_reg)) {
        return false;
    }
    const auto target = static_cast<std::uint32_t>(std::int64_t{insn_} + 1 + at.off);
    Register& a = reg(at.dst_reg);
    Register immediate = Register::constant(static_cast<std::uint64_t>(std::int64_t{at.imm}));
    Register& b = by_register ? reg(at.src_reg) : immediate;
    const Compare compare = compare_of(at.code);
    const bool is_equality = compare == Compare::eq || compare == Compare::ne;

    if (wide && is_equality && a.is_pointer() && b.is_null()) {
        if (by_register) {
            make_precise(at.src_reg);
        }
        if (a.or_null) {
            return branch_on_null(a, compare == Compare::eq, target);
        }
        insn_ = compare == Compare::ne ? target : insn_ + 1;
        return true;
    }
    if (!a.is_scalar() || !b.is_scalar()) {
        // Addresses say nothing.
        State other = state_;
        if (!push(std::move(other), target)) {
            return false;
        }
        ++insn_;
        return true;
    }
    if (by_register && at.dst_reg == at.src_reg && compare != Compare::set) {
        const bool taken = compare == Compare::eq || compare == Compare::ge ||
                           compare == Compare::le || compare == Compare::sge ||
                           compare == Compare::sle;
        insn_ = taken ? target : insn_ + 1;
        return true;
    }
    Branch way = decide(compare, wide, a.value, b.value);
    Scalar a_taken = a.value;
    Scalar b_taken = b.value;
    Scalar a_other = a.value;
    Scalar b_other = b.value;
    if (way == Branch::either) {
        const bool can_hold = assume(compare, wide, true, a_taken, b_taken);
        const bool can_fail = assume(compare, wide, false, a_other, b_other);
        way = can_hold && can_fail ? Branch::either : can_hold ? Branch::always : Branch::never;
    }
    if (way != Branch::either) {
        // What follows depends on the numbers; another state with others might go elsewhere.
        make_precise(at.dst_reg);
        if (by_register) {
            make_precise(at.src_reg);
        }
        insn_ = way == Branch::always ? target : insn_ + 1;
        return true;
    }
    note_links(a, b);
    const Register a_before = a;
    const Register b_before = b;
    State other = state_;
    other.frame().registers[at.dst_reg].value = a_taken;
    narrow_linked(other, a_before, a_taken);
    if (by_register) {
        other.frame().registers[at.src_reg].value = b_taken;
        narrow_linked(other, b_before, b_taken);
    }
    if (!push(std::move(other), target)) {
        return false;
    }
    a.value = a_other;
    narrow_linked(state_, a_before, a_other);
    if (by_register) {
        b.value = b_other;
        narrow_linked(state_, b_before, b_other);
    }
    ++insn_;
    return true;
}

}  // namespace taskwork::bpf::verifier
