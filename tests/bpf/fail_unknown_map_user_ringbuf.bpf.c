// SPDX-License-Identifier: Apache-2.0
//
// Refused by taskwork, which has no ring buffers that users write, and says so by name.

#include "check.bpf.h"

struct {
    __uint(type, BPF_MAP_TYPE_USER_RINGBUF);
    __uint(max_entries, 4096);
} inbox SEC(".maps");

SEC("perf_event")
int in_nmi(struct bpf_perf_event_data* event) { return 0; }
