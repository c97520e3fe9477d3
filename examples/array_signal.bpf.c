// SPDX-License-Identifier: Apache-2.0
//
// Task work in "signal" mode from an array, whose elements are always there.
//
//     taskwork run array_signal.bpf.o -- COMMAND
//
// Threads share the slots: a schedule onto a slot that is in use is refused with -EBUSY, and
// counted. "Signal" also reaches a thread that is blocked: its system call is interrupted and
// restarted.

#include <taskwork/bpf/task_work.bpf.h>

// Offered under GPL-2.0 as well, since the kernel lets nothing else call kernel functions.
char LICENSE[] SEC("license") = "GPL";

#define SLOTS 16

struct value {
    struct bpf_task_work work;
    __u64 runs;
    __s64 copied;  // bytes with the NUL, or a negative errno
    __u32 tid;     // the last thread that ran the callback
    char text[60];
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, SLOTS);
    __type(key, __u32);  // thread id modulo SLOTS
    __type(value, struct value);
} slots SEC(".maps");

__u64 events;
__u64 scheduled;
__u64 busy;  // the slot was in use, or another error

static int copy_argument(struct bpf_map* map, void* key, void* data) {
    struct value* value = data;
    struct mm_struct* mm = bpf_get_current_task_btf()->mm;

    value->copied =
        bpf_copy_from_user_str(value->text, sizeof(value->text), (void*)mm->arg_start, 0);
    value->tid = (__u32)bpf_get_current_pid_tgid();
    value->runs += 1;  // a slot is one work at a time
    return 0;
}

SEC("perf_event")
int on_event(struct bpf_perf_event_data* context) {
    __u32 slot = (__u32)bpf_get_current_pid_tgid() % SLOTS;

    __sync_fetch_and_add(&events, 1);
    struct value* value = bpf_map_lookup_elem(&slots, &slot);
    if (!value) {
        return 0;  // cannot be: but the kernel's verifier wants to see it asked
    }
    int error =
        taskwork_schedule_signal(bpf_get_current_task_btf(), &value->work, &slots, copy_argument);
    __sync_fetch_and_add(error ? &busy : &scheduled, 1);
    return 0;
}
