// SPDX-License-Identifier: Apache-2.0
//
// Lookup, update and delete with every flag, and their error codes, in an array and in hash maps
// with and without preallocation. Reads allocates_in_nmi. The maps are left as they were found.

#include "check.bpf.h"

#define ENTRIES 4

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, ENTRIES);
    __type(key, __u32);
    __type(value, __u64);
} array SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, ENTRIES);
    __type(key, __u64);
    __type(value, __u64);
} preallocated SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, ENTRIES);
    __type(key, __u64);
    __type(value, __u64);
} on_demand SEC(".maps");

static __always_inline __u64 read_of(void* map, const void* key) {
    __u64* value = bpf_map_lookup_elem(map, key);
    return value ? *value : ~0ull;
}

static __always_inline void check_array(enum check_context context) {
    __u32 key = ENTRIES - 1;
    __u32 outside = ENTRIES;
    __u64 value = 7;
    __u64 zero = 0;

    CHECK_EQUAL(read_of(&array, &key), 0);
    CHECK_EQUAL(bpf_map_update_elem(&array, &key, &value, BPF_ANY), 0);
    CHECK_EQUAL(read_of(&array, &key), 7);
    CHECK_EQUAL(bpf_map_update_elem(&array, &key, &zero, BPF_EXIST), 0);
    CHECK_EQUAL(read_of(&array, &key), 0);
    CHECK_EQUAL(bpf_map_update_elem(&array, &key, &value, BPF_NOEXIST), -EEXIST);
    CHECK_EQUAL(bpf_map_update_elem(&array, &outside, &value, BPF_ANY), -E2BIG);
    CHECK_EQUAL(bpf_map_update_elem(&array, &key, &value, 1000), -EINVAL);
    CHECK(bpf_map_lookup_elem(&array, &outside) == NULL);
    CHECK_EQUAL(bpf_map_delete_elem(&array, &key), -EINVAL);
}

static __always_inline void check_hash(enum check_context context, void* map) {
    __u64 key = 0x1234567812345678;
    __u64 value = 7;

    CHECK(bpf_map_lookup_elem(map, &key) == NULL);
    CHECK_EQUAL(bpf_map_delete_elem(map, &key), -ENOENT);
    CHECK_EQUAL(bpf_map_update_elem(map, &key, &value, BPF_EXIST), -ENOENT);
    CHECK_EQUAL(bpf_map_update_elem(map, &key, &value, 1000), -EINVAL);
    CHECK_EQUAL(bpf_map_update_elem(map, &key, &value, BPF_NOEXIST), 0);
    CHECK_EQUAL(read_of(map, &key), 7);
    CHECK_EQUAL(bpf_map_update_elem(map, &key, &value, BPF_NOEXIST), -EEXIST);
    value = 8;
    CHECK_EQUAL(bpf_map_update_elem(map, &key, &value, BPF_EXIST), 0);
    CHECK_EQUAL(read_of(map, &key), 8);
    value = 9;
    CHECK_EQUAL(bpf_map_update_elem(map, &key, &value, BPF_ANY), 0);
    CHECK_EQUAL(read_of(map, &key), 9);

    // A value is changed in place through its pointer.
    __u64* in_place = bpf_map_lookup_elem(map, &key);
    CHECK(in_place != NULL);
    if (in_place) {
        CHECK_EQUAL(__sync_fetch_and_add(in_place, 5), 9);
        CHECK_EQUAL(read_of(map, &key), 14);
        // Every value is 8-byte aligned.
        CHECK_EQUAL(CHECK_ADDRESS(in_place) & 7, 0);
    }
    CHECK_EQUAL(bpf_map_delete_elem(map, &key), 0);
    CHECK(bpf_map_lookup_elem(map, &key) == NULL);
    CHECK_EQUAL(bpf_map_delete_elem(map, &key), -ENOENT);
}

/// max_entries is exact, and room that a delete made is there for the next insert.
static __always_inline void check_capacity(enum check_context context, void* map) {
    __u64 value = 1;
    for (__u64 key = 0; key < ENTRIES; ++key) {
        CHECK_EQUAL(bpf_map_update_elem(map, &key, &value, BPF_ANY), 0);
    }
    __u64 more = 100;
    CHECK_EQUAL(bpf_map_update_elem(map, &more, &value, BPF_ANY), -E2BIG);
    __u64 present = 0;
    CHECK_EQUAL(bpf_map_update_elem(map, &present, &value, BPF_ANY), 0);
    CHECK_EQUAL(bpf_map_delete_elem(map, &present), 0);
    CHECK_EQUAL(bpf_map_update_elem(map, &more, &value, BPF_ANY), 0);
    CHECK_EQUAL(bpf_map_delete_elem(map, &more), 0);
    for (__u64 key = 1; key < ENTRIES; ++key) {
        CHECK_EQUAL(bpf_map_delete_elem(map, &key), 0);
    }
}

static __noinline int check_all(enum check_context context) {
    check_array(context);
    check_hash(context, &preallocated);
    check_capacity(context, &preallocated);
    if (context != CHECK_NMI || input.allocates_in_nmi) {
        check_hash(context, &on_demand);
        check_capacity(context, &on_demand);
    }
    return 0;
}

CHECK_IN_EVERY_CONTEXT(check_all)
