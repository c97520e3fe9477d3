// SPDX-License-Identifier: Apache-2.0
//
// For the tests of this layer: a little of everything that a loader has to get right. The syscall
// programs take a `struct arguments` and answer in it.

#include <taskwork/bpf/task_work.bpf.h>

char LICENSE[] SEC("license") = "GPL";

struct arguments {
    __s32 target;
    __s32 result;
    __u64 number;
    char text[16];
};

struct value {
    __u64 runs;
    struct bpf_task_work work;
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 16);
    __type(key, __u32);
    __type(value, struct value);
} values SEC(".maps");

const volatile __u64 factor = 3;
__u64 initialised = 40;
__u64 callbacks;

static int arrive(struct bpf_map* map, void* key, void* data) {
    struct value* value = data;
    value->runs += 1;
    __sync_fetch_and_add(&callbacks, 1);
    return 0;
}

/// Constant, data and zeroed sections, and the context both ways.
SEC("syscall")
int sections(struct arguments* arguments) {
    initialised += 1;
    arguments->number = arguments->number * factor + initialised;
    return (int)arguments->number;
}

/// The fields of the current task, relocated onto whatever kernel this is.
SEC("syscall")
int identity(struct arguments* arguments) {
    struct task_struct* task = bpf_get_current_task_btf();
    arguments->target = task->pid;
    arguments->result = task->tgid;
    arguments->number = task->mm ? task->mm->arg_start : 0;
    // Not straight into the context: a pointer into its middle is refused.
    char name[sizeof(arguments->text)];
    bpf_get_current_comm(name, sizeof(name));
    __builtin_memcpy(arguments->text, name, sizeof(name));
    return 0;
}

SEC("syscall")
int schedule(struct arguments* arguments) {
    __u32 key = 1;
    struct value* value = bpf_map_lookup_elem(&values, &key);
    if (!value) {
        struct value empty = {};
        bpf_map_update_elem(&values, &key, &empty, BPF_NOEXIST);
        value = bpf_map_lookup_elem(&values, &key);
        if (!value) {
            return -1;
        }
    }
    struct task_struct* task = bpf_task_from_pid(arguments->target);
    if (!task) {
        return -2;
    }
    arguments->result = taskwork_schedule_signal(task, &value->work, &values, arrive);
    bpf_task_release(task);
    return 0;
}

SEC("perf_event")
int on_event(struct bpf_perf_event_data* context) {
    __sync_fetch_and_add(&callbacks, 1);
    return 0;
}
