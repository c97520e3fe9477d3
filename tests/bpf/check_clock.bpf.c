// SPDX-License-Identifier: Apache-2.0
//
// Clocks and random numbers. Reads before_ns and boot_before_ns; the run is over within a minute.

#include "check.bpf.h"

#define MINUTE_NS 60000000000ull

static __always_inline void check(enum check_context context) {
    __u64 first = bpf_ktime_get_ns();
    __u64 second = bpf_ktime_get_ns();
    CHECK(first >= input.before_ns);
    CHECK(first < input.before_ns + MINUTE_NS);
    CHECK(second >= first);

    __u64 boot = bpf_ktime_get_boot_ns();
    CHECK(boot >= input.boot_before_ns);
    CHECK(boot < input.boot_before_ns + MINUTE_NS);

    // Sixteen draws: that two halves of all of them are the same has a chance of one in 2^240.
    __u32 different_low = 0;
    __u32 different_high = 0;
    __u32 draw = bpf_get_prandom_u32();
    for (__u32 i = 0; i < 15; ++i) {
        __u32 next = bpf_get_prandom_u32();
        different_low |= (next ^ draw) & 0xffff;
        different_high |= (next ^ draw) >> 16;
    }
    CHECK(different_low != 0);
    CHECK(different_high != 0);
}

CHECK_IN_EVERY_CONTEXT(check)
