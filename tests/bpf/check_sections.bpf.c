// SPDX-License-Identifier: Apache-2.0
//
// Global variables: constants (.rodata), initialised (.data), zero (.bss), in sections of their
// own, and pointers between them. Reads no input.

#include "check.bpf.h"

const volatile __u32 constant = 0x12345678;
const volatile char constant_text[16] = "constant";
__u64 initialised = 0x1122334455667788;
__s16 small = -2;
__u64 zero_at_first;
static volatile __u32 hidden = 7;
__u32 own_section SEC(".data.own") = 9;
const volatile __u32 own_constant SEC(".rodata.own") = 11;

static __noinline __u64 add_to(__u64* where, __u64 what) {
    *where += what;
    return *where;
}

static __always_inline void check(enum check_context context) {
    CHECK_EQUAL(constant, 0x12345678);
    CHECK_EQUAL(constant_text[0], 'c');
    CHECK_EQUAL(constant_text[7], 't');
    CHECK_EQUAL(constant_text[8], 0);
    CHECK_EQUAL(own_constant, 11);

    CHECK_EQUAL(*(volatile __u64*)&initialised, 0x1122334455667788);
    CHECK_EQUAL(*(volatile __u32*)&initialised, 0x55667788);
    CHECK_EQUAL(*(volatile __u8*)&initialised, 0x88);
    CHECK_EQUAL(*(volatile __s16*)&small, -2);
    CHECK_EQUAL(hidden, 7);
    CHECK_EQUAL(*(volatile __u32*)&own_section, 9);

    __u64 before = *(volatile __u64*)&zero_at_first;
    CHECK_EQUAL(add_to(&zero_at_first, 5), before + 5);
    CHECK_EQUAL(*(volatile __u64*)&zero_at_first, before + 5);
    // Each of the three contexts adds 5 once.
    CHECK(before <= 10);

    CHECK_EQUAL(__sync_val_compare_and_swap(&own_section, 9, 10), 9);
    CHECK_EQUAL(__sync_val_compare_and_swap(&own_section, 9, 11), 10);
    CHECK_EQUAL(__sync_lock_test_and_set(&own_section, 9), 10);
    CHECK_EQUAL(__sync_fetch_and_or(&own_section, 6), 9);
    CHECK_EQUAL(__sync_fetch_and_and(&own_section, 9), 15);
    CHECK_EQUAL(__sync_fetch_and_xor(&own_section, 0), 9);
    CHECK_EQUAL(__sync_fetch_and_sub(&own_section, 0), 9);
}

CHECK_IN_EVERY_CONTEXT(check)
