// SPDX-License-Identifier: Apache-2.0
//
// bpf_loop with its callback. Reads no input.

#include "check.bpf.h"

struct state {
    __u64 sum;
    __u64 stop_at;
};

static long add(__u64 index, struct state* state) {
    state->sum += index;
    return index + 1 == state->stop_at;
}

static long add_inner(__u64 index, struct state* state) {
    struct state inner = {};
    bpf_loop(10, add, &inner, 0);
    state->sum += inner.sum;
    return 0;
}

static __noinline int check(enum check_context context) {
    struct state state = {};

    CHECK_EQUAL(bpf_loop(0, add, &state, 0), 0);
    CHECK_EQUAL(state.sum, 0);
    CHECK_EQUAL(bpf_loop(1000, add, &state, 0), 1000);
    CHECK_EQUAL(state.sum, 499500);

    state = (struct state){.stop_at = 10};
    CHECK_EQUAL(bpf_loop(1000, add, &state, 0), 10);
    CHECK_EQUAL(state.sum, 45);

    state = (struct state){};
    CHECK_EQUAL(bpf_loop(10, add_inner, &state, 0), 10);
    CHECK_EQUAL(state.sum, 450);

    // An int: where the kernel inlines the loop, the upper half of the result is 0.
    CHECK_EQUAL((int)bpf_loop((1 << 23) + 1, add, &state, 0), -E2BIG);
    CHECK_EQUAL((int)bpf_loop(1, add, &state, 1), -EINVAL);
    return 0;
}

CHECK_IN_EVERY_CONTEXT(check)
