// SPDX-License-Identifier: Apache-2.0
//
// bpf_for_each_map_elem with its callback, over an array and a hash map. Reads no input.

#include "check.bpf.h"

#define ENTRIES 8

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, ENTRIES);
    __type(key, __u32);
    __type(value, __u64);
} array SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, ENTRIES);
    __type(key, __u32);
    __type(value, __u64);
} hash SEC(".maps");

/// Not on the stack: the verifier would follow the counting, and never see an end.
struct {
    __u64 keys;
    __u64 values;
    __u64 calls;
    __u64 contexts;    // what the callback was handed, added up
    __u64 stop_after;  // calls; 0: never
} sums SEC(".data.sums");

static __always_inline void clear_sums(__u64 stop_after) {
    sums.keys = 0;
    sums.values = 0;
    sums.calls = 0;
    sums.contexts = 0;
    sums.stop_after = stop_after;
}

static long add(struct bpf_map* map, const __u32* key, __u64* value, const __u32* context) {
    sums.keys += *key;
    sums.values += *value;
    sums.calls += 1;
    sums.contexts += *context;
    return sums.calls == sums.stop_after;
}

static long delete_odd(struct bpf_map* map, const __u32* key, __u64* value, const __u32* context) {
    __u32 own_key = *key;
    if (own_key % 2) {
        sums.calls += bpf_map_delete_elem(&hash, &own_key) == 0;
    }
    return 0;
}

// Each part is a global function: the kernel verifies them one by one.

__noinline int check_fill(__u32 context) {
    for (__u32 i = 0; i < ENTRIES; ++i) {
        __u32 key = i;  // one that no helper is given a pointer to: the verifier must see it count
        __u64 value = i * 10;
        CHECK_EQUAL(bpf_map_update_elem(&array, &key, &value, BPF_ANY), 0);
        CHECK_EQUAL(bpf_map_update_elem(&hash, &key, &value, BPF_ANY), 0);
    }
    return 0;
}

__noinline int check_array(__u32 context) {
    clear_sums(0);
    CHECK_EQUAL(bpf_for_each_map_elem(&array, add, &context, 0), ENTRIES);
    CHECK_EQUAL(sums.calls, ENTRIES);
    CHECK_EQUAL(sums.keys, 28);
    CHECK_EQUAL(sums.values, 280);
    CHECK_EQUAL(sums.contexts, ENTRIES * context);
    CHECK_EQUAL(bpf_for_each_map_elem(&array, add, &context, 1), -EINVAL);
    return 0;
}

__noinline int check_hash(__u32 context) {
    clear_sums(0);
    CHECK_EQUAL(bpf_for_each_map_elem(&hash, add, &context, 0), ENTRIES);
    CHECK_EQUAL(sums.calls, ENTRIES);
    CHECK_EQUAL(sums.keys, 28);
    CHECK_EQUAL(sums.values, 280);
    return 0;
}

/// A callback that returns 1 ends it.
__noinline int check_stop(__u32 context) {
    clear_sums(3);
    CHECK_EQUAL(bpf_for_each_map_elem(&array, add, &context, 0), 3);
    CHECK_EQUAL(sums.keys, 0 + 1 + 2);
    clear_sums(3);
    CHECK_EQUAL(bpf_for_each_map_elem(&hash, add, &context, 0), 3);
    CHECK_EQUAL(sums.calls, 3);
    return 0;
}

/// The element at hand may be deleted.
__noinline int check_delete(__u32 context) {
    clear_sums(0);
    CHECK_EQUAL(bpf_for_each_map_elem(&hash, delete_odd, &context, 0), ENTRIES);
    CHECK_EQUAL(sums.calls, ENTRIES / 2);
    clear_sums(0);
    CHECK_EQUAL(bpf_for_each_map_elem(&hash, add, &context, 0), ENTRIES / 2);
    CHECK_EQUAL(sums.keys, 0 + 2 + 4 + 6);
    return 0;
}

static __always_inline void check(enum check_context context) {
    check_fill(context);
    check_array(context);
    check_hash(context);
    check_stop(context);
    check_delete(context);
}

CHECK_IN_EVERY_CONTEXT(check)
