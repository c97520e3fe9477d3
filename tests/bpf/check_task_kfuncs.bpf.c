// SPDX-License-Identifier: Apache-2.0
//
// Finding, holding and releasing tasks. Reads pid, tid.

#include "check.bpf.h"

static __always_inline void check(enum check_context context) {
    struct task_struct* task = bpf_task_from_pid(input.tid);
    CHECK(task != NULL);
    if (task) {
        CHECK_EQUAL(task->pid, input.tid);
        CHECK_EQUAL(task->tgid, input.pid);
        struct task_struct* again = bpf_task_acquire(task);
        CHECK(again != NULL);
        if (again) {
            CHECK_EQUAL(CHECK_ADDRESS(again), CHECK_ADDRESS(task));
            bpf_task_release(task);
            CHECK_EQUAL(again->pid, input.tid);
            bpf_task_release(again);
        } else {
            bpf_task_release(task);
        }
    }

    struct task_struct* own = bpf_task_acquire(bpf_get_current_task_btf());
    CHECK(own != NULL);
    if (own) {
        CHECK_EQUAL(own->pid, input.tid);
        bpf_task_release(own);
    }

    // No such thread: beyond the highest possible id, and none at all.
    struct task_struct* nobody = bpf_task_from_pid(0x7fffffff);
    CHECK(nobody == NULL);
    if (nobody) {
        bpf_task_release(nobody);
    }
    nobody = bpf_task_from_pid(-1);
    CHECK(nobody == NULL);
    if (nobody) {
        bpf_task_release(nobody);
    }
}

CHECK_IN_EVERY_CONTEXT(check)
