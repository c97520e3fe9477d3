// SPDX-License-Identifier: Apache-2.0
//
// Reads that never sleep, of user and of kernel memory. Reads string, edge, unmapped, not_resident.
//
// observed[0..2]: result of bpf_probe_read_user() on pages that are not resident, by context (task,
// nmi, task_work). The kernel may say -EFAULT; taskwork reads them.

#include "check.bpf.h"

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64[2]);
} kernel_memory SEC(".maps");

static const char wanted[] = CHECK_STRING;
static const char zeros[CHECK_TEXT_MAX];

static __always_inline void check_user(enum check_context context) {
    char text[CHECK_TEXT_MAX];

    __builtin_memset(text, 'x', sizeof(text));
    CHECK_EQUAL(bpf_probe_read_user(text, sizeof(wanted), (void*)input.string), 0);
    CHECK_SAME_BYTES(text, wanted, sizeof(wanted));
    CHECK_EQUAL(text[sizeof(wanted)], 'x');

    CHECK_EQUAL(bpf_probe_read_user(text, 4, (void*)input.edge), 0);
    CHECK_SAME_BYTES(text, CHECK_EDGE, 4);

    // A read that fails leaves zeros, the part in front of the fault included.
    __builtin_memset(text, 'x', sizeof(text));
    CHECK_EQUAL(bpf_probe_read_user(text, 8, (void*)input.edge), -EFAULT);
    CHECK_SAME_BYTES(text, zeros, 8);
    __builtin_memset(text, 'x', sizeof(text));
    CHECK_EQUAL(bpf_probe_read_user(text, 8, (void*)input.unmapped), -EFAULT);
    CHECK_SAME_BYTES(text, zeros, 8);
    CHECK_EQUAL(bpf_probe_read_user(text, 8, NULL), -EFAULT);
    // Not a user address.
    CHECK_EQUAL(bpf_probe_read_user(text, 8, (void*)0xffffffff81000000), -EFAULT);

    int error = bpf_probe_read_user(text, 8, (void*)(input.not_resident + 4096 * context));
    result.observed[(context - 1) & 3] = error;
    if (!error) {
        CHECK_SAME_BYTES(text, zeros, 8);
    }
}

static __always_inline void check_user_string(enum check_context context) {
    char text[CHECK_TEXT_MAX];

    __builtin_memset(text, 'x', sizeof(text));
    CHECK_EQUAL(bpf_probe_read_user_str(text, sizeof(text), (void*)input.string), sizeof(wanted));
    CHECK_SAME_BYTES(text, wanted, sizeof(wanted));

    // One that does not fit is cut and terminated.
    CHECK_EQUAL(bpf_probe_read_user_str(text, 5, (void*)input.string), 5);
    CHECK_SAME_BYTES(text, wanted, 4);
    CHECK_EQUAL(text[4], 0);

    // One that fits in front of an unmapped page is no fault, as it is not read to its end.
    CHECK_EQUAL(bpf_probe_read_user_str(text, 4, (void*)input.edge), 4);
    CHECK_SAME_BYTES(text, CHECK_EDGE, 3);

    CHECK_EQUAL(bpf_probe_read_user_str(text, 8, (void*)input.edge), -EFAULT);
    CHECK_EQUAL(bpf_probe_read_user_str(text, 8, (void*)input.unmapped), -EFAULT);
}

static __always_inline void check_kernel(enum check_context context) {
    __u32 key = 0;
    __u64* value = bpf_map_lookup_elem(&kernel_memory, &key);
    if (!value) {
        return;
    }
    value[0] = 0x64636261;  // "abcd", NUL
    value[1] = 0;

    __u64 copy = 1;
    CHECK_EQUAL(bpf_probe_read_kernel(&copy, sizeof(copy), value), 0);
    CHECK_EQUAL(copy, 0x64636261);

    char text[8] = {};
    CHECK_EQUAL(bpf_probe_read_kernel_str(text, sizeof(text), value), 5);
    CHECK_SAME_BYTES(text, "abcd", 5);
    CHECK_EQUAL(bpf_probe_read_kernel_str(text, 3, value), 3);
    CHECK_SAME_BYTES(text, "ab", 3);

    // Neither null nor a user address, readable as it may be, is kernel memory.
    CHECK_EQUAL(bpf_probe_read_kernel(&copy, sizeof(copy), NULL), -ERANGE);
    CHECK_EQUAL(copy, 0);
    CHECK_EQUAL(bpf_probe_read_kernel(&copy, sizeof(copy), (void*)input.string), -ERANGE);
    CHECK_EQUAL(bpf_probe_read_kernel_str(text, sizeof(text), (void*)input.string), -ERANGE);
}

static __noinline int check(enum check_context context) {
    check_user(context);
    check_user_string(context);
    check_kernel(context);
    return 0;
}

CHECK_IN_EVERY_CONTEXT(check)
