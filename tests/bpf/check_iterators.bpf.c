// SPDX-License-Identifier: Apache-2.0
//
// Loops: numeric iterators, may_goto; and regions without preemption. Reads no input.

#include "check.bpf.h"

struct bpf_iter_num {
    __u64 __opaque[1];
} __attribute__((aligned(8)));
extern int bpf_iter_num_new(struct bpf_iter_num* it, int start, int end) __ksym;
extern int* bpf_iter_num_next(struct bpf_iter_num* it) __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num* it) __ksym;
extern void bpf_preempt_disable(void) __ksym;
extern void bpf_preempt_enable(void) __ksym;

#define INT_MAX 0x7fffffff
#define INT_MIN (-INT_MAX - 1)
#define MAX_LOOPS (8 << 20)

struct outcome {
    __s64 error;
    __s64 count;
    __s64 sum;
};

/// Goes through [start, end), but at most `limit` numbers. Global, as what follows: verified once,
/// whatever the numbers are.
__noinline int iterate(struct outcome* outcome, int start, int end, int limit) {
    struct bpf_iter_num it;
    __s64 count = 0;
    __s64 sum = 0;
    int* next;
    if (!outcome) {
        return 0;
    }
    outcome->error = bpf_iter_num_new(&it, start, end);
    while (count < limit && (next = bpf_iter_num_next(&it))) {
        ++count;
        sum += *next;
    }
    bpf_iter_num_destroy(&it);
    outcome->count = count;
    outcome->sum = sum;
    return 0;
}

#define CHECK_ITERATION(start, end, limit, wanted_error, wanted_count, wanted_sum)                 \
    do {                                                                                           \
        iterate(&outcome, start, end, limit);                                                      \
        CHECK_EQUAL(outcome.error, wanted_error);                                                  \
        CHECK_EQUAL(outcome.count, wanted_count);                                                  \
        CHECK_EQUAL(outcome.sum, wanted_sum);                                                      \
    } while (0)

__noinline int check_ranges(enum check_context context) {
    struct outcome outcome = {};
    CHECK_ITERATION(0, 100, 1000, 0, 100, 4950);
    CHECK_ITERATION(-3, 4, 1000, 0, 7, 0);
    CHECK_ITERATION(5, 5, 1000, 0, 0, 0);
    CHECK_ITERATION(0, 100, 10, 0, 10, 45);
    CHECK_ITERATION(INT_MIN, INT_MIN + 2, 1000, 0, 2, 2 * (__s64)INT_MIN + 1);
    CHECK_ITERATION(INT_MAX - 2, INT_MAX, 1000, 0, 2, 2 * (__s64)INT_MAX - 3);
    CHECK_ITERATION(1, 0, 1000, -EINVAL, 0, 0);
    CHECK_ITERATION(0, MAX_LOOPS, 3, 0, 3, 3);
    CHECK_ITERATION(0, MAX_LOOPS + 1, 1000, -E2BIG, 0, 0);
    CHECK_ITERATION(-1, MAX_LOOPS, 1000, -E2BIG, 0, 0);
    CHECK_ITERATION(INT_MIN, INT_MAX, 1000, -E2BIG, 0, 0);
    return 0;
}

__noinline int check_numbers(enum check_context context) {
    struct bpf_iter_num it;
    int* number;
    bpf_iter_num_new(&it, 7, 9);
    number = bpf_iter_num_next(&it);
    CHECK_EQUAL(number ? *number : 0, 7);
    // It is in the iterator.
    CHECK_EQUAL(CHECK_ADDRESS(number), CHECK_ADDRESS(&it));
    number = bpf_iter_num_next(&it);
    CHECK_EQUAL(number ? *number : 0, 8);
    number = bpf_iter_num_next(&it);
    CHECK(number == NULL);
    number = bpf_iter_num_next(&it);
    CHECK(number == NULL);
    bpf_iter_num_destroy(&it);
    return 0;
}

/// The rounds of an iterator over [0, i) for each i of another over [0, end).
__noinline int nested_rounds(int end) {
    struct bpf_iter_num outer;
    int rounds = 0;
    int* i;
    bpf_iter_num_new(&outer, 0, end);
    while ((i = bpf_iter_num_next(&outer))) {
        struct bpf_iter_num inner;
        bpf_iter_num_new(&inner, 0, *i);
        while (bpf_iter_num_next(&inner)) {
            ++rounds;
        }
        bpf_iter_num_destroy(&inner);
    }
    bpf_iter_num_destroy(&outer);
    return rounds;
}

/// Rounds until `wanted`, or until may_goto ends them.
__noinline int rounds_by_may_goto(int wanted) {
    int rounds = 0;
    asm volatile("loop_%=: may_goto out_%=; if %[rounds] s>= %[wanted] goto out_%=; "
                 "%[rounds] += 1; goto loop_%=; out_%=:"
                 : [rounds] "+r"(rounds)
                 : [wanted] "r"(wanted));
    return rounds;
}

__noinline int check_may_goto(enum check_context context) {
    CHECK_EQUAL(rounds_by_may_goto(0), 0);
    CHECK_EQUAL(rounds_by_may_goto(1000), 1000);
    // Each call has rounds of its own.
    CHECK_EQUAL(rounds_by_may_goto(1000), 1000);
    return 0;
}

__noinline int check_preemption(enum check_context context) {
    struct outcome outcome = {};
    bpf_preempt_disable();
    bpf_preempt_disable();
    CHECK_ITERATION(0, 10, 1000, 0, 10, 45);
    bpf_preempt_enable();
    bpf_preempt_enable();
    return 0;
}

static __noinline int check(enum check_context context) {
    check_ranges(context);
    check_numbers(context);
    CHECK_EQUAL(nested_rounds(20), 190);
    check_may_goto(context);
    check_preemption(context);
    return 0;
}

CHECK_IN_EVERY_CONTEXT(check)
