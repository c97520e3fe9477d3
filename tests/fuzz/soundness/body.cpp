// SPDX-License-Identifier: Apache-2.0
//
// The frame of a function, and what works on numbers. Memory: body_memory.cpp; calls:
// body_calls.cpp; loops that need no bound: body_loops.cpp.
#include "tests/fuzz/soundness/body.hpp"

namespace taskwork::fuzz {

using namespace bpf::test;
using What = Holds::What;

Body::Body(Plan& plan, Choices& choices, Signature signature)
    : plan_(plan), choices_(choices), signature_(std::move(signature)), inside_(signature_.inside) {
}

void Body::emit(const Piece& piece) {
    code_.insert(code_.end(), piece.insns.begin(),
                 piece.insns.begin() + static_cast<std::ptrdiff_t>(piece.count));
}

void Body::emit_map(Register dst, int fd) {
    emit(wide(dst, static_cast<std::uint32_t>(fd), BPF_PSEUDO_MAP_FD));
}

void Body::emit_kfunc(const char* name) { emit(BpfDomain::call_kfunc(name)); }

void Body::land(const Jumps& jumps) {
    for (const std::size_t at : jumps) {
        code_[at].off = static_cast<__s16>(here() - at - 1);
    }
}

std::vector<bpf_insn> Body::write() {
    begin();
    statements(4 + choices_.below(12));
    end();
    return std::move(code_);
}

void Body::begin() {
    if (plan_.all_constructs && choices_.one_in(5)) {
        loop_at_first();
    }
    static constexpr int sizes[] = {BPF_DW, BPF_DW, BPF_DW, BPF_W, BPF_H, BPF_B};
    switch (signature_.kind) {
    case Signature::Kind::main: {
        const bool is_syscall = plan_.type == BPF_PROG_TYPE_SYSCALL;
        emit(load(is_syscall ? choices_.of(sizes) : BPF_DW, R6, R1, 0));
        emit(load(is_syscall ? choices_.of(sizes) : BPF_DW, R7, R1, 8));
        emit(set(R8, choices_.number()));
        emit(copy(R9, R1));
        put(R9, {What::context, 64});
        break;
    }
    case Signature::Kind::function:
    case Signature::Kind::global:
        for (unsigned i = 0; i < 3; ++i) {
            const auto kept = static_cast<Register>(R6 + i);
            emit(copy(kept, static_cast<Register>(R1 + i)));
            put(kept, signature_.arguments[i]);
        }
        if (signature_.may_be_null) {
            // Not null from here on.
            emit(jump_if(BPF_JNE, R8, 0, 2));
            emit(set(R0, choices_.number()));
            emit(leave());
        }
        emit(set(R9, choices_.number()));
        break;
    case Signature::Kind::loop:
        emit(copy(R6, R1));
        emit(copy(R7, R2));
        put(R7, signature_.arguments[0]);
        emit(set(R8, choices_.number()));
        emit(set(R9, 0));
        break;
    case Signature::Kind::each:
        emit(copy(R6, R2));
        put(R6, {What::read_only, 4});
        emit(copy(R7, R3));
        put(R7, signature_.arguments[1]);
        emit(copy(R8, R4));
        put(R8, signature_.arguments[0]);
        emit(set(R9, 0));
        break;
    case Signature::Kind::work:
        emit(set(R6, choices_.number()));
        emit(copy(R7, R2));
        put(R7, signature_.arguments[0]);
        emit(copy(R8, R3));
        put(R8, signature_.arguments[1]);
        emit(set(R9, 0));
        break;
    }
    if (is_for_kernel()) {
        fill_frame();
    } else if (choices_.below(3) != 0) {
        for (int slot = 1; slot <= 4; ++slot) {
            emit(store_imm(BPF_DW, R10, -8 * slot, choices_.number()));
        }
    }
}

void Body::end() {
    const bool is_callback =
        signature_.kind == Signature::Kind::loop || signature_.kind == Signature::Kind::each;
    const bool is_given_context = signature_.kind == Signature::Kind::function &&
                                  signature_.arguments[2].what == What::context;
    if (is_given_context && may_call_program() && choices_.one_in(2)) {
        call_program();
    }
    emit(copy(R0, any_number()));
    if (is_callback) {
        emit(alu(BPF_AND, R0, choices_.one_in(12) ? 3 : 1));
        if (choices_.one_in(2)) {
            emit(set(R0, 0));
        }
    }
    if (signature_.kind == Signature::Kind::main) {
        if (is_for_kernel()) {
            leave_state();
        } else if (plan_.audience == Audience::engines) {
            leave_registers();
        }
    }
    emit(leave());
}

void Body::statements(unsigned most) {
    for (unsigned i = 0; i < most && more(); ++i) {
        statement();
    }
}

void Body::statement() {
    if (inside_.lock) {
        return statement_under_lock();
    }
    if (plan_.all_constructs && choices_.below(4) == 0) {
        return construct();
    }
    switch (choices_.below(26)) {
    case 0:
    case 1:
    case 2:
    case 3:
        return arithmetic();
    case 4:
    case 5:
    case 6:
        return branch();
    case 7:
    case 8:
        return spill_or_fill();
    case 9:
        return loop();
    case 10:
        return spill_pointer();
    case 11:
        return variable_stack();
    case 12:
    case 13:
    case 14:
        return look_up();
    case 15:
        return direct_value();
    case 16:
    case 17:
        return kept_pointer();
    case 18:
        return record();
    case 19:
        return context();
    case 20:
        return helper();
    case 21:
        return call_function();
    case 22:
    case 23:
        return call_back();
    default:
        return linked();
    }
}

/// What has rules of its own.
void Body::construct() {
    // Of few programs, where they have their context still.
    if (may_call_program() && choices_.one_in(3)) {
        return call_program();
    }
    switch (choices_.below(20)) {
    case 0:
    case 1:
    case 2:
        return may_goto_loop();
    case 3:
    case 4:
    case 5:
        return iterator_loop();
    case 6:
    case 7:
        return spin_lock();
    case 8:
    case 9:
    case 10:
        return resilient_lock();
    case 11:
    case 12:
    case 13:
        return schedule_work();
    case 14:
    case 15:
        return task_reference();
    case 16:
        return rcu_section();
    case 17:
    case 18:
        return sleeping_helper();
    default:
        return no_preemption();
    }
}

// ---- Numbers ------------------------------------------------------------------------------------

Register Body::any_number() {
    const unsigned first = choices_.below(4);
    for (unsigned i = 0; i < 4; ++i) {
        const unsigned at = (first + i) % 4;
        if (known_.registers[at].is_number()) {
            return static_cast<Register>(R6 + at);
        }
    }
    emit(set(R5, choices_.number()));
    return R5;
}

Register Body::writable() {
    const unsigned first = choices_.below(4);
    for (unsigned i = 0; i < 4; ++i) {
        const unsigned at = (first + i) % 4;
        if ((locked_ >> at & 1) == 0 && (known_.registers[at].is_number() || i == 0)) {
            return static_cast<Register>(R6 + at);
        }
    }
    return R5;
}

bpf_insn Body::binary(Register dst) {
    static constexpr int operations[] = {BPF_ADD, BPF_SUB, BPF_MUL,  BPF_AND, BPF_OR,  BPF_XOR,
                                         BPF_RSH, BPF_LSH, BPF_ARSH, BPF_DIV, BPF_MOD, BPF_AND,
                                         BPF_RSH, BPF_ADD, BPF_MOV,  BPF_SUB};
    const int operation = choices_.of(operations);
    const bool wide = choices_.below(3) != 0;
    const bool divides = operation == BPF_DIV || operation == BPF_MOD;
    const bool shifts = operation == BPF_RSH || operation == BPF_LSH || operation == BPF_ARSH;
    const int sign = divides && choices_.one_in(2) ? bpf::kSignedDivision : 0;
    if (choices_.below(2) == 0) {
        const Register src = any_number();
        static constexpr int widths[] = {0, 8, 16, 32};
        int off = operation == BPF_MOV ? choices_.of(widths) : sign;
        off = !wide && off == 32 ? 16 : off;
        return wide ? alu(operation, dst, src, off) : alu32(operation, dst, src, off);
    }
    std::int64_t immediate = choices_.number();
    if (shifts) {
        immediate = choices_.below(wide ? 64 : 32);
    } else if (divides && immediate == 0) {
        immediate = 3;
    }
    return wide ? alu(operation, dst, immediate, sign) : alu32(operation, dst, immediate, sign);
}

void Body::arithmetic() {
    const Register dst = writable();
    const bool was_number = dst != R5 && known_.registers[dst - R6].is_number();
    if (!was_number) {
        emit(copy(dst, any_number()));
        if (dst != R5) {
            put_number(dst);
        }
    }
    const unsigned count = 1 + choices_.below(3);
    for (unsigned i = 0; i < count; ++i) {
        switch (choices_.below(12)) {
        case 0:
            emit(make((choices_.one_in(2) ? BPF_ALU64 : BPF_ALU) | BPF_NEG, dst, 0, 0, 0));
            break;
        case 1: {
            static constexpr int widths[] = {16, 32, 64};
            static constexpr unsigned codes[] = {
                BPF_ALU | BPF_END | BPF_TO_LE, BPF_ALU | BPF_END | BPF_TO_BE, BPF_ALU64 | BPF_END};
            emit(make(choices_.of(codes), dst, 0, 0, choices_.of(widths)));
            break;
        }
        case 2: {
            const auto low = static_cast<std::uint32_t>(choices_.number());
            const auto high = static_cast<std::uint32_t>(choices_.number());
            emit(wide(dst, std::uint64_t{high} << 32 | low));
            break;
        }
        default: {
            const bpf_insn insn = binary(dst);  // may emit before itself
            emit(insn);
            break;
        }
        }
    }
}

bpf_insn Body::comparison(int over) {
    static constexpr int compares[] = {BPF_JEQ,  BPF_JNE,  BPF_JGT,  BPF_JGE,  BPF_JLT, BPF_JLE,
                                       BPF_JSGT, BPF_JSGE, BPF_JSLT, BPF_JSLE, BPF_JSET};
    const int compare = choices_.of(compares);
    const Register left = any_number();
    const bool wide = choices_.below(3) != 0;
    if (choices_.below(3) == 0) {
        const Register right = left == R5 ? R5 : any_number();
        return wide ? jump_if(compare, left, right, over) : jump32_if(compare, left, right, over);
    }
    const std::int64_t immediate = choices_.number();
    return wide ? jump_if(compare, left, immediate, over)
                : jump32_if(compare, left, immediate, over);
}

/// What is not the same on both ways is a number behind them.
void Body::merge(const Known& before) {
    for (unsigned i = 0; i < 4; ++i) {
        if (known_.registers[i] != before.registers[i]) {
            emit(set(static_cast<Register>(R6 + i), choices_.number()));
            known_.registers[i] = {};
        }
    }
    for (unsigned i = 0; i < 8; ++i) {
        if (known_.slots[i] != before.slots[i]) {
            emit(store_imm(BPF_DW, R10, -8 * static_cast<int>(i + 1), choices_.number()));
            known_.slots[i] = {};
        }
    }
}

void Body::branch() {
    if (nesting_ >= 3) {
        return arithmetic();
    }
    ++nesting_;
    const Known before = known_;
    const bpf_insn compare = comparison();
    const Jumps over{here()};
    emit(compare);
    statements(1 + choices_.below(3));
    if (choices_.one_in(2)) {
        const Known first = known_;
        const Jumps end{here()};
        if (choices_.one_in(4)) {
            emit(make(BPF_JMP32 | BPF_JA, 0, 0, 0, 0));
        } else {
            emit(jump(0));
        }
        land(over);
        known_ = before;
        statements(1 + choices_.below(2));
        if (code_[end[0]].code == (BPF_JMP32 | BPF_JA)) {
            code_[end[0]].imm = static_cast<__s32>(here() - end[0] - 1);
        } else {
            land(end);
        }
        merge(first);
    } else {
        land(over);
        merge(before);
    }
    --nesting_;
}

void Body::loop() {
    if (nesting_ >= 2) {
        return arithmetic();
    }
    const Register counter = writable();
    if (counter == R5) {
        return arithmetic();
    }
    ++nesting_;
    const unsigned locked = locked_;
    emit(set(counter, 0));
    put_number(counter);
    locked_ |= 1U << (counter - R6);
    keep_for_rounds();
    const Known before = known_;
    const std::size_t head = here();
    const unsigned step = 1 + choices_.below(3);
    if (choices_.one_in(2)) {
        emit(add(counter, step));
    }
    statements(1 + choices_.below(3));
    merge(before);
    if (here() == head || code_[head].dst_reg != counter) {
        emit(add(counter, step));
    }
    static constexpr int compares[] = {BPF_JLT, BPF_JLT, BPF_JSLT, BPF_JLE, BPF_JNE};
    const int compare = choices_.of(compares);
    const unsigned rounds = 1 + choices_.below(12);
    const auto back = -static_cast<int>(here() - head + 1);
    const int limit = static_cast<int>(step * rounds);
    emit(choices_.one_in(3) ? jump32_if(compare, counter, limit, back)
                            : jump_if(compare, counter, limit, back));
    locked_ = locked;
    --nesting_;
}

/// Two numbers that differ by a constant, or not; what is learned of one bounds the other.
void Body::linked() {
    const Register from = any_number();
    Jumps skips;
    emit(copy(R1, from));
    emit(copy(R2, R1));
    const int delta = choices_.one_in(2) ? static_cast<int>(choices_.below(40)) - 8 : 0;
    if (delta != 0) {
        emit(add(R2, delta));
    }
    const Known before = known_;
    const unsigned limit = choices_.below(64);
    bound(choices_.one_in(2) ? R1 : R2, limit, skips);
    // What is one's limit is the other's, less or more the delta.
    const auto room = static_cast<int>(limit) + (delta > 0 ? delta : -delta);
    const Register offset = choices_.one_in(2) ? R1 : R2;
    if (delta < 0 && offset == R2) {
        emit(alu(BPF_AND, R2, 63));
    }
    const Register dst = writable();
    emit(wide(R3, static_cast<std::uint32_t>(plan_.maps.direct), BPF_PSEUDO_MAP_VALUE));
    emit(alu(BPF_ADD, R3, offset));
    static constexpr int sizes[] = {BPF_B, BPF_B, BPF_H, BPF_W};
    const int space = 127 - room;
    emit(load(choices_.of(sizes), dst == R5 ? R4 : dst, R3, space > 4 ? choices_.below(4) : 0));
    if (dst != R5) {
        put_number(dst);
    }
    land(skips);
    merge(before);
}

}  // namespace taskwork::fuzz
