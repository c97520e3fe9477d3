// SPDX-License-Identifier: Apache-2.0
//
// An object of one program of twenty instructions and a map, as small ones are.
#include <taskwork/bpf/task_work.bpf.h>

// Offered under GPL-2.0 as well, as the other objects are.
char LICENSE[] SEC("license") = "GPL";

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 16);
    __type(key, __u32);
    __type(value, __u64);
} counts SEC(".maps");

SEC("syscall") int small(void* context) {
    __u32 key = bpf_get_smp_processor_id() & 15;
    __u64* count = bpf_map_lookup_elem(&counts, &key);
    if (count) {
        *count += bpf_ktime_get_ns() & 0xff;
        if (*count > 1000) {
            *count = 0;
        }
    }
    return 0;
}
