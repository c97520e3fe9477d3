// SPDX-License-Identifier: Apache-2.0
//
// Calls in a function of the generator.
#include "tests/fuzz/soundness/body.hpp"

namespace taskwork::fuzz {

using namespace bpf::test;
using What = Holds::What;

void Body::helper() {
    static constexpr int plain[] = {BPF_FUNC_ktime_get_ns, BPF_FUNC_get_prandom_u32,
                                    BPF_FUNC_get_smp_processor_id, BPF_FUNC_get_current_pid_tgid};
    if (is_for_kernel()) {
        return repeatable_helper();
    }
    const Known before = known_;
    Jumps skips;
    if (choices_.one_in(2)) {
        emit(call(choices_.of(plain)));
    } else {
        // Writes memory of a constant or variable size.
        const bool to_slots = choices_.one_in(3);
        if (to_slots) {
            forget_slots();
        }
        emit(copy(R3, any_number()));
        if (choices_.one_in(2)) {
            emit(set(R2, 1 + choices_.below(64)));
        } else {
            emit(copy(R2, any_number()));
            bound(R2, 63, skips);
        }
        emit(copy(R1, R10));
        emit(add(R1, to_slots ? -64 : -144));
        emit(
            call(choices_.one_in(2) ? BPF_FUNC_probe_read_kernel : BPF_FUNC_probe_read_kernel_str));
        if (choices_.one_in(2)) {
            emit(load(BPF_W, R5, R10, -144));
        }
    }
    result_of_helper();
    land(skips);
    merge(before);
}

/// What may sleep, seldom where that is not allowed. There is no memory at its address, so that its
/// result repeats.
void Body::sleeping_helper() {
    const bool may_sleep = plan_.type == BPF_PROG_TYPE_SYSCALL || inside_.work;
    if ((!may_sleep && !choices_.one_in(20)) || (inside_.awake && !choices_.one_in(4))) {
        return arithmetic();
    }
    emit(copy(R1, R10));
    emit(add(R1, -144));
    emit(set(R2, 1 + choices_.below(64)));
    emit(set(R3, choices_.below(256)));
    emit(call(BPF_FUNC_copy_from_user));
    result_of_helper();
}

void Body::result_of_helper() {
    const Register dst = writable();
    if (dst != R5) {
        emit(copy(dst, R0));
        put_number(dst);
        if (choices_.one_in(3)) {
            emit(add(dst, choices_.below(16)));
        }
    }
}

void Body::call_function() {
    if (!plan_.has_room() || nesting_ >= 2) {
        return arithmetic();
    }
    Signature signature;
    const bool may_be_global = !inside_.lock;
    signature.kind =
        may_be_global && choices_.one_in(3) ? Signature::Kind::global : Signature::Kind::function;
    signature.inside = inside_;
    const bool global = signature.kind == Signature::Kind::global;
    const bool memory = choices_.one_in(2);
    if (memory) {
        forget_slots();
    }
    signature.may_be_null = global && memory && choices_.one_in(2);
    signature.arguments = {Holds{}, Holds{},
                           !memory ? Holds{} : Holds{global ? What::memory : What::stack, 16}};
    emit(copy(R1, any_number()));
    emit(copy(R2, any_number()));
    if (memory) {
        emit(copy(R3, R10));
        emit(add(R3, -8 * static_cast<int>(2 + choices_.below(6))));
        if (signature.may_be_null && choices_.one_in(2)) {
            emit(set(R3, 0));
        }
    } else if (const Register context = held_context();
               context != R5 && !global && plan_.all_constructs && choices_.below(4) != 0) {
        emit(copy(R3, context));
        signature.arguments[2] = known_.registers[context - R6];
    } else {
        emit(set(R3, choices_.number()));
    }
    references.push_back({here(), plan_.functions.size()});
    emit(bpf::test::call_function(0));
    plan_.functions.push_back(signature);
    if (const Register dst = writable(); dst != R5) {
        emit(copy(dst, R0));
        put_number(dst);
    }
}

void Body::call_back() {
    if (!plan_.has_room() || nesting_ >= 2) {
        return arithmetic();
    }
    Signature signature;
    signature.inside = inside_;
    const bool each = choices_.one_in(3);
    signature.kind = each ? Signature::Kind::each : Signature::Kind::loop;
    // The order of a hash is each engine's own.
    const bool hash = !is_for_kernel() && choices_.one_in(2);
    signature.stack_argument = choices_.below(3) != 0;
    forget_slots();
    signature.arguments = {signature.stack_argument ? Holds{What::stack, 32} : Holds{},
                           Holds{What::memory, hash ? 48U : 64U}};
    const Known before = known_;
    Jumps skips;
    if (each) {
        emit_map(R1, hash ? plan_.maps.hash : plan_.maps.values);
    } else if (choices_.one_in(2)) {
        emit(set(R1, choices_.below(9)));
    } else {
        emit(copy(R1, any_number()));
        bound(R1, choices_.below(12), skips);
    }
    if (!each && is_for_kernel()) {
        // A callback that is never called is none there; and so many rounds are an error.
        emit(choices_.one_in(24) ? set(R1, (1 << 23) + 1 + choices_.byte()) : add(R1, 1));
    }
    references.push_back({here(), plan_.functions.size()});
    emit(bpf::test::function(R2, 0));
    if (signature.stack_argument) {
        emit(copy(R3, R10));
        emit(add(R3, choices_.one_in(2) ? -32 : -64));
    } else {
        emit(set(R3, 0));
    }
    emit(set(R4, flags()));
    emit(call(each ? BPF_FUNC_for_each_map_elem : BPF_FUNC_loop));
    if (is_for_kernel()) {
        emit(alu(BPF_MOV, R0, R0, 32));  // The upper half of an error: docs/verifier.md.
    }
    plan_.functions.push_back(signature);
    if (const Register dst = writable(); dst != R5) {
        emit(copy(dst, R0));
        put_number(dst);
    }
    land(skips);
    merge(before);
}

/// R5: none.
Register Body::held_context() const {
    for (unsigned i = 0; i < 4; ++i) {
        if (known_.registers[i].what == What::context) {
            return static_cast<Register>(R6 + i);
        }
    }
    return R5;
}

bool Body::may_call_program() const {
    return plan_.type == BPF_PROG_TYPE_PERF_EVENT && held_context() != R5;
}

/// A tail call, of the program itself or, mostly, of nothing. Precondition:
/// may_call_program().
void Body::call_program() {
    if (choices_.one_in(3)) {
        emit(set(R3, choices_.below(3)));
    } else {
        emit(copy(R3, any_number()));
        emit(alu(BPF_AND, R3, 3));
    }
    emit(copy(R1, held_context()));
    emit_map(R2, plan_.maps.programs);
    emit(call(BPF_FUNC_tail_call));
}

/// Callbacks run natively whoever has scheduled them, so that engines are not compared by them.
void Body::schedule_work() {
    static constexpr const char* kfuncs[] = {
        "bpf_task_work_schedule_signal", "bpf_task_work_schedule_resume",
        "bpf_task_work_schedule_signal_impl", "bpf_task_work_schedule_resume_impl"};
    if (!plan_.has_room() || nesting_ >= 2 || inside_.work || plan_.audience != Audience::ours) {
        return arithmetic();
    }
    const unsigned locked = locked_;
    const Known before = known_;
    Jumps skips;
    const Register value = hold_value(plan_.maps.works, skips);
    if (value == R5) {
        return arithmetic();
    }
    Signature signature;
    signature.kind = Signature::Kind::work;
    signature.inside.work = true;
    signature.arguments = {Holds{What::read_only, 4}, known_.registers[value - R6]};
    emit(call(BPF_FUNC_get_current_task_btf));
    emit(copy(R1, R0));
    emit(copy(R2, value));
    emit(add(R2, MapFds::kSpecialAt));
    emit_map(R3, plan_.maps.works);
    references.push_back({here(), plan_.functions.size()});
    emit(bpf::test::function(R4, 0));
    emit(set(R5, 0));
    emit_kfunc(choices_.of(kfuncs));
    plan_.functions.push_back(signature);
    result_of_helper();
    locked_ = locked;
    land(skips);
    merge(before);
}

}  // namespace taskwork::fuzz
