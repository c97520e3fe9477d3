// SPDX-License-Identifier: Apache-2.0
//
// Refused by taskwork, whose maps have a GiB in all, with the map's name.

#include "check.bpf.h"

struct large {
    __u64 numbers[1 << 17];  // a MiB
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 2048);
    __type(key, __u32);
    __type(value, struct large);
} too_large SEC(".maps");

SEC("perf_event")
int in_nmi(struct bpf_perf_event_data* event) {
    __u32 key = 0;
    return bpf_map_lookup_elem(&too_large, &key) != NULL;
}
