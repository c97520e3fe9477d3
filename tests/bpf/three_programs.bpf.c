// SPDX-License-Identifier: Apache-2.0
//
// Three perf_event programs in one object, each of which notes when it ran and as which. Under
// taskwork, programs that are attached with equal attributes are fired in turn by one kernel event
// a thread (DESIGN.md, 10).
//
// observed[0]: events of all.

#include "check.bpf.h"

struct moment {
    __u64 time_ns;
    __u64 program;
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1024);
    __type(key, __u32);
    __type(value, struct moment);
} moments SEC(".maps");

static __always_inline int note(__u64 program) {
    __u32 index = __sync_fetch_and_add(&result.observed[0], 1);
    struct moment* moment = bpf_map_lookup_elem(&moments, &index);
    if (moment) {
        moment->time_ns = bpf_ktime_get_ns();
        moment->program = program;
    }
    return 0;
}

SEC("perf_event")
int first(struct bpf_perf_event_data* event) { return note(0); }

SEC("perf_event")
int second(struct bpf_perf_event_data* event) { return note(1); }

SEC("perf_event")
int third(struct bpf_perf_event_data* event) { return note(2); }
