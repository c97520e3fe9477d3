// SPDX-License-Identifier: Apache-2.0
//
// Reads of user memory that may fault and sleep, from a callback and from a syscall program. Reads
// string, edge, unmapped, not_resident.

#include "check.bpf.h"

#define BPF_F_PAD_ZEROS_FLAG 1

static const char wanted[] = CHECK_STRING;
static const char zeros[CHECK_TEXT_MAX];

static __always_inline void check_bytes(enum check_context context) {
    char text[CHECK_TEXT_MAX];

    __builtin_memset(text, 'x', sizeof(text));
    CHECK_EQUAL(bpf_copy_from_user(text, sizeof(wanted), (void*)input.string), 0);
    CHECK_SAME_BYTES(text, wanted, sizeof(wanted));
    CHECK_EQUAL(text[sizeof(wanted)], 'x');
    CHECK_EQUAL(bpf_copy_from_user(text, 4, (void*)input.edge), 0);
    CHECK_SAME_BYTES(text, CHECK_EDGE, 4);

    // A read that fails leaves zeros, the part in front of the fault included.
    __builtin_memset(text, 'x', sizeof(text));
    CHECK_EQUAL(bpf_copy_from_user(text, 8, (void*)input.edge), -EFAULT);
    CHECK_SAME_BYTES(text, zeros, 8);
    __builtin_memset(text, 'x', sizeof(text));
    CHECK_EQUAL(bpf_copy_from_user(text, 8, (void*)input.unmapped), -EFAULT);
    CHECK_SAME_BYTES(text, zeros, 8);
    CHECK_EQUAL(bpf_copy_from_user(text, 8, NULL), -EFAULT);
    CHECK_EQUAL(bpf_copy_from_user(text, 8, (void*)0xffffffff81000000), -EFAULT);
}

/// Pages that are mapped but have never been touched: the fault brings them in.
static __always_inline void check_not_resident(enum check_context context) {
    // Half of them for each context, so that both meet fresh ones.
    __u64 first = context == CHECK_TASK ? 0 : CHECK_PAGES / 2;
    for (__u64 i = 0; i < CHECK_PAGES / 2; ++i) {
        __u64 word = 1;
        CHECK_EQUAL(bpf_copy_from_user(&word, sizeof(word),
                                       (void*)(input.not_resident + (first + i) * 4096)),
                    0);
        CHECK_EQUAL(word, 0);
    }
}

static __always_inline void check_string(enum check_context context) {
    char text[CHECK_TEXT_MAX];

    __builtin_memset(text, 'x', sizeof(text));
    CHECK_EQUAL(bpf_copy_from_user_str(text, sizeof(text), (void*)input.string, 0), sizeof(wanted));
    CHECK_SAME_BYTES(text, wanted, sizeof(wanted));

    // One that does not fit is cut and terminated; one that just fits is whole.
    CHECK_EQUAL(bpf_copy_from_user_str(text, 5, (void*)input.string, 0), 5);
    CHECK_SAME_BYTES(text, wanted, 4);
    CHECK_EQUAL(text[4], 0);
    CHECK_EQUAL(bpf_copy_from_user_str(text, sizeof(wanted), (void*)input.string, 0),
                sizeof(wanted));
    CHECK_SAME_BYTES(text, wanted, sizeof(wanted));

    __builtin_memset(text, 'x', sizeof(text));
    CHECK_EQUAL(
        bpf_copy_from_user_str(text, sizeof(text), (void*)input.string, BPF_F_PAD_ZEROS_FLAG),
        sizeof(wanted));
    CHECK_SAME_BYTES(text + sizeof(wanted), zeros, sizeof(text) - sizeof(wanted));

    CHECK_EQUAL(bpf_copy_from_user_str(text, 8, (void*)input.edge, 0), -EFAULT);
    CHECK_EQUAL(bpf_copy_from_user_str(text, 8, (void*)input.unmapped, 0), -EFAULT);
    __builtin_memset(text, 'x', sizeof(text));
    CHECK_EQUAL(bpf_copy_from_user_str(text, 8, (void*)input.unmapped, BPF_F_PAD_ZEROS_FLAG),
                -EFAULT);
    CHECK_SAME_BYTES(text, zeros, 8);
    CHECK_EQUAL(bpf_copy_from_user_str(text, 8, (void*)input.string, 2), -EINVAL);
}

static __noinline int check(enum check_context context) {
    check_bytes(context);
    check_not_resident(context);
    check_string(context);
    return 0;
}

CHECK_WHERE_SLEEPABLE(check)
