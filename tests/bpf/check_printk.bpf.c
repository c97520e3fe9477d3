// SPDX-License-Identifier: Apache-2.0
//
// bpf_trace_printk: its formats, and its result, the number of characters with the NUL. One line a
// context appears in the trace: "check 1 -2 4294967295 ff abc 100%".

#include "check.bpf.h"

static __always_inline void check(enum check_context context) {
    static const char text[] = "abc";
    static const char bad_format[] = "%e\n";
    static const char integers[] = "check %u %d %u %x ";
    (void)integers;

    CHECK(bpf_printk("check %d %s 100%%", context, text) > 0);
    CHECK(bpf_printk("check %d %u %llx", -2, 4294967295u, 0xffull) > 0);
    CHECK(bpf_printk("check nothing") > 0);
    CHECK_EQUAL(bpf_trace_printk(bad_format, sizeof(bad_format)), -EINVAL);
}

CHECK_IN_EVERY_CONTEXT(check)
