// SPDX-License-Identifier: Apache-2.0
//
// References to tasks: acquired, checked, released exactly once; what may stand for a reference.
#include "verifier.bpf.h"

#define PID 1

ACCEPTED
SEC("?syscall")
int released(void* context) {
    struct task_struct* task = bpf_task_from_pid(PID);
    if (task) {
        bpf_task_release(task);
    }
    return 0;
}

ACCEPTED
SEC("?perf_event")
int released_in_an_event(void* context) {
    struct task_struct* task = bpf_task_from_pid(PID);
    if (task) {
        bpf_task_release(task);
    }
    return 0;
}

REJECTED("Unreleased reference id=")
SEC("?syscall")
int kept(void* context) {
    struct task_struct* task = bpf_task_from_pid(PID);
    return task ? task->pid : 0;
}

REJECTED("Unreleased reference id=")
SEC("?syscall")
int forgotten(void* context) {
    bpf_task_from_pid(PID);
    return 0;
}

REJECTED("Possibly NULL pointer passed to trusted R1")
KERNEL_COUNTS_ARGUMENTS("Possibly NULL pointer passed to trusted arg0")
SEC("?syscall")
int released_unchecked(void* context) {
    struct task_struct* task = bpf_task_from_pid(PID);
    bpf_task_release(task);
    return 0;
}

REJECTED("release kernel function bpf_task_release expects refcounted PTR_TO_BTF_ID")
SEC("?syscall")
int released_without_a_reference(void* context) {
    bpf_task_release((struct task_struct*)bpf_get_current_task_btf());
    return 0;
}

REJECTED("arg#0 pointer type STRUCT task_struct must point to scalar, or struct with scalar")
SEC("?syscall")
int released_twice(void* context) {
    struct task_struct* task = bpf_task_from_pid(PID);
    if (task) {
        struct task_struct* same = task;
        UNKNOWN(same);
        bpf_task_release(task);
        bpf_task_release(same);
    }
    return 0;
}

REJECTED("invalid mem access 'scalar'")
SEC("?syscall")
int used_behind_its_release(void* context) {
    struct task_struct* task = bpf_task_from_pid(PID);
    if (!task) {
        return 0;
    }
    bpf_task_release(task);
    return *(volatile int*)&task->pid;
}

REJECTED("invalid mem access 'ptr_or_null_")
SEC("?syscall")
int used_unchecked(void* context) {
    struct task_struct* task = bpf_task_from_pid(PID);
    int pid = *(volatile int*)&task->pid;
    if (task) {
        bpf_task_release(task);
    }
    return pid;
}

ACCEPTED
SEC("?syscall")
int acquired_and_released(void* context) {
    struct task_struct* task = bpf_task_acquire((struct task_struct*)bpf_get_current_task_btf());
    if (task) {
        bpf_task_release(task);
    }
    return 0;
}

REJECTED("R1 must be a rcu pointer")
SEC("?syscall")
int acquired_by_walking(void* context) {
    struct task_struct* self = (struct task_struct*)bpf_get_current_task_btf();
    struct task_struct* task = bpf_task_acquire(self->group_leader);
    if (task) {
        bpf_task_release(task);
    }
    return 0;
}

ACCEPTED
SEC("?syscall")
int two_references(void* context) {
    struct task_struct* a = bpf_task_from_pid(PID);
    if (!a) {
        return 0;
    }
    struct task_struct* b = bpf_task_acquire(a);
    bpf_task_release(a);
    if (b) {
        bpf_task_release(b);
    }
    return 0;
}

REJECTED("Unreleased reference id=")
SEC("?syscall")
int reference_kept_in_a_loop(void* context) {
    for (int i = 0; i < 3; ++i) {
        struct task_struct* task = bpf_task_from_pid(i);
        if (task && i != 2) {
            bpf_task_release(task);
        }
    }
    return 0;
}

static __noinline int release_it(struct task_struct* task) {
    bpf_task_release(task);
    return 0;
}

ACCEPTED
SEC("?syscall")
int released_by_a_function(void* context) {
    struct task_struct* task = bpf_task_from_pid(PID);
    if (task) {
        release_it(task);
    }
    return 0;
}

static __noinline struct task_struct* find_it(void) { return bpf_task_from_pid(PID); }

ACCEPTED
SEC("?syscall")
int acquired_by_a_function(void* context) {
    struct task_struct* task = find_it();
    if (task) {
        bpf_task_release(task);
    }
    return 0;
}
