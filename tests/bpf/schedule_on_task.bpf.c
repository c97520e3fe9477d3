// SPDX-License-Identifier: Apache-2.0
//
// Scheduling onto another thread, found by its id, in both modes. Reads target_tid. Each program
// schedules once and says how it went in schedule_error: 0, a negative errno, or -ESRCH if there is
// no such thread. The callback says where it ran in ran_on, and copies the target's first argument
// string, which shows whose memory it sees; task_work_runs counts.
//
// observed[0]: result of the copy (bytes with the NUL, or a negative errno).

#include "check.bpf.h"

struct value {
    struct bpf_task_work work;
    char text[64];
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 64);
    __type(key, __s32);  // target thread
    __type(value, struct value);
} values SEC(".maps");

static int arrive(struct bpf_map* map, void* key, void* data) {
    struct value* value = data;
    struct mm_struct* mm = bpf_get_current_task_btf()->mm;

    result.observed[0] =
        bpf_copy_from_user_str(value->text, sizeof(value->text), (void*)mm->arg_start, 0);
    result.ran_on = (__u32)bpf_get_current_pid_tgid();
    __sync_fetch_and_add(&result.task_work_runs, 1);
    return 0;
}

static struct value* value_of_target(void) {
    static const struct value empty;
    __s32 target = input.target_tid;
    bpf_map_update_elem(&values, &target, &empty, BPF_NOEXIST);
    return bpf_map_lookup_elem(&values, &target);
}

SEC("syscall")
int schedule_signal(void* arguments) {
    struct value* value = value_of_target();
    if (!value) {
        return 0;
    }
    struct task_struct* task = bpf_task_from_pid(input.target_tid);
    if (!task) {
        result.schedule_error = -ESRCH;
        return 0;
    }
    result.schedule_error = taskwork_schedule_signal(task, &value->work, &values, arrive);
    bpf_task_release(task);
    __sync_fetch_and_add(&result.task_runs, 1);
    return 0;
}

SEC("syscall")
int schedule_resume(void* arguments) {
    struct value* value = value_of_target();
    if (!value) {
        return 0;
    }
    struct task_struct* task = bpf_task_from_pid(input.target_tid);
    if (!task) {
        result.schedule_error = -ESRCH;
        return 0;
    }
    result.schedule_error = taskwork_schedule_resume(task, &value->work, &values, arrive);
    bpf_task_release(task);
    __sync_fetch_and_add(&result.task_runs, 1);
    return 0;
}

/// Deletes the target's element, and with it a work that has not run.
SEC("syscall")
int cancel(void* arguments) {
    __s32 target = input.target_tid;
    result.schedule_error = bpf_map_delete_elem(&values, &target);
    return 0;
}

/// From nmi, on top of whatever the current thread does: onto the target.
SEC("perf_event")
int in_nmi(struct bpf_perf_event_data* event) {
    if (__sync_fetch_and_add(&result.events, 1) != 0) {
        return 0;
    }
    struct value* value = value_of_target();
    if (!value) {
        return 0;
    }
    struct task_struct* task = bpf_task_from_pid(input.target_tid);
    if (!task) {
        result.schedule_error = -ESRCH;
        return 0;
    }
    result.schedule_error = taskwork_schedule_signal(task, &value->work, &values, arrive);
    bpf_task_release(task);
    __sync_fetch_and_add(&result.nmi_runs, 1);
    return 0;
}
