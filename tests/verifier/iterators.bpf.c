// SPDX-License-Identifier: Apache-2.0
//
// Numeric iterators, and may_goto.
#include "verifier.bpf.h"

struct bpf_iter_num {
    __u64 __opaque[1];
} __attribute__((aligned(8)));
extern int bpf_iter_num_new(struct bpf_iter_num* it, int start, int end) __ksym __weak;
extern int* bpf_iter_num_next(struct bpf_iter_num* it) __ksym __weak;
extern void bpf_iter_num_destroy(struct bpf_iter_num* it) __ksym __weak;

ACCEPTED
SEC("?perf_event")
int iterated(void* context) {
    struct bpf_iter_num it;
    int sum = 0;
    int* next;
    bpf_iter_num_new(&it, 0, 1000000);
    while ((next = bpf_iter_num_next(&it))) {
        sum += *next;
    }
    bpf_iter_num_destroy(&it);
    return sum;
}

REJECTED("Unreleased reference id=")
SEC("?perf_event")
int iterator_kept(void* context) {
    struct bpf_iter_num it;
    bpf_iter_num_new(&it, 0, 10);
    bpf_iter_num_next(&it);
    return 0;
}

REJECTED("expected an initialized iter_num as arg")
SEC("?perf_event")
int iterator_not_made(void* context) {
    struct bpf_iter_num it;
    UNKNOWN(context);
    bpf_iter_num_next(&it);
    bpf_iter_num_destroy(&it);
    return 0;
}

REJECTED("expected an initialized iter_num as arg")
SEC("?perf_event")
int iterator_used_behind_its_end(void* context) {
    struct bpf_iter_num it;
    bpf_iter_num_new(&it, 0, 10);
    bpf_iter_num_destroy(&it);
    bpf_iter_num_next(&it);
    return 0;
}

REJECTED("expected uninitialized iter_num as arg")
SEC("?perf_event")
int iterator_made_twice(void* context) {
    struct bpf_iter_num it;
    bpf_iter_num_new(&it, 0, 10);
    bpf_iter_num_new(&it, 0, 10);
    bpf_iter_num_destroy(&it);
    return 0;
}

REJECTED("R0 invalid mem access 'scalar'")
SEC("?perf_event")
int iterated_number_not_checked(void* context) {
    struct bpf_iter_num it;
    bpf_iter_num_new(&it, 0, 10);
    int number = *bpf_iter_num_next(&it);
    bpf_iter_num_destroy(&it);
    return number;
}

// ---- may_goto
// ------------------------------------------------------------------------------------

ACCEPTED
PROGRAM(may_goto, "perf_event", "r6 = 0; loop_%=: may_goto out_%=; r6 += 1; goto loop_%=; " OUT)

REJECTED("infinite loop detected")
PROGRAM(goto_behind_may_goto, "perf_event", "loop_%=: may_goto out_%=; stay_%=: goto stay_%=; " OUT)
