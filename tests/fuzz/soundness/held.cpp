// SPDX-License-Identifier: Apache-2.0
//
// Of the follower: what calls hand out, and what is held.
#include <algorithm>
#include <string_view>

#include "bpf/helpers.hpp"
#include "bpf/kfuncs.hpp"
#include "bpf/verifier/log.hpp"
#include "tests/fuzz/soundness/follower.hpp"
#include "tests/fuzz/soundness/instructions.hpp"

namespace taskwork::fuzz {

using verifier::HeldKind;
using verifier::Register;
using verifier::text_of;

/// Values, records and keys that a call has handed out; what it has taken back.
void Follower::remember_result(unsigned depth, const Word* registers) {
    const bool of_helper = calls(previous(), CallKind::helper);
    if (of_helper && depth == depth_ + 1) {
        if (previous().imm == BPF_FUNC_for_each_map_elem) {
            found_.push_back({reinterpret_cast<const void*>(registers[1]), registers[3]});
            keys_[depth] = registers[2];
        }
    } else if (of_helper) {
        remember_helper(registers_[depth_].data(), registers[0]);
    } else if (calls(previous(), CallKind::kfunc)) {
        remember_kfunc(registers_[depth_].data(), registers[0]);
    }
}

void Follower::remember_helper(const Word* arguments, Word result) {
    if (bpf::helper(previous().imm).sleepable && !may_sleep()) {
        blame(text_of("instruction %u may sleep where nothing may", insn_));
    }
    switch (previous().imm) {
    case BPF_FUNC_map_lookup_elem:
        if (result != 0) {
            found_.push_back({reinterpret_cast<const void*>(arguments[1]), result});
        }
        break;
    case BPF_FUNC_ringbuf_reserve:
        if (result != 0) {
            records_.emplace_back(result, arguments[2]);
            ++held_[HeldKind::reference];
        }
        break;
    case BPF_FUNC_ringbuf_submit:
    case BPF_FUNC_ringbuf_discard:
        std::erase_if(records_,
                      [arguments](const auto& each) { return each.first == arguments[1]; });
        --held_[HeldKind::reference];
        break;
    case BPF_FUNC_spin_lock:
        ++held_[HeldKind::spin_lock];
        break;
    case BPF_FUNC_spin_unlock:
        --held_[HeldKind::spin_lock];
        break;
    default:
        break;
    }
}

bool Follower::may_sleep() const {
    return held_.rcu_locks == 0 && held_.preempt_locks == 0 &&
           std::all_of(held_.of_kind.begin() + 1, held_.of_kind.end(),
                       [](std::uint32_t count) { return count == 0; });
}

void Follower::remember_kfunc(const Word* arguments, Word result) {
    const std::string_view name = bpf::kfunc(previous().imm).name;
    if (name == "bpf_iter_num_new") {
        ++held_[HeldKind::reference];
    } else if (name == "bpf_iter_num_next" && result != 0) {
        iterated_.push_back(result);
    } else if (name == "bpf_iter_num_destroy") {
        std::erase(iterated_, arguments[1]);
        --held_[HeldKind::reference];
    } else if (name.starts_with("bpf_res_spin_lock") && result == 0) {
        ++held_[HeldKind::res_spin_lock];
        held_[HeldKind::irq_flag] += name.ends_with("_irqsave") ? 1 : 0;
    } else if (name.starts_with("bpf_res_spin_unlock")) {
        --held_[HeldKind::res_spin_lock];
        held_[HeldKind::irq_flag] -= name.ends_with("_irqrestore") ? 1 : 0;
    } else if ((name == "bpf_task_from_pid" || name == "bpf_task_acquire") && result != 0) {
        acquired_.push_back(result);
        ++held_[HeldKind::reference];
    } else if (name == "bpf_task_release") {
        const auto released = std::find(acquired_.begin(), acquired_.end(), arguments[1]);
        if (released == acquired_.end()) {
            blame(text_of("instruction %u releases what is not held", insn_));
        } else {
            acquired_.erase(released);
        }
        --held_[HeldKind::reference];
    } else if (name == "bpf_rcu_read_lock") {
        ++held_.rcu_locks;
    } else if (name == "bpf_rcu_read_unlock") {
        --held_.rcu_locks;
    } else if (name == "bpf_preempt_disable") {
        ++held_.preempt_locks;
    } else if (name == "bpf_preempt_enable") {
        --held_.preempt_locks;
    }
}

/// What the state holds, the execution does. A reference that may be none is none yet where the
/// pointer is null.
bool Follower::hold_held(const Node& node, const LooseFrames& loose) {
    Holding expected = activation().held;
    expected.rcu_locks += node.rcu_locks;
    expected.preempt_locks += node.preempt_locks;
    for (const Node::Held& each : node.held) {
        expected[each.kind] +=
            each.kind != HeldKind::reference || !is_null(node, loose, each.id) ? 1 : 0;
    }
    if (expected == held_) {
        return true;
    }
    complaint_ =
        text_of("what is held: references %u, walked %u; locks %u and %u, walked %u and "
                "%u; flags %u, walked %u; sections %u, walked %u; regions without "
                "preemption %u, walked %u",
                held_.of_kind[0], expected.of_kind[0], held_.of_kind[1], held_.of_kind[2],
                expected.of_kind[1], expected.of_kind[2], held_.of_kind[3], expected.of_kind[3],
                held_.rcu_locks, expected.rcu_locks, held_.preempt_locks, expected.preempt_locks);
    return false;
}

bool Follower::is_null(const Node& node, const LooseFrames& loose, std::uint32_t reference) const {
    const auto may_be_null = [reference](const Register& reg) {
        return reg.is_pointer() && reg.reference == reference && reg.or_null;
    };
    for (unsigned f = 0; f < node.frames.size(); ++f) {
        const verifier::Frame& frame = node.frames[f];
        for (unsigned i = 0; i < MAX_BPF_REG; ++i) {
            if (may_be_null(frame.registers[i]) && !loose[f].has_register(i)) {
                return registers_[activation().base + f][i] == 0;
            }
        }
        for (unsigned i = 0; i < frame.stack.size(); ++i) {
            if (frame.stack[i].is_spilled() && may_be_null(frame.stack[i].spilled) &&
                !loose[f].has_slot(i)) {
                return slot_word(f, i) == 0;
            }
        }
    }
    return false;
}

void Follower::end() {
    if (held_ != Holding{}) {
        blame("it ends and holds something");
    }
}

}  // namespace taskwork::fuzz
