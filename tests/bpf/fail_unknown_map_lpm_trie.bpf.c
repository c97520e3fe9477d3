// SPDX-License-Identifier: Apache-2.0
//
// Refused by taskwork, which has no LPM tries, and says so by name.

#include "check.bpf.h"

struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 8);
    __type(key, __u64);
    __type(value, __u64);
} trie SEC(".maps");

SEC("perf_event")
int in_nmi(struct bpf_perf_event_data* event) {
    __u64 key = 8;
    return bpf_map_lookup_elem(&trie, &key) != NULL;
}
