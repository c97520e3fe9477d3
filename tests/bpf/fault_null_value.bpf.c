// SPDX-License-Identifier: Apache-2.0
//
// Ill-behaved: uses the result of a lookup without asking whether there is one.
// Refused by the kernel's verifier; without one, every event ends in a counted fault, `after` stays
// 0, and the program under the event runs on.

#include "check.bpf.h"

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 4);
    __type(key, __u32);
    __type(value, __u64);
} map SEC(".maps");

/// Not known when the program is compiled.
volatile __u64 zero;
volatile __u64 after;

SEC("perf_event")
int in_nmi(struct bpf_perf_event_data* event) {
    __u32 key = 4;
    volatile __u64* value = bpf_map_lookup_elem(&map, &key);
    __sync_fetch_and_add(&result.events, 1);
    result.observed[0] = *value;
    after = 1;
    return 0;
}
