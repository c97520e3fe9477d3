// SPDX-License-Identifier: Apache-2.0
//
// Spends time in native code: in a callback of bpf_loop, which calls a helper in some rounds. For
// who looks from outside.
#include <taskwork/bpf/task_work.bpf.h>

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} rounds SEC(".maps");

static long one_round(__u32 index, __u64* sum) {
    // So long that few samples are of the function's beginning and end, where its frame is not
    // linked.
    for (int i = 0; i < 8; ++i) {
        *sum = *sum / (index + 3) * 0x9e3779b97f4a7c15 + i;
        *sum ^= *sum >> 7;
    }
    if (index % 1024 == 0) {
        const __u32 key = 0;
        bpf_map_update_elem(&rounds, &key, sum, 0);
    }
    return 0;
}

SEC("perf_event")
int spend_time(void* context) {
    __u64 sum = 0;
    bpf_loop(5000, one_round, &sum, 0);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
