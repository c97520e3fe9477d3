// SPDX-License-Identifier: Apache-2.0
//
// Sends a numbered record with each event; counts what was taken and what was refused.

#include "check.bpf.h"

struct {
    __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
    __type(key, __u32);
    __type(value, __u32);
} records SEC(".maps");

__u64 sent = 0;
__u64 refused = 0;
__s64 wrong_index = 0;
__s64 wrong_flags = 0;

SEC("perf_event")
int in_nmi(struct bpf_perf_event_data* event) {
    struct {
        __u64 number;
        __u32 tail;
    } __attribute__((packed)) record = {.number = sent + 1, .tail = 0x7a7a7a7a};

    wrong_index = bpf_perf_event_output(event, &records, 100000, &record, sizeof record);
    wrong_flags = bpf_perf_event_output(event, &records, 1ULL << 40, &record, sizeof record);
    if (bpf_perf_event_output(event, &records, BPF_F_CURRENT_CPU, &record, sizeof record) == 0) {
        sent++;
    } else {
        refused++;
    }
    return 0;
}
