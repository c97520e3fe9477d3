// SPDX-License-Identifier: Apache-2.0
//
// Maps that are found in maps: an array and a hash of arrays, with one inner map and room for more.
// The value is left as it was found.

#include "check.bpf.h"

struct inner {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 2);
    __type(key, __u32);
    __type(value, __u64);
} first SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
    __uint(max_entries, 3);
    __type(key, __u32);
    __array(values, struct inner);
} indexed SEC(".maps") = {.values = {[1] = &first}};

struct {
    __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
    __uint(max_entries, 3);
    __type(key, __u32);
    __array(values, struct inner);
} keyed SEC(".maps") = {.values = {[1] = &first}};

static __always_inline void check_one(enum check_context context, void* outer) {
    __u32 absent = 2;
    __u32 outside = 3;
    __u32 key = 1;
    __u64 value = 7;

    CHECK(bpf_map_lookup_elem(outer, &absent) == NULL);
    CHECK(bpf_map_lookup_elem(outer, &outside) == NULL);
    void* map = bpf_map_lookup_elem(outer, &key);
    CHECK(map != NULL);
    if (!map) {
        return;
    }
    CHECK_EQUAL(bpf_map_update_elem(map, &key, &value, BPF_ANY), 0);
    CHECK_EQUAL(bpf_map_update_elem(map, &key, &value, BPF_NOEXIST), -EEXIST);
    CHECK_EQUAL(bpf_map_update_elem(map, &absent, &value, BPF_ANY), -E2BIG);
    // It is the very map.
    __u64* same = bpf_map_lookup_elem(&first, &key);
    __u64* inside = bpf_map_lookup_elem(map, &key);
    CHECK(same != NULL && inside != NULL);
    if (same && inside) {
        CHECK_EQUAL(*same, 7);
        __sync_fetch_and_add(inside, 1);
        CHECK_EQUAL(*same, 8);
        *inside = 0;
    }
}

static __noinline int check_all(enum check_context context) {
    check_one(context, &indexed);
    check_one(context, &keyed);
    return 0;
}

CHECK_IN_EVERY_CONTEXT(check_all)
