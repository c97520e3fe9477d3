// SPDX-License-Identifier: Apache-2.0
//
// A program that is right and tagged as wrong, for tests of `taskwork verify --expect`.
#include <taskwork/bpf/task_work.bpf.h>

char LICENSE[] SEC("license") = "GPL";

SEC("perf_event")
__attribute__((btf_decl_tag("comment:test_expect_failure"))) int wrongly_tagged(void* context) {
    return 0;
}
