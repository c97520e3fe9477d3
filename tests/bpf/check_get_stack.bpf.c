// SPDX-License-Identifier: Apache-2.0
//
// The user stack of the interrupted thread, by frame pointers. Reads inner, middle and outer, in
// whose code the driver's thread spends its time. Only events that hit the body of inner() are
// checked:
//   observed[0]  those, observed[1] those whose callers were middle() and outer()
// At the edges of a function the frame is not yet, or no longer, there, and an event that falls
// there finds the caller's caller; so most, not all, are equal.

#include "check.bpf.h"

#define DEPTH 8

/// What a failed helper leaves is known only if what was there before is.
#define MARK 0x5555555555555555

static __always_inline bool in_inner(__u64 address) {
    return address >= input.inner_start && address < input.inner_end;
}

static __always_inline bool in_middle(__u64 address) {
    return address >= input.middle_start && address < input.middle_end;
}

static __always_inline bool in_outer(__u64 address) {
    return address >= input.outer_start && address < input.outer_end;
}

SEC("perf_event")
int in_nmi(struct bpf_perf_event_data* event) {
    enum check_context context = CHECK_NMI;
    __u64 address = event->regs.rip;
    __u64 stack[DEPTH] = {};

    __sync_fetch_and_add(&result.events, 1);
    if (!in_inner(address)) {
        return 0;
    }
    long size = bpf_get_stack(event, stack, sizeof(stack), BPF_F_USER_STACK);
    CHECK(size > 0);
    CHECK(size <= (long)sizeof(stack));
    CHECK_EQUAL(size & 7, 0);
    CHECK_EQUAL(stack[0], address);
    result.observed[0] += 1;
    if (in_middle(stack[1]) && in_outer(stack[2])) {
        result.observed[1] += 1;
    }

    // The low byte of the flags: frames to leave out.
    __u64 callers[DEPTH] = {};
    long callers_size = bpf_get_stack(event, callers, sizeof(callers), BPF_F_USER_STACK | 1);
    CHECK(callers_size > 0);
    CHECK_EQUAL(callers[0], stack[1]);
    CHECK_EQUAL(callers[1], stack[2]);

    // A small buffer holds the innermost frames; the rest of a large one is cleared.
    __u64 two[3] = {0, 0, MARK};
    CHECK_EQUAL(bpf_get_stack(event, two, 16, BPF_F_USER_STACK), 16);
    CHECK_EQUAL(two[0], stack[0]);
    CHECK_EQUAL(two[1], stack[1]);
    CHECK_EQUAL(two[2], MARK);

    // Sizes are whole frames; unknown flags are refused.
    CHECK_EQUAL(bpf_get_stack(event, two, 12, BPF_F_USER_STACK), -EINVAL);
    CHECK_EQUAL(bpf_get_stack(event, two, 16, BPF_F_USER_STACK | (1ull << 20)), -EINVAL);
    __sync_fetch_and_add(&result.nmi_runs, 1);
    return 0;
}
