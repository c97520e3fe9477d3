// SPDX-License-Identifier: Apache-2.0
//
// Counts events by thread and nothing else: for rates, and for the price of an event. No task work.

#include "check.bpf.h"

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 16384);
    __type(key, __u32);  // thread id
    __type(value, __u64);
} events_by_thread SEC(".maps");

SEC("perf_event")
int in_nmi(struct bpf_perf_event_data* event) {
    __u32 tid = (__u32)bpf_get_current_pid_tgid();
    __u64 one = 1;

    __sync_fetch_and_add(&result.events, 1);
    __u64* events = bpf_map_lookup_elem(&events_by_thread, &tid);
    if (events) {
        __sync_fetch_and_add(events, 1);
    } else {
        bpf_map_update_elem(&events_by_thread, &tid, &one, BPF_NOEXIST);
    }
    return 0;
}
