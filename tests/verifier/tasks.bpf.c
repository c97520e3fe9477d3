// SPDX-License-Identifier: Apache-2.0
//
// Tasks as typed pointers: fields at their places, read only, trusted or not, and what the walk
// from one to the next makes of them.
#include "verifier.bpf.h"

#define SELF ((struct task_struct*)bpf_get_current_task_btf())

ACCEPTED
SEC("?perf_event")
int fields(void* context) {
    struct task_struct* self = SELF;
    return self->pid + self->tgid + (int)self->start_time + self->comm[3];
}

ACCEPTED
SEC("?perf_event")
int fields_of_the_memory(void* context) {
    struct task_struct* self = SELF;
    struct mm_struct* mm = self->mm;
    return mm ? (int)mm->arg_start : 0;
}

ACCEPTED
SEC("?perf_event")
int walk_to_the_parent(void* context) { return SELF->real_parent->real_parent->pid; }

REJECTED("only read is supported")
SEC("?perf_event")
int field_written(void* context) {
    struct task_struct* self = SELF;
    *(volatile int*)&self->pid = 0;
    return 0;
}

REJECTED("invalid mem access 'scalar'")
SEC("?perf_event")
int number_as_task(void* context) {
    struct task_struct* self = (struct task_struct*)bpf_get_current_task();
    return *(volatile int*)&self->pid;
}

ACCEPTED
SEC("?perf_event")
int number_as_task_by_a_helper(void* context) {
    struct task_struct* self = (struct task_struct*)bpf_get_current_task();
    int pid = 0;
    bpf_probe_read_kernel(&pid, sizeof pid, &self->pid);
    return pid;
}

REJECTED("access beyond struct task_struct at off")
PROGRAM(behind_the_task, "perf_event",
        "call %[get_current_task_btf]; r0 = *(u64*)(r0 + 32760); exit;",
        HELPER(get_current_task_btf))

REJECTED("R0 is ptr_task_struct invalid negative access: off=-8")
PROGRAM(before_the_task, "perf_event", "call %[get_current_task_btf]; r0 = *(u64*)(r0 - 8); exit;",
        HELPER(get_current_task_btf))

REJECTED("R0 is ptr_task_struct invalid variable offset: off=0, var_off=")
PROGRAM(index_into_the_task, "perf_event",
        "r6 = *(u64*)(r1 + 168); r6 &= 8; call %[get_current_task_btf]; r0 += r6; "
        "r0 = *(u64*)(r0 + 0); exit;",
        HELPER(get_current_task_btf))

REJECTED("only read is supported")
PROGRAM(atomic_on_a_task, "perf_event",
        "call %[get_current_task_btf]; r1 = 1; lock *(u64*)(r0 + 8) += r1; r0 = 0; exit;",
        HELPER(get_current_task_btf))

ACCEPTED
SEC("?syscall")
int found_task_is_trusted(void* context) {
    struct task_struct* task = bpf_task_from_pid(1);
    if (!task) {
        return 0;
    }
    int pid = task->group_leader->pid;
    bpf_task_release(task);
    return pid;
}

ACCEPTED
SEC("?syscall")
int walk_in_the_section(void* context) {
    bpf_rcu_read_lock();
    int pid = SELF->real_parent->pid;
    bpf_rcu_read_unlock();
    return pid;
}

REJECTED("unmatched rcu read unlock (kernel function bpf_rcu_read_unlock)")
SEC("?syscall")
int section_left_first(void* context) {
    bpf_rcu_read_unlock();
    return 0;
}

REJECTED("BPF_EXIT instruction in main prog cannot be used inside bpf_rcu_read_lock-ed region")
SEC("?syscall")
int section_never_left(void* context) {
    bpf_rcu_read_lock();
    return 0;
}

REJECTED("nested rcu read lock (kernel function bpf_rcu_read_lock)")
SEC("?syscall")
int section_in_a_section(void* context) {
    bpf_rcu_read_lock();
    bpf_rcu_read_lock();
    bpf_rcu_read_unlock();
    bpf_rcu_read_unlock();
    return 0;
}

REJECTED("R1 must be a rcu pointer")
SEC("?syscall")
int pointer_of_a_section_behind_it(void* context) {
    bpf_rcu_read_lock();
    struct task_struct* parent = SELF->real_parent;
    bpf_rcu_read_unlock();
    struct task_struct* kept = bpf_task_acquire(parent);
    if (kept) {
        bpf_task_release(kept);
    }
    return 0;
}

ACCEPTED
SEC("?syscall")
int pointer_of_a_section_acquired_in_it(void* context) {
    bpf_rcu_read_lock();
    struct task_struct* kept = bpf_task_acquire(SELF->real_parent);
    bpf_rcu_read_unlock();
    if (kept) {
        bpf_task_release(kept);
    }
    return 0;
}

REJECTED("R1 type=trusted_ptr_")
PROGRAM(task_as_memory_to_write, "perf_event",
        "call %[get_current_task_btf]; r1 = r0; r2 = 16; call %[get_current_comm]; r0 = 0; exit;",
        HELPER(get_current_task_btf), HELPER(get_current_comm))

REJECTED("access beyond the end of member")
PROGRAM(task_as_memory_to_read, "perf_event",
        "call %[get_current_task_btf]; r1 = r0; r2 = 16; call %[trace_printk]; r0 = 0; exit;",
        HELPER(get_current_task_btf), HELPER(trace_printk))

// ---- One load, several pointers -----------------------------------------------------------------

REJECTED("same insn cannot be used with different pointers")
PROGRAM(task_or_stack_by_one_load, "perf_event",
        "r6 = *(u64*)(r1 + 168); r0 = 0; *(u64*)(r10 - 8) = r0; call %[get_current_task_btf]; "
        "if r6 == 0 goto load_%=; r0 = r10; r0 += -8; "
        "load_%=: r0 = *(u32*)(r0 + 0); exit;",
        HELPER(get_current_task_btf))

REJECTED("same insn cannot be used with different pointers")
PROGRAM(context_or_stack_by_one_load, "perf_event",
        "r6 = *(u64*)(r1 + 168); r0 = 0; *(u64*)(r10 - 8) = r0; r0 = r1; "
        "if r6 == 0 goto load_%=; r0 = r10; r0 += -8; "
        "load_%=: r0 = *(u64*)(r0 + 0); exit;")

ACCEPTED
KERNEL_NOT_ASKED("offsets in assembler are not relocated: these are our structure's")
PROGRAM(trusted_or_walked_task_by_one_load, "perf_event",
        "r6 = *(u64*)(r1 + 168); call %[get_current_task_btf]; "
        "if r6 == 0 goto load_%=; r0 = *(u64*)(r0 + %[parent]); "
        "load_%=: r0 = *(u64*)(r0 + %[start_time]); r0 = 0; exit;",
        HELPER(get_current_task_btf), VALUE(parent, __builtin_offsetof(struct task_struct, parent)),
        VALUE(start_time, __builtin_offsetof(struct task_struct, start_time)))
