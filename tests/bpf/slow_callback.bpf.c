// SPDX-License-Identifier: Apache-2.0
//
// Callbacks that take their time, more of it than there is between two events: a thread must get
// back to its program all the same. Reads spin_ns, the duration of one callback (at most about 10
// ms).
//
// Each event schedules onto the next of 4 slots. observed[0]: schedules that returned 0,
// observed[1]: refused ones; task_work_runs: callbacks.

#include "check.bpf.h"

#define SLOTS 4

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, SLOTS);
    __type(key, __u32);
    __type(value, struct check_slot);
} slots SEC(".maps");

static long spin(__u64 index, __u64* until_ns) { return bpf_ktime_get_ns() >= *until_ns; }

static int slow(struct bpf_map* map, void* key, void* value) {
    __u64 until_ns = bpf_ktime_get_ns() + input.spin_ns;
    bpf_loop(1 << 20, spin, &until_ns, 0);
    __sync_fetch_and_add(&result.task_work_runs, 1);
    return 0;
}

SEC("perf_event")
int in_nmi(struct bpf_perf_event_data* event) {
    __u32 slot = __sync_fetch_and_add(&result.events, 1) % SLOTS;
    struct check_slot* value = bpf_map_lookup_elem(&slots, &slot);
    if (!value) {
        return 0;
    }
    int error = taskwork_schedule_resume(bpf_get_current_task_btf(), &value->work, &slots, slow);
    __sync_fetch_and_add(&result.observed[error ? 1 : 0], 1);
    return 0;
}
