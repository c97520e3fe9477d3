// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/soundness/constructs.hpp"

#include <algorithm>

#include "bpf/test_program.hpp"
#include "tests/fuzz/soundness/instructions.hpp"

namespace taskwork::fuzz {

namespace {

bool is_jump(const bpf_insn& insn) {
    const unsigned kind = BPF_CLASS(insn.code);
    return (kind == BPF_JMP || kind == BPF_JMP32) && BPF_OP(insn.code) != BPF_CALL &&
           BPF_OP(insn.code) != BPF_EXIT;
}

/// Jumps to where a function begins.
bool goes_to_first(const Generated& program, std::size_t at) {
    const bpf_insn& insn = program.insns[at];
    const std::int64_t over = insn.code == (BPF_JMP32 | BPF_JA) ? insn.imm : insn.off;
    const std::int64_t to = static_cast<std::int64_t>(at) + 1 + over;
    return is_jump(insn) && std::any_of(program.functions.begin(), program.functions.end(),
                                        [to](const auto& each) { return each.insn == to; });
}

bool calls_kfunc(const bpf_insn& insn, const char* name) {
    return calls(insn, CallKind::kfunc) && insn.imm == bpf::test::BpfDomain::call_kfunc(name).imm;
}

}  // namespace

void count_constructs(const Generated& program, ConstructCounts& counts) {
    std::array<bool, kConstructNames.size()> has{};
    for (std::size_t i = 0; i < program.insns.size(); ++i) {
        const bpf_insn& insn = program.insns[i];
        const auto note = [&has](Construct which, bool found) {
            bool& known = has[static_cast<std::size_t>(which)];
            known = known || found;
        };
        note(Construct::may_goto, insn.code == (BPF_JMP | bpf::kOpConditionalPseudo));
        note(Construct::loop_at_first, goes_to_first(program, i));
        note(Construct::iterator, calls_kfunc(insn, "bpf_iter_num_next"));
        note(Construct::spin_lock, calls(insn, CallKind::helper) && insn.imm == BPF_FUNC_spin_lock);
        note(Construct::resilient_lock, calls_kfunc(insn, "bpf_res_spin_lock") ||
                                            calls_kfunc(insn, "bpf_res_spin_lock_irqsave"));
        for (const char* name :
             {"bpf_task_work_schedule_signal", "bpf_task_work_schedule_resume",
              "bpf_task_work_schedule_signal_impl", "bpf_task_work_schedule_resume_impl"}) {
            note(Construct::work, calls_kfunc(insn, name));
        }
        note(Construct::reference, calls_kfunc(insn, "bpf_task_release"));
        note(Construct::rcu, calls_kfunc(insn, "bpf_rcu_read_unlock"));
        note(Construct::preempt, calls_kfunc(insn, "bpf_preempt_enable"));
        note(Construct::tail_call, calls(insn, CallKind::helper) && insn.imm == BPF_FUNC_tail_call);
        note(Construct::sleeping,
             calls(insn, CallKind::helper) && insn.imm == BPF_FUNC_copy_from_user);
        i += insn.code == bpf::kLoadImmediate64 ? 1 : 0;
    }
    for (std::size_t i = 0; i < has.size(); ++i) {
        counts[i] += has[i] ? 1 : 0;
    }
}

}  // namespace taskwork::fuzz
