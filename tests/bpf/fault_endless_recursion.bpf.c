// SPDX-License-Identifier: Apache-2.0
//
// Ill-behaved: calls itself for ever.
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

static __noinline __u64 recurse(__u64 depth) {
    volatile __u64 local = depth;
    return zero == 1 ? local : recurse(depth + 1) + local;
}

SEC("perf_event")
int in_nmi(struct bpf_perf_event_data* event) {
    __sync_fetch_and_add(&result.events, 1);
    result.observed[0] = recurse(0);
    after = 1;
    return 0;
}
