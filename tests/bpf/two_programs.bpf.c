// SPDX-License-Identifier: Apache-2.0
//
// Two perf_event programs in one object. Under taskwork, programs that are attached with equal
// attributes are fired in turn by one kernel event a thread (DESIGN.md, 10), each at the rate asked
// for. They share a map, in which each has a slot.
//
// observed[0] and [1]: events of each; observed[2] and [3]: their schedules that returned 0;
// observed[4] and [5]: runs of their callbacks.

#include "check.bpf.h"

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 2);
    __type(key, __u32);
    __type(value, struct check_slot);
} slots SEC(".maps");

static int on_first(struct bpf_map* map, void* key, void* value) {
    __sync_fetch_and_add(&result.observed[4], 1);
    return 0;
}

static int on_second(struct bpf_map* map, void* key, void* value) {
    __sync_fetch_and_add(&result.observed[5], 1);
    return 0;
}

SEC("perf_event")
int first(struct bpf_perf_event_data* event) {
    __u32 slot = 0;
    __sync_fetch_and_add(&result.observed[0], 1);
    struct check_slot* value = bpf_map_lookup_elem(&slots, &slot);
    if (value &&
        taskwork_schedule_signal(bpf_get_current_task_btf(), &value->work, &slots, on_first) == 0) {
        __sync_fetch_and_add(&result.observed[2], 1);
    }
    return 0;
}

SEC("perf_event")
int second(struct bpf_perf_event_data* event) {
    __u32 slot = 1;
    __sync_fetch_and_add(&result.observed[1], 1);
    struct check_slot* value = bpf_map_lookup_elem(&slots, &slot);
    if (value && taskwork_schedule_resume(bpf_get_current_task_btf(), &value->work, &slots,
                                          on_second) == 0) {
        __sync_fetch_and_add(&result.observed[3], 1);
    }
    return 0;
}
