// SPDX-License-Identifier: Apache-2.0
//
// A work for every event, on the thread that it came to, which reads the process's command line:
// for programs whose threads and processes come and go. No ring buffer, no deletes: nothing here
// needs a system call but reads of user memory, and they only where a fault cannot be recovered.

#include "check.bpf.h"

#define SLOTS 64

struct value {
    struct bpf_task_work work;
    __u64 ran;
    char command[32];
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, SLOTS);
    __type(key, __u32);
    __type(value, struct value);
} slots SEC(".maps");

struct {
    __u64 copied;
    __u64 copy_errors;
} counters SEC(".data.counters");

static int in_callback(struct bpf_map* map, void* key, void* data) {
    struct value* value = data;
    struct mm_struct* mm = bpf_get_current_task_btf()->mm;
    if (bpf_copy_from_user_str(value->command, sizeof(value->command), (void*)mm->arg_start, 0) >
        0) {
        __sync_fetch_and_add(&counters.copied, 1);
    } else {
        __sync_fetch_and_add(&counters.copy_errors, 1);
    }
    __sync_fetch_and_add(&value->ran, 1);
    return 0;
}

SEC("perf_event")
int in_nmi(struct bpf_perf_event_data* event) {
    __u32 key = bpf_get_prandom_u32() % SLOTS;
    struct value* value = bpf_map_lookup_elem(&slots, &key);
    if (value) {
        taskwork_schedule_signal(bpf_get_current_task_btf(), &value->work, &slots, in_callback);
    }
    return 0;
}
