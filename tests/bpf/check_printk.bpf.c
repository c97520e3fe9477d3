// SPDX-License-Identifier: Apache-2.0
//
// bpf_trace_printk: formats and results. Reads no input. Each context leaves three lines in the
// trace, with its number C (1 task, 2 nmi, 3 task_work):
//     check C abc 100%
//     check -2 4294967295 ff
//     check nothing

#include "check.bpf.h"

static __always_inline void check(enum check_context context) {
    static const char text[] = "abc";
    static const char bad_format[] = "%e\n";

    CHECK(bpf_printk("check %d %s 100%%", context, text) > 0);
    CHECK(bpf_printk("check %d %u %llx", -2, 4294967295u, 0xffull) > 0);
    CHECK(bpf_printk("check nothing") > 0);
    CHECK_EQUAL(bpf_trace_printk(bad_format, sizeof(bad_format)), -EINVAL);
}

CHECK_IN_EVERY_CONTEXT(check)
