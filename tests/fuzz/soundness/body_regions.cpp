// SPDX-License-Identifier: Apache-2.0
//
// Of the generator: regions, in which not everything may be done, and which must be left.
#include <cstddef>

#include "bpf/kernel_btf/task_struct.h"
#include "tests/fuzz/soundness/body.hpp"

namespace taskwork::fuzz {

using namespace bpf::test;

namespace {

/// Below what functions use of their frames.
constexpr int kSpecialSlotsAt = -152;

constexpr int kPidAt = offsetof(task_struct, pid);
constexpr int kParentAt = offsetof(task_struct, real_parent);
constexpr int kStartAt = offsetof(task_struct, start_time);

}  // namespace

int Body::special_slot() { return kSpecialSlotsAt - 8 * static_cast<int>(special_++); }

/// What is entered or left, seldom on one of two ways only, or not before the function is left.
template <class Emit>
void Body::on_one_way(const Emit& rest) {
    if (!choices_.one_in(20)) {
        return rest();
    }
    const bpf_insn compare = comparison();
    const Jumps over{here()};
    emit(compare);
    if (choices_.one_in(2)) {
        emit(set(R0, choices_.below(2)));
        emit(leave());
        land(over);
        rest();
    } else {
        rest();
        land(over);
    }
}

/// Looks up one of the two values of an array. Nothing is put into its register until that is taken
/// out of `locked_`; R5: there is none to be had.
Register Body::hold_value(int map, Jumps& skips) {
    const Register keep = writable();
    if (keep == R5) {
        return R5;
    }
    if (choices_.one_in(2)) {
        emit(store_imm(BPF_W, R10, -76, choices_.one_in(8) ? 2 : choices_.below(2)));
    } else {
        emit(copy(R1, any_number()));
        emit(alu(BPF_AND, R1, choices_.one_in(4) ? 3 : 1));
        emit(store(BPF_W, R10, -76, R1));
    }
    emit(copy(R2, R10));
    emit(add(R2, -76));
    emit_map(R1, map);
    emit(call(BPF_FUNC_map_lookup_elem));
    emit(copy(keep, R0));
    skips.push_back(here());
    emit(jump_if(BPF_JEQ, choices_.one_in(2) ? R0 : keep, 0, 0));
    put(keep, {Holds::What::memory, MapFds::kSpecialAt});
    locked_ |= 1U << (keep - R6);
    return keep;
}

void Body::on_lock(Register value, const bpf_insn& call) {
    emit(copy(R1, value));
    emit(add(R1, MapFds::kSpecialAt));
    emit(call);
}

void Body::statement_under_lock() {
    switch (choices_.below(12)) {
    case 0:
        return branch();
    case 1:
        return loop();
    case 2:
    case 3:
    case 4:
        return kept_pointer();
    case 5:
        return direct_value();
    case 6:
        return spill_or_fill();
    case 7:
        return call_function();
    case 8:
        return choices_.one_in(2) ? iterator_loop() : may_goto_loop();
    case 9:
        return choices_.one_in(12) ? helper() : linked();
    default:
        return arithmetic();
    }
}

/// What is done while a lock is held. It is given back at one place or at two.
template <class Unlock>
void Body::under_lock(const Unlock& unlock) {
    inside_.lock = true;
    statements(1 + choices_.below(3));
    if (choices_.one_in(4)) {
        const bpf_insn compare = comparison();
        const Jumps other{here()};
        emit(compare);
        unlock();
        const Jumps end{here()};
        emit(jump(0));
        land(other);
        unlock();
        land(end);
    } else {
        on_one_way(unlock);
    }
    inside_.lock = false;
}

void Body::spin_lock() {
    if (plan_.type != BPF_PROG_TYPE_SYSCALL) {
        return resilient_lock();
    }
    const unsigned locked = locked_;
    const Known before = known_;
    Jumps skips;
    const Register value = hold_value(plan_.maps.spin, skips);
    if (value == R5) {
        return arithmetic();
    }
    on_lock(value, call(BPF_FUNC_spin_lock));
    under_lock([this, value] { on_lock(value, call(BPF_FUNC_spin_unlock)); });
    locked_ = locked;
    land(skips);
    merge(before);
}

void Body::resilient_lock() {
    const unsigned locked = locked_;
    const Known before = known_;
    Jumps skips;
    const Register value = hold_value(plan_.maps.resilient, skips);
    if (value == R5) {
        return arithmetic();
    }
    const Register second = choices_.one_in(3) ? hold_value(plan_.maps.resilient, skips) : R5;
    resilient_lock(value, second);
    locked_ = locked;
    land(skips);
    merge(before);
}

/// Of one value, and in it perhaps of a second, which may be the same one. `second`: R5, none.
void Body::resilient_lock(Register value, Register second) {
    const bool keeps_flags = choices_.one_in(3);
    const int flags = keeps_flags ? special_slot() : 0;
    const auto with_flags = [this, keeps_flags, flags](const char* plain, const char* with) {
        if (keeps_flags) {
            emit(copy(R2, R10));
            emit(add(R2, flags));
        }
        return BpfDomain::call_kfunc(keeps_flags ? with : plain);
    };
    const auto give = [this, value, &with_flags] {
        on_lock(value, with_flags("bpf_res_spin_unlock", "bpf_res_spin_unlock_irqrestore"));
    };
    on_lock(value, with_flags("bpf_res_spin_lock", "bpf_res_spin_lock_irqsave"));
    const Jumps failed{here()};
    emit(jump_if(choices_.one_in(2) ? BPF_JNE : BPF_JSLT, R0, 0, 0));
    const Known before = known_;
    if (second != R5) {
        inside_.lock = true;
        resilient_lock(second, R5);
        inside_.lock = true;
        merge(before);
        give();
        inside_.lock = false;
    } else {
        under_lock(give);
    }
    land(failed);
    merge(before);
    special_ -= keeps_flags ? 1 : 0;
}

// ---- References, sections -----------------------------------------------------------------------

/// Acquires a task, and releases it behind some statements.
void Body::task_reference() {
    const unsigned locked = locked_;
    const Known before = known_;
    const Register keep = writable();
    if (keep == R5) {
        return arithmetic();
    }
    if (choices_.one_in(2)) {
        emit(call(BPF_FUNC_get_current_pid_tgid));
        emit(copy(R1, choices_.one_in(4) ? any_number() : R0));
        emit_kfunc("bpf_task_from_pid");
    } else {
        emit(call(BPF_FUNC_get_current_task_btf));
        emit(copy(R1, R0));
        emit_kfunc("bpf_task_acquire");
    }
    emit(copy(keep, R0));
    const Jumps none{here()};
    emit(jump_if(BPF_JEQ, choices_.one_in(2) ? R0 : keep, 0, 0));
    put(keep, {Holds::What::task, 0});
    locked_ |= 1U << (keep - R6);
    const bool spills = choices_.one_in(3);
    const int slot = spills ? special_slot() : 0;
    if (spills) {
        emit(store(BPF_DW, R10, slot, keep));
    }
    if (choices_.one_in(2)) {
        read_task(keep);
    }
    statements(choices_.below(3));
    on_one_way([this, spills, slot, keep] {
        emit(spills ? load(BPF_DW, R1, R10, slot) : copy(R1, keep));
        emit_kfunc("bpf_task_release");
    });
    special_ -= spills ? 1 : 0;
    locked_ = locked;
    land(none);
    merge(before);
}

void Body::read_task(Register task) {
    const Register dst = writable();
    const Register to = dst == R5 ? R4 : dst;
    switch (choices_.below(3)) {
    case 0:
        emit(load(BPF_W, to, task, kPidAt));
        break;
    case 1:
        emit(load(BPF_DW, to, task, kStartAt));
        break;
    default:  // which may be none
        emit(load(BPF_DW, R3, task, kParentAt));
        emit(load(BPF_W, to, R3, kPidAt));
        break;
    }
    if (dst != R5) {
        put_number(dst);
    }
}

void Body::rcu_section() {
    if (inside_.rcu) {
        return arithmetic();
    }
    const Signature::Inside outside = inside_;
    inside_.rcu = true;
    inside_.awake = true;
    on_one_way([this] { emit_kfunc("bpf_rcu_read_lock"); });
    if (choices_.one_in(2)) {
        // What is only there inside.
        emit(call(BPF_FUNC_get_current_task_btf));
        emit(load(BPF_DW, R1, R0, kParentAt));
        Jumps none{here()};
        emit(jump_if(BPF_JEQ, R1, 0, 0));
        emit_kfunc("bpf_task_acquire");
        none.push_back(here());
        emit(jump_if(BPF_JEQ, R0, 0, 0));
        emit(copy(R1, R0));
        emit_kfunc("bpf_task_release");
        land(none);
    }
    statements(1 + choices_.below(3));
    on_one_way([this] { emit_kfunc("bpf_rcu_read_unlock"); });
    inside_ = outside;
}

void Body::no_preemption() {
    const Signature::Inside outside = inside_;
    inside_.awake = true;
    on_one_way([this] { emit_kfunc("bpf_preempt_disable"); });
    statements(1 + choices_.below(3));
    on_one_way([this] { emit_kfunc("bpf_preempt_enable"); });
    inside_ = outside;
}

}  // namespace taskwork::fuzz
