// SPDX-License-Identifier: Apache-2.0
//
// Of the generator: what is different in programs of which engines are compared: ours, and the
// kernel's.
#include <algorithm>

#include "tests/fuzz/soundness/body.hpp"

namespace taskwork::fuzz {

using namespace bpf::test;
using What = Holds::What;

namespace {

/// What functions use of their frames: numbers and pointers to fp-64, scratch, the buffer of
/// helpers from fp-144 on.
constexpr int kFrameUsed = 144;
/// Where main keeps its context.
constexpr int kContextAt = -152;
/// In the context, behind what programs use of it.
constexpr int kStateAt = 256;

}  // namespace

bool Body::is_for_kernel() const { return plan_.audience == Audience::kernel; }

/// What lies in a frame that was not written is each engine's own.
void Body::fill_frame() {
    for (int at = 8; at <= kFrameUsed; at += 8) {
        emit(store_imm(BPF_DW, R10, -at, at <= 32 ? choices_.number() : at));
    }
    if (signature_.kind == Signature::Kind::main) {
        emit(store(BPF_DW, R10, kContextAt, R1));
    }
}

/// As in a frame.
void Body::fill_record(Register record, unsigned size) {
    for (unsigned at = 0; at < size; at += 8) {
        emit(store_imm(BPF_DW, record, static_cast<int>(at), choices_.number()));
    }
}

/// Of numbers only: addresses are each engine's own.
void Body::leave_state() {
    emit(load(BPF_DW, R1, R10, kContextAt));
    int at = kStateAt;
    emit(store(BPF_DW, R1, at, R0));
    for (const Register reg : {R6, R7, R8, R9}) {
        at += 8;
        if (known_.registers[reg - R6].is_number()) {
            emit(store(BPF_DW, R1, at, reg));
        }
    }
    for (unsigned slot = 0; 8 * slot < kFrameUsed; ++slot) {
        at += 8;
        if (slot >= known_.slots.size() || known_.slots[slot].is_number()) {
            emit(load(BPF_DW, R2, R10, -8 * static_cast<int>(slot + 1)));
            emit(store(BPF_DW, R1, at, R2));
        }
    }
}

/// R0 is the result; the others no longer are anything.
void Body::leave_registers() {
    int at = -kFrameUsed;
    for (const Register reg : {R6, R7, R8, R9}) {
        at -= 8;
        emit(store(BPF_DW, R10, at, reg));
    }
}

/// A pointer to a value of the hash, which may be another key's after a deletion.
bool Body::holds_element() const {
    const auto is_element = [](const Holds& holds) { return holds == Holds{What::memory, 48}; };
    return std::any_of(known_.registers.begin(), known_.registers.end(), is_element) ||
           std::any_of(known_.slots.begin(), known_.slots.end(), is_element);
}

/// Of a helper. What others than 0 do, if they are any, is the kernel's to say.
std::int32_t Body::flags() { return is_for_kernel() && choices_.one_in(8) ? choices_.number() : 0; }

/// One whose result is the same in each engine and each time.
void Body::repeatable_helper() {
    static constexpr int plain[] = {BPF_FUNC_get_current_pid_tgid, BPF_FUNC_get_current_uid_gid};
    const Known before = known_;
    Jumps skips;
    const auto buffer = [this](Register reg) {
        emit(copy(reg, R10));
        emit(add(reg, -kFrameUsed));
    };
    const auto size = [this, &skips](Register reg) {
        if (choices_.one_in(2)) {
            emit(set(reg, 1 + choices_.below(64)));
        } else {
            emit(copy(reg, any_number()));
            bound(reg, 63, skips);
        }
    };
    switch (choices_.below(9)) {
    case 0:
        emit(call(choices_.of(plain)));
        break;
    case 1:
        size(R2);
        buffer(R1);
        emit(call(BPF_FUNC_get_current_comm));
        break;
    case 2:
        size(R2);
        buffer(R1);
        emit(wide(R3, static_cast<std::uint32_t>(plan_.maps.constants), BPF_PSEUDO_MAP_VALUE));
        emit(call(BPF_FUNC_strncmp));
        break;
    case 3:
        size(R3);
        emit_map(R1, plan_.maps.ring);
        buffer(R2);
        emit(set(R4, flags()));
        emit(call(BPF_FUNC_ringbuf_output));
        break;
    case 4:
        emit_map(R1, plan_.maps.ring);
        emit(set(R2, choices_.below(6) == 0 ? choices_.number() | 4 : choices_.below(2)));
        emit(call(BPF_FUNC_ringbuf_query));
        break;
    default: {
        const bool may_change_hash = signature_.kind == Signature::Kind::main && !holds_element();
        const bool hash = may_change_hash && choices_.below(3) != 0;
        emit(copy(R2, any_number()));
        emit(alu(BPF_AND, R2, choices_.one_in(4) ? 1 : 7));
        emit(store(BPF_W, R10, -76, R2));
        emit(copy(R2, R10));
        emit(add(R2, -76));
        emit_map(R1, hash ? plan_.maps.hash : plan_.maps.values);
        if (choices_.below(3) == 0) {
            emit(call(BPF_FUNC_map_delete_elem));
        } else {
            buffer(R3);
            emit(set(R4, choices_.one_in(8) ? choices_.number() : choices_.below(3)));
            emit(call(BPF_FUNC_map_update_elem));
        }
        break;
    }
    }
    result_of_helper();
    land(skips);
    merge(before);
}

}  // namespace taskwork::fuzz
