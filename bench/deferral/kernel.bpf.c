// SPDX-License-Identifier: Apache-2.0
//
// The kernel's own task work, for the benchmark to hold beside ours: schedules onto the calling
// thread, or onto `target_tid`, a callback that counts.
#include <stdbool.h>

#include <taskwork/bpf/task_work.bpf.h>

// Offered under GPL-2.0 as well, since the kernel lets nothing else call kernel functions.
char LICENSE[] SEC("license") = "GPL";

#define ATTEMPTS 256

struct value {
    struct bpf_task_work work;
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct value);
} values SEC(".maps");

// Read by the benchmark through the memory of this section.
volatile struct {
    __u64 runs;
    __s64 error;
    __u64 refused_ns;  ///< Of ATTEMPTS refused attempts.
    __s32 target_tid;
} shared SEC(".data.shared");

static int later(struct bpf_map* map, void* key, void* data) {
    __sync_fetch_and_add(&shared.runs, 1);
    return 0;
}

static struct value* the_value(void) {
    __u32 key = 0;
    return bpf_map_lookup_elem(&values, &key);
}

SEC("syscall")
int nothing(void* arguments) { return 0; }

SEC("syscall")
int onto_self(void* arguments) {
    struct value* value = the_value();
    if (value) {
        shared.error =
            taskwork_schedule_signal(bpf_get_current_task_btf(), &value->work, &values, later);
    }
    return 0;
}

SEC("syscall")
int onto_target(void* arguments) {
    struct value* value = the_value();
    struct task_struct* task = bpf_task_from_pid(shared.target_tid);
    if (!task) {
        return 0;
    }
    if (value) {
        shared.error = taskwork_schedule_signal(task, &value->work, &values, later);
    }
    bpf_task_release(task);
    return 0;
}

SEC("syscall")
int refused(void* arguments) {
    struct value* value = the_value();
    if (!value) {
        return 0;
    }
    struct task_struct* task = bpf_get_current_task_btf();
    taskwork_schedule_signal(task, &value->work, &values, later);
    __u64 begin = bpf_ktime_get_ns();
    for (int i = 0; i < ATTEMPTS; ++i) {
        shared.error = taskwork_schedule_signal(task, &value->work, &values, later);
    }
    shared.refused_ns = bpf_ktime_get_ns() - begin;
    return 0;
}
