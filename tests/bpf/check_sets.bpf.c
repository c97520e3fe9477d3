// SPDX-License-Identifier: Apache-2.0
//
// The bloom filter and the LPM trie with every flag, and their error codes. What is put into the
// filter stays: each context has values of its own. Programs that may sleep cannot use either.
// Reads allocates_in_nmi.

#include "check.bpf.h"

struct {
    __uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
    __uint(max_entries, 1000);
    __uint(map_extra, 3);
    __type(value, __u64);
} filter SEC(".maps");

struct prefix {
    __u32 length;
    __u8 data[4];
};

struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 2);
    __type(key, struct prefix);
    __type(value, __u64);
} prefixes SEC(".maps");

#define ENOSPC 28

static __always_inline void check_filter(enum check_context context) {
    __u64 value = 1000 + context;
    CHECK_EQUAL(bpf_map_peek_elem(&filter, &value), -ENOENT);
    CHECK_EQUAL(bpf_map_push_elem(&filter, &value, BPF_NOEXIST), -EINVAL);
    CHECK_EQUAL(bpf_map_push_elem(&filter, &value, BPF_EXIST), -EINVAL);
    CHECK_EQUAL(bpf_map_push_elem(&filter, &value, BPF_ANY), 0);
    CHECK_EQUAL(bpf_map_peek_elem(&filter, &value), 0);
    CHECK_EQUAL(value, 1000 + context);
    CHECK_EQUAL(bpf_map_push_elem(&filter, &value, BPF_ANY), 0);
}

static __always_inline __u64 longest(struct prefix* key) {
    __u64* value = bpf_map_lookup_elem(&prefixes, key);
    return value ? *value : ~0ull;
}

static __always_inline void check_trie(enum check_context context) {
    struct prefix wide = {8, {10, 9, 9, 9}};
    struct prefix narrow = {24, {10, 1, 1, 9}};
    struct prefix other = {1, {255, 0, 0, 0}};
    struct prefix address = {32, {10, 1, 1, 7}};
    struct prefix too_long = {33, {10, 1, 1, 7}};
    __u64 value = 8;

    CHECK_EQUAL(longest(&address), ~0ull);
    CHECK_EQUAL(bpf_map_update_elem(&prefixes, &wide, &value, BPF_EXIST), -ENOENT);
    CHECK_EQUAL(bpf_map_update_elem(&prefixes, &wide, &value, 3), -EINVAL);
    CHECK_EQUAL(bpf_map_update_elem(&prefixes, &too_long, &value, BPF_ANY), -EINVAL);
    CHECK_EQUAL(bpf_map_update_elem(&prefixes, &wide, &value, BPF_NOEXIST), 0);
    CHECK_EQUAL(bpf_map_update_elem(&prefixes, &wide, &value, BPF_NOEXIST), -EEXIST);
    CHECK_EQUAL(longest(&address), 8);
    value = 24;
    CHECK_EQUAL(bpf_map_update_elem(&prefixes, &narrow, &value, BPF_ANY), 0);
    CHECK_EQUAL(longest(&address), 24);
    CHECK_EQUAL(longest(&too_long), ~0ull);
    CHECK_EQUAL(bpf_map_update_elem(&prefixes, &other, &value, BPF_ANY), -ENOSPC);
    value = 25;
    CHECK_EQUAL(bpf_map_update_elem(&prefixes, &narrow, &value, BPF_EXIST), 0);
    CHECK_EQUAL(longest(&address), 25);
    CHECK_EQUAL(bpf_map_delete_elem(&prefixes, &narrow), 0);
    CHECK_EQUAL(bpf_map_delete_elem(&prefixes, &narrow), -ENOENT);
    CHECK_EQUAL(bpf_map_delete_elem(&prefixes, &too_long), -EINVAL);
    CHECK_EQUAL(longest(&address), 8);
    CHECK_EQUAL(bpf_map_delete_elem(&prefixes, &wide), 0);
}

static __noinline int check_all(enum check_context context) {
    check_filter(context);
    if (context != CHECK_NMI || input.allocates_in_nmi) {
        check_trie(context);
    }
    return 0;
}

CHECK_WHERE_NOT_SLEEPABLE(check_all)
