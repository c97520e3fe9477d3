// SPDX-License-Identifier: Apache-2.0
//
// Ids of user stacks. The driver compares what the map holds under the last id with the stack that
// bpf_get_stack() gave at the same moment.

#include "check.bpf.h"

#define DEPTH 8

struct {
    __uint(type, BPF_MAP_TYPE_STACK_TRACE);
    __uint(max_entries, 1024);
    __uint(key_size, sizeof(__u32));
    __uint(value_size, DEPTH * sizeof(__u64));
} traces SEC(".maps");

struct last {
    __s64 id;
    __u64 stack[DEPTH];
} last SEC(".data.last") = {-1};

SEC("perf_event")
int in_nmi(struct bpf_perf_event_data* event) {
    enum check_context context = CHECK_NMI;
    const __u64 user = BPF_F_USER_STACK;

    if ((__s32)bpf_get_current_pid_tgid() != input.tid ||
        __sync_fetch_and_add(&result.events, 1) >= 50) {
        return 0;
    }
    long id = bpf_get_stackid(event, &traces, user | BPF_F_REUSE_STACKID);
    CHECK(id >= 0);
    CHECK(id < 1024);
    CHECK_EQUAL(bpf_get_stackid(event, &traces, user), id);
    CHECK_EQUAL(bpf_get_stackid(event, &traces, user | BPF_F_FAST_STACK_CMP), id);
    // More frames left out than there can be.
    CHECK_EQUAL(bpf_get_stackid(event, &traces, user | 255), -EFAULT);
    CHECK_EQUAL(bpf_get_stackid(event, &traces, user | BPF_F_USER_BUILD_ID), -EINVAL);
    CHECK_EQUAL(bpf_get_stackid(event, &traces, user | (1ull << 20)), -EINVAL);
    last.id = id;
    bpf_get_stack(event, last.stack, sizeof(last.stack), user);
    __sync_fetch_and_add(&result.nmi_runs, 1);
    return 0;
}
