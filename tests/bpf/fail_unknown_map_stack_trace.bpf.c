// SPDX-License-Identifier: Apache-2.0
//
// Refused by taskwork, which has no stack trace maps, and says so by name.

#include "check.bpf.h"

struct {
    __uint(type, BPF_MAP_TYPE_STACK_TRACE);
    __uint(max_entries, 8);
    __uint(key_size, 4);
    __uint(value_size, 8 * 16);
} traces SEC(".maps");

SEC("perf_event")
int in_nmi(struct bpf_perf_event_data* event) {
    return bpf_get_stackid(event, &traces, BPF_F_USER_STACK) < 0;
}
