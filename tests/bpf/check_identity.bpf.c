// SPDX-License-Identifier: Apache-2.0
//
// Who is running: ids, name, task, processor. Reads pid, tid, parent, uid, gid, processors; the
// driver's thread is called CHECK_COMM.

#include "check.bpf.h"

#include <bpf/bpf_core_read.h>

static __always_inline void check(enum check_context context) {
    __u64 id = bpf_get_current_pid_tgid();
    CHECK_EQUAL((__s32)(id >> 32), input.pid);
    CHECK_EQUAL((__s32)id, input.tid);

    __u64 owner = bpf_get_current_uid_gid();
    CHECK_EQUAL((__u32)owner, input.uid);
    CHECK_EQUAL(owner >> 32, input.gid);

    static const char wanted_name[] = CHECK_COMM;
    char name[16] = {};
    CHECK_EQUAL(bpf_get_current_comm(name, sizeof(name)), 0);
    CHECK_SAME_BYTES(name, wanted_name, sizeof(wanted_name));
    char name_of_7[7] = {};
    CHECK_EQUAL(bpf_get_current_comm(name_of_7, sizeof(name_of_7)), 0);
    CHECK_SAME_BYTES(name_of_7, wanted_name, 6);
    CHECK_EQUAL(name_of_7[6], 0);

    // A trusted task: its fields are read directly.
    struct task_struct* task = bpf_get_current_task_btf();
    CHECK_EQUAL(task->pid, input.tid);
    CHECK_EQUAL(task->tgid, input.pid);
    CHECK_SAME_BYTES(task->comm, wanted_name, sizeof(wanted_name));
    CHECK_EQUAL(task->group_leader->pid, input.pid);
    CHECK_EQUAL(task->real_parent->tgid, input.parent);
    CHECK(task->start_time > 0);
    CHECK(task->start_time <= bpf_ktime_get_ns());
    CHECK(task->start_boottime <= bpf_ktime_get_boot_ns());
    struct mm_struct* mm = task->mm;
    CHECK(mm != NULL);
    if (mm) {
        CHECK(mm->arg_start < mm->arg_end);
        CHECK(mm->arg_end <= mm->env_start);
        CHECK(mm->env_start <= mm->env_end);
    }

    // The same task as a number: its fields are read by a helper.
    struct task_struct* unknown = (struct task_struct*)bpf_get_current_task();
    CHECK_EQUAL(bpf_get_current_task(), CHECK_ADDRESS(task));
    CHECK_EQUAL(BPF_CORE_READ(unknown, pid), input.tid);
    CHECK_EQUAL(BPF_CORE_READ(unknown, group_leader, tgid), input.pid);
    CHECK_EQUAL((__u64)BPF_CORE_READ(unknown, mm), CHECK_ADDRESS(mm));
    char read_name[16] = {};
    CHECK(BPF_CORE_READ_STR_INTO(&read_name, unknown, comm) == sizeof(wanted_name));
    CHECK_SAME_BYTES(read_name, wanted_name, sizeof(wanted_name));

    CHECK(bpf_get_smp_processor_id() < input.processors);
}

CHECK_IN_EVERY_CONTEXT(check)
