// SPDX-License-Identifier: Apache-2.0
//
// Push, peek and pop with every flag, and their error codes, on a queue and a stack. The maps are
// left empty, as they were found.

#include "check.bpf.h"

#define ENTRIES 3

struct {
    __uint(type, BPF_MAP_TYPE_QUEUE);
    __uint(max_entries, ENTRIES);
    __type(value, __u64);
} queue SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_STACK);
    __uint(max_entries, ENTRIES);
    __type(value, __u64);
} stack SEC(".maps");

/// `first`: what comes out first of 2, 3, 4; 3 is second.
static __always_inline void check_one(enum check_context context, void* map, __u64 first) {
    __u64 value = 77;
    CHECK_EQUAL(bpf_map_peek_elem(map, &value), -ENOENT);
    CHECK_EQUAL(value, 0);
    value = 77;
    CHECK_EQUAL(bpf_map_pop_elem(map, &value), -ENOENT);
    CHECK_EQUAL(value, 0);
    for (value = 1; value <= ENTRIES; ++value) {
        CHECK_EQUAL(bpf_map_push_elem(map, &value, BPF_ANY), 0);
    }
    value = 4;
    CHECK_EQUAL(bpf_map_push_elem(map, &value, BPF_ANY), -E2BIG);
    CHECK_EQUAL(bpf_map_push_elem(map, &value, BPF_NOEXIST), -EINVAL);
    CHECK_EQUAL(bpf_map_push_elem(map, &value, 3), -EINVAL);
    CHECK_EQUAL(bpf_map_push_elem(map, &value, BPF_EXIST), 0);
    CHECK_EQUAL(bpf_map_peek_elem(map, &value), 0);
    CHECK_EQUAL(value, first);
    CHECK_EQUAL(bpf_map_pop_elem(map, &value), 0);
    CHECK_EQUAL(value, first);
    CHECK_EQUAL(bpf_map_pop_elem(map, &value), 0);
    CHECK_EQUAL(value, 3);
    CHECK_EQUAL(bpf_map_pop_elem(map, &value), 0);
    CHECK_EQUAL(value, 6 - first);
    CHECK_EQUAL(bpf_map_pop_elem(map, &value), -ENOENT);
}

static __noinline int check_all(enum check_context context) {
    check_one(context, &queue, 2);
    check_one(context, &stack, 4);
    return 0;
}

CHECK_IN_EVERY_CONTEXT(check_all)
