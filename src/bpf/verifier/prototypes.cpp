// SPDX-License-Identifier: Apache-2.0
#include "bpf/verifier/prototypes.hpp"

#include <linux/bpf.h>

#include <array>
#include <string_view>

#include "bpf/kfuncs.hpp"

namespace taskwork::bpf::verifier {

namespace {

constexpr auto make_table() {
    using enum Argument;
    std::array<Prototype, __BPF_FUNC_MAX_ID> table{};
    const auto set = [&table](int id, Result result, Argument a = none, Argument b = none,
                              Argument c = none, Argument d = none, Argument e = none) {
        table[static_cast<std::size_t>(id)] = {result, {a, b, c, d, e}, true};
    };
    constexpr Result integer = Result::integer;
    set(BPF_FUNC_map_lookup_elem, Result::map_value_or_null, map_pointer, map_key);
    set(BPF_FUNC_map_update_elem, integer, map_pointer, map_key, map_value, anything);
    set(BPF_FUNC_map_delete_elem, integer, map_pointer, map_key);
    set(BPF_FUNC_map_lookup_percpu_elem, Result::map_value_or_null, map_pointer, map_key, anything);
    set(BPF_FUNC_map_push_elem, integer, map_pointer, map_value, anything);
    set(BPF_FUNC_map_pop_elem, integer, map_pointer, map_value_out);
    set(BPF_FUNC_map_peek_elem, integer, map_pointer, map_value_out);
    set(BPF_FUNC_for_each_map_elem, integer, map_pointer, callback, stack_or_null, anything);
    set(BPF_FUNC_loop, integer, anything, callback, stack_or_null, anything);
    set(BPF_FUNC_tail_call, Result::nothing, context, map_pointer, anything);

    for (const int id : {BPF_FUNC_probe_read, BPF_FUNC_probe_read_str, BPF_FUNC_probe_read_user,
                         BPF_FUNC_probe_read_user_str, BPF_FUNC_probe_read_kernel,
                         BPF_FUNC_probe_read_kernel_str, BPF_FUNC_copy_from_user}) {
        set(id, integer, memory_out, size_or_zero, anything);
    }
    set(BPF_FUNC_get_stack, integer, context, memory_out, size_or_zero, anything);
    set(BPF_FUNC_get_stackid, integer, context, map_pointer, anything);
    set(BPF_FUNC_strncmp, integer, memory, size, string);
    set(BPF_FUNC_trace_printk, integer, memory, size);
    set(BPF_FUNC_trace_vprintk, integer, memory, size, memory_or_null, size_or_zero);
    set(BPF_FUNC_snprintf, integer, memory_out_or_null, size_or_zero, string, memory_or_null,
        size_or_zero);

    set(BPF_FUNC_ringbuf_output, integer, map_pointer, memory, size_or_zero, anything);
    set(BPF_FUNC_ringbuf_reserve, Result::record_or_null, map_pointer, constant_size, anything);
    set(BPF_FUNC_ringbuf_submit, Result::nothing, record, anything);
    set(BPF_FUNC_ringbuf_discard, Result::nothing, record, anything);
    set(BPF_FUNC_ringbuf_query, integer, map_pointer, anything);
    set(BPF_FUNC_perf_event_output, integer, context, map_pointer, anything, memory, size_or_zero);

    set(BPF_FUNC_spin_lock, Result::nothing, spin_lock);
    set(BPF_FUNC_spin_unlock, Result::nothing, spin_lock);

    for (const int id :
         {BPF_FUNC_ktime_get_ns, BPF_FUNC_ktime_get_boot_ns, BPF_FUNC_ktime_get_coarse_ns,
          BPF_FUNC_ktime_get_tai_ns, BPF_FUNC_get_prandom_u32, BPF_FUNC_get_smp_processor_id,
          BPF_FUNC_get_numa_node_id, BPF_FUNC_get_current_pid_tgid, BPF_FUNC_get_current_uid_gid,
          BPF_FUNC_get_current_task}) {
        set(id, integer);
    }
    set(BPF_FUNC_get_current_comm, integer, memory_out, size);
    set(BPF_FUNC_get_current_task_btf, Result::trusted_task);
    set(BPF_FUNC_get_attach_cookie, integer, context);
    return table;
}
constexpr auto kTable = make_table();
constexpr Prototype kNone{};

using K = KfuncArgument;
constexpr KfuncPrototype kKfuncTable[] = {
    {"bpf_task_work_schedule_signal",
     KfuncResult::integer,
     {K::task, K::work_slot, K::map, K::callback},
     KfuncKind::schedule},
    {"bpf_task_work_schedule_resume",
     KfuncResult::integer,
     {K::task, K::work_slot, K::map, K::callback},
     KfuncKind::schedule},
    {"bpf_task_work_schedule_signal_impl",
     KfuncResult::integer,
     {K::task, K::work_slot, K::map, K::callback, K::ignored},
     KfuncKind::schedule},
    {"bpf_task_work_schedule_resume_impl",
     KfuncResult::integer,
     {K::task, K::work_slot, K::map, K::callback, K::ignored},
     KfuncKind::schedule},
    {"bpf_copy_from_user_str",
     KfuncResult::integer,
     {K::memory_out, K::size, K::user_address, K::number}},
    {"bpf_task_from_pid", KfuncResult::acquired_task, {K::number}},
    {"bpf_task_acquire", KfuncResult::acquired_task, {K::task_rcu}},
    {"bpf_task_release", KfuncResult::nothing, {K::task_owned}},
    {"bpf_rcu_read_lock", KfuncResult::nothing, {}, KfuncKind::rcu_lock},
    {"bpf_rcu_read_unlock", KfuncResult::nothing, {}, KfuncKind::rcu_unlock},
    {"bpf_res_spin_lock", KfuncResult::integer, {K::lock}, KfuncKind::res_lock},
    {"bpf_res_spin_unlock", KfuncResult::nothing, {K::lock}, KfuncKind::res_unlock},
    {"bpf_res_spin_lock_irqsave",
     KfuncResult::integer,
     {K::lock, K::irq_flag},
     KfuncKind::res_lock,
     true},
    {"bpf_res_spin_unlock_irqrestore",
     KfuncResult::nothing,
     {K::lock, K::irq_flag},
     KfuncKind::res_unlock,
     true},
    {"bpf_iter_num_new",
     KfuncResult::integer,
     {K::iterator, K::number, K::number},
     KfuncKind::iter_new},
    {"bpf_iter_num_next", KfuncResult::iterated, {K::iterator}, KfuncKind::iter_next},
    {"bpf_iter_num_destroy", KfuncResult::nothing, {K::iterator}, KfuncKind::iter_destroy},
    {"bpf_preempt_disable", KfuncResult::nothing, {}, KfuncKind::preempt_disable},
    {"bpf_preempt_enable", KfuncResult::nothing, {}, KfuncKind::preempt_enable},
};

}  // namespace

const Prototype& prototype_of(std::int32_t helper) {
    return helper >= 0 && static_cast<std::size_t>(helper) < kTable.size()
               ? kTable[static_cast<std::size_t>(helper)]
               : kNone;
}

const KfuncPrototype* kfunc_prototype_of(std::int32_t number) {
    const std::string_view name = kfunc(number).name;
    for (const KfuncPrototype& prototype : kKfuncTable) {
        if (name == prototype.name) {
            return &prototype;
        }
    }
    return nullptr;
}

}  // namespace taskwork::bpf::verifier
