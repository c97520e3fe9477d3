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

}  // namespace taskwork::fuzz
