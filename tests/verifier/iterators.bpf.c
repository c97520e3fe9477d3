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

#define ITER(name) [name] "i"(bpf_iter_num_##name)

struct guarded {
    struct bpf_spin_lock lock;
    __u64 sum;
};
ARRAY_OF(counts, 1, struct words);
ARRAY_OF(guardeds, 1, struct guarded);

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} ring SEC(".maps");

#define WORDS                                                                                      \
    __u32 key = 0;                                                                                 \
    struct words* words = bpf_map_lookup_elem(&counts, &key);                                      \
    if (!words) {                                                                                  \
        return 0;                                                                                  \
    }

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

ACCEPTED
SEC("?perf_event")
int iterated_and_counted(void* context) {
    struct bpf_iter_num it;
    __u64 count = 0;
    __u64 on_the_stack = 0;
    bpf_iter_num_new(&it, 0, 1000000);
    while (bpf_iter_num_next(&it)) {
        ++count;
        *(volatile __u64*)&on_the_stack += 2;
    }
    bpf_iter_num_destroy(&it);
    return count + on_the_stack;
}

ACCEPTED
SEC("?perf_event")
int iterators_in_each_other(void* context) {
    struct bpf_iter_num outer;
    __u64 rounds = 0;
    int* i;
    bpf_iter_num_new(&outer, 0, 1000);
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

ACCEPTED
SEC("?perf_event")
int iterator_left_early(void* context) {
    struct bpf_iter_num it;
    int* next;
    int last = 0;
    bpf_iter_num_new(&it, 0, 1000);
    while ((next = bpf_iter_num_next(&it))) {
        last = *next;
        if (last == 7) {
            break;
        }
    }
    bpf_iter_num_destroy(&it);
    return last;
}

ACCEPTED
SEC("?perf_event")
int iterator_with_nothing_more(void* context) {
    struct bpf_iter_num it;
    int number = 0;
    bpf_iter_num_new(&it, 0, 10);
    while (bpf_iter_num_next(&it)) {
    }
    // Known to be NULL: what would be wrong is never walked.
    if (bpf_iter_num_next(&it)) {
        number = *(volatile int*)1;
    }
    bpf_iter_num_destroy(&it);
    return number;
}

static __noinline int next_or_0(struct bpf_iter_num* it) {
    int* next = bpf_iter_num_next(it);
    return next ? *next : 0;
}

ACCEPTED
SEC("?perf_event")
int iterator_of_the_caller(void* context) {
    struct bpf_iter_num it;
    int sum = 0;
    bpf_iter_num_new(&it, 0, 3);
    sum += next_or_0(&it);
    sum += next_or_0(&it);
    bpf_iter_num_destroy(&it);
    return sum;
}

static long iterating(__u64 index, __u64* sum) {
    struct bpf_iter_num it;
    int* next;
    bpf_iter_num_new(&it, 0, 10);
    while ((next = bpf_iter_num_next(&it))) {
        *sum += *next;
    }
    bpf_iter_num_destroy(&it);
    return 0;
}

ACCEPTED
SEC("?perf_event")
int iterator_in_a_callback(void* context) {
    __u64 sum = 0;
    bpf_loop(1000, iterating, &sum, 0);
    return sum;
}

ACCEPTED
SEC("?syscall")
int iterated_under_a_lock(void* context) {
    struct bpf_iter_num it;
    __u32 key = 0;
    int* next;
    struct guarded* guarded = bpf_map_lookup_elem(&guardeds, &key);
    if (!guarded) {
        return 0;
    }
    bpf_spin_lock(&guarded->lock);
    bpf_iter_num_new(&it, 0, 100);
    while ((next = bpf_iter_num_next(&it))) {
        guarded->sum += *next;
    }
    bpf_iter_num_destroy(&it);
    bpf_spin_unlock(&guarded->lock);
    return 0;
}

ACCEPTED
SEC("?perf_event")
int iterated_number_as_an_index(void* context) {
    struct bpf_iter_num it;
    int* next;
    WORDS bpf_iter_num_new(&it, 0, 1000);
    while ((next = bpf_iter_num_next(&it))) {
        __u32 index = *next;
        UNKNOWN(index);
        if (index < 6) {
            words->word[index] += 1;
        }
    }
    bpf_iter_num_destroy(&it);
    return 0;
}

REJECTED("max value is outside of the allowed memory range")
SEC("?perf_event")
int iterated_number_beyond_the_value(void* context) {
    struct bpf_iter_num it;
    int* next;
    WORDS bpf_iter_num_new(&it, 0, 1000);
    while ((next = bpf_iter_num_next(&it))) {
        __u32 index = *next;
        UNKNOWN(index);
        if (index < 7) {
            words->word[index] += 1;
        }
    }
    bpf_iter_num_destroy(&it);
    return 0;
}

// A count that matters is not given up: it is followed to where it leaves the value.
REJECTED("invalid access to map value, value_size=48 off=48 size=8")
SEC("?perf_event")
int counted_beyond_the_value(void* context) {
    struct bpf_iter_num it;
    __u64 count = 0;
    WORDS bpf_iter_num_new(&it, 0, 6);
    while (bpf_iter_num_next(&it)) {
        UNKNOWN(count);
        words->word[count++] = 1;
    }
    bpf_iter_num_destroy(&it);
    return 0;
}

// What is 1000 in R8 at the third round's end came through R7 and R6.
REJECTED("math between map_value pointer and register with unbounded min value is not allowed")
PROGRAM(index_that_comes_from_round_to_round, "perf_event",
        ELEMENT(counts) "r9 = r0; "
                        "r1 = r10; r1 += -16; r2 = 0; r3 = 100; call %[new]; "
                        "r6 = 0; r7 = 0; r8 = 0; "
                        "round_%=: r1 = r10; r1 += -16; call %[next]; if r0 == 0 goto behind_%=; "
                        "r8 = r7; r7 = r6; r6 = 1000; goto round_%=; "
                        "behind_%=: r1 = r10; r1 += -16; call %[destroy]; "
                        "r0 = r9; r0 += r8; r0 = *(u8*)(r0 + 0); " OUT,
        LOOKS_UP(counts), ITER(new), ITER(next), ITER(destroy))

// The second way to the loop has in R7 what only the loop's end shows to be of importance.
REJECTED("invalid access to map value, value_size=48 off=1000 size=1")
PROGRAM(index_that_a_round_takes_over, "perf_event",
        ELEMENT(counts) "r9 = r0; call %[get_prandom_u32]; r6 = r0; "
                        "r1 = r10; r1 += -16; r2 = 0; r3 = 100; call %[new]; "
                        "r8 = 0; r7 = 0; if r6 == 0 goto round_%=; r7 = 1000; "
                        "round_%=: r1 = r10; r1 += -16; call %[next]; if r0 == 0 goto behind_%=; "
                        "r8 = r7; goto round_%=; "
                        "behind_%=: r1 = r10; r1 += -16; call %[destroy]; "
                        "r0 = r9; r0 += r8; r0 = *(u8*)(r0 + 0); " OUT,
        LOOKS_UP(counts), HELPER(get_prandom_u32), ITER(new), ITER(next), ITER(destroy))

REJECTED("Unreleased reference id=")
SEC("?perf_event")
int iterator_kept(void* context) {
    struct bpf_iter_num it;
    bpf_iter_num_new(&it, 0, 10);
    bpf_iter_num_next(&it);
    return 0;
}

REJECTED("Unreleased reference id=")
SEC("?perf_event")
int iterator_written_over(void* context) {
    struct bpf_iter_num it;
    bpf_iter_num_new(&it, 0, 10);
    *(volatile __u64*)&it = 0;
    return 0;
}

REJECTED("expected an initialized iter_num as arg")
SEC("?perf_event")
int iterator_half_written_over(void* context) {
    struct bpf_iter_num it;
    bpf_iter_num_new(&it, 0, 10);
    *(volatile __u8*)((char*)&it + 7) = 0;
    bpf_iter_num_destroy(&it);
    return 0;
}

REJECTED("expected an initialized iter_num as arg")
SEC("?perf_event")
int iterator_that_a_helper_wrote_over(void* context) {
    struct bpf_iter_num it;
    bpf_iter_num_new(&it, 0, 10);
    bpf_get_current_comm(&it, sizeof it);
    bpf_iter_num_destroy(&it);
    return 0;
}

REJECTED("invalid read from stack off -8+0 size 8")
PROGRAM(iterator_read, "perf_event",
        "r1 = r10; r1 += -8; r2 = 0; r3 = 10; call %[new]; r6 = *(u64*)(r10 - 8); "
        "r1 = r10; r1 += -8; call %[destroy]; r0 = 0; exit;",
        ITER(new), ITER(destroy))

REJECTED("invalid read from stack off -4+0 size 4")
PROGRAM(iterator_half_read, "perf_event",
        "r1 = r10; r1 += -8; r2 = 0; r3 = 10; call %[new]; r6 = *(u32*)(r10 - 4); "
        "r1 = r10; r1 += -8; call %[destroy]; r0 = 0; exit;",
        ITER(new), ITER(destroy))

REJECTED("invalid read from stack R2 off -12+4 size 8")
PROGRAM(iterator_that_a_helper_reads, "perf_event",
        "r1 = r10; r1 += -8; r2 = 0; r3 = 10; call %[new]; "
        "r1 = %[ring] ll; r2 = r10; r2 += -12; r3 = 8; r4 = 0; call %[ringbuf_output]; "
        "r1 = r10; r1 += -8; call %[destroy]; r0 = 0; exit;",
        MAP(ring), HELPER(ringbuf_output), ITER(new), ITER(destroy))

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

ACCEPTED
SEC("?perf_event")
int iterator_made_again(void* context) {
    struct bpf_iter_num it;
    bpf_iter_num_new(&it, 0, 10);
    bpf_iter_num_destroy(&it);
    bpf_iter_num_new(&it, 0, 10);
    bpf_iter_num_destroy(&it);
    return 0;
}

REJECTED("arg#0 expected pointer to an iterator on stack")
PROGRAM(iterator_in_a_value, "perf_event",
        ELEMENT(counts) "r1 = r0; r2 = 0; r3 = 10; call %[new]; " OUT, LOOKS_UP(counts), ITER(new))

REJECTED("arg#0 expected pointer to an iterator on stack")
PROGRAM(iterator_nowhere, "perf_event", "r1 = 0; r2 = 0; r3 = 10; call %[new]; r0 = 0; exit;",
        ITER(new))

REJECTED("cannot pass in iter at an offset=-12")
PROGRAM(iterator_beside_a_slot, "perf_event",
        "r1 = r10; r1 += -12; r2 = 0; r3 = 10; call %[new]; r0 = 0; exit;", ITER(new))

REJECTED("invalid write to stack R1 off=0 size=8")
PROGRAM(iterator_behind_the_stack, "perf_event",
        "r1 = r10; r2 = 0; r3 = 10; call %[new]; r0 = 0; exit;", ITER(new))

REJECTED("cannot pass in iter at an offset=8")
PROGRAM(iterator_far_behind_the_stack, "perf_event",
        "r1 = r10; r1 += 8; r2 = 0; r3 = 10; call %[new]; r0 = 0; exit;", ITER(new))

REJECTED("expected an initialized iter_num as arg")
PROGRAM(iterator_below_the_stack_that_goes_on, "perf_event",
        "r1 = r10; r1 += -520; call %[next]; r0 = 0; exit;", ITER(next))

REJECTED("invalid write to stack R1 off=-520 size=8")
PROGRAM(iterator_below_the_stack, "perf_event",
        "r1 = r10; r1 += -520; r2 = 0; r3 = 10; call %[new]; r0 = 0; exit;", ITER(new))

REJECTED("iter has to be at a constant offset")
PROGRAM(iterator_anywhere, "perf_event",
        "call %[get_prandom_u32]; r0 &= 8; r1 = r10; r1 += -16; r1 += r0; r2 = 0; r3 = 10; "
        "call %[new]; r0 = 0; exit;",
        HELPER(get_prandom_u32), ITER(new))

REJECTED("R2 is not a scalar")
PROGRAM(iterator_from_an_address, "perf_event",
        "r1 = r10; r1 += -8; r2 = r10; r3 = 10; call %[new]; r0 = 0; exit;", ITER(new))

REJECTED("R3 is not a scalar")
PROGRAM(iterator_to_nothing, "perf_event", "r1 = r10; r1 += -8; r2 = 0; call %[new]; r0 = 0; exit;",
        ITER(new))

REJECTED("R0 invalid mem access 'scalar'")
SEC("?perf_event")
int iterated_number_not_checked(void* context) {
    struct bpf_iter_num it;
    bpf_iter_num_new(&it, 0, 10);
    int number = *bpf_iter_num_next(&it);
    bpf_iter_num_destroy(&it);
    return number;
}

REJECTED("R0 cannot write into rdonly_mem")
SEC("?perf_event")
int iterated_number_written(void* context) {
    struct bpf_iter_num it;
    bpf_iter_num_new(&it, 0, 10);
    int* next = bpf_iter_num_next(&it);
    if (next) {
        *next = 5;
    }
    bpf_iter_num_destroy(&it);
    return 0;
}

REJECTED("invalid access to memory, mem_size=4 off=4 size=4")
SEC("?perf_event")
int behind_an_iterated_number(void* context) {
    struct bpf_iter_num it;
    int number = 0;
    bpf_iter_num_new(&it, 0, 10);
    int* next = bpf_iter_num_next(&it);
    if (next) {
        number = *(volatile int*)(next + 1);
    }
    bpf_iter_num_destroy(&it);
    return number;
}

REJECTED("invalid mem access 'scalar'")
SEC("?perf_event")
int iterated_number_behind_the_iterator(void* context) {
    struct bpf_iter_num it;
    bpf_iter_num_new(&it, 0, 10);
    int* next = bpf_iter_num_next(&it);
    bpf_iter_num_destroy(&it);
    return next ? *next : 0;
}

// Each round holds one more.
REJECTED("Unreleased reference id=")
SEC("?perf_event")
int record_of_each_round_kept(void* context) {
    struct bpf_iter_num it;
    bpf_iter_num_new(&it, 0, 10);
    while (bpf_iter_num_next(&it)) {
        if (!bpf_ringbuf_reserve(&ring, 8, 0)) {
            break;
        }
    }
    bpf_iter_num_destroy(&it);
    return 0;
}

ACCEPTED
SEC("?perf_event")
int record_of_each_round_submitted(void* context) {
    struct bpf_iter_num it;
    int* next;
    bpf_iter_num_new(&it, 0, 1000);
    while ((next = bpf_iter_num_next(&it))) {
        __u64* record = bpf_ringbuf_reserve(&ring, 8, 0);
        if (!record) {
            break;
        }
        *record = *next;
        bpf_ringbuf_submit(record, 0);
    }
    bpf_iter_num_destroy(&it);
    return 0;
}

REJECTED("infinite loop detected")
PROGRAM(loop_beside_an_iterator, "perf_event",
        "r1 = r10; r1 += -8; r2 = 0; r3 = 10; call %[new]; stay_%=: goto stay_%=; ", ITER(new))

// ---- may_goto
// ------------------------------------------------------------------------------------

ACCEPTED
PROGRAM(may_goto, "perf_event", "r6 = 0; loop_%=: may_goto out_%=; r6 += 1; goto loop_%=; " OUT)

ACCEPTED
PROGRAM(may_goto_the_next, "perf_event", "may_goto next_%=; next_%=: " OUT)

ACCEPTED
PROGRAM(may_goto_in_each_other, "perf_event",
        "r6 = 0; r7 = 0; outer_%=: may_goto out_%=; r6 += 1; "
        "inner_%=: may_goto outer_%=; r7 += 1; goto inner_%=; " OUT)

ACCEPTED
PROGRAM(may_goto_with_an_end, "perf_event",
        ELEMENT(counts) "r9 = r0; r6 = 0; "
                        "loop_%=: may_goto out_%=; if r6 > 47 goto out_%=; "
                        "r1 = r9; r1 += r6; *(u8*)(r1 + 0) = r6; r6 += 1; goto loop_%=; " OUT,
        LOOKS_UP(counts))

REJECTED("invalid access to map value, value_size=48 off=48 size=1")
PROGRAM(may_goto_beyond_the_value, "perf_event",
        ELEMENT(counts) "r9 = r0; r6 = 0; "
                        "loop_%=: may_goto out_%=; "
                        "r1 = r9; r1 += r6; *(u8*)(r1 + 0) = r6; r6 += 1; goto loop_%=; " OUT,
        LOOKS_UP(counts))

FUNCTION(static, may_goto_function,
         "r0 = 0; loop_%=: may_goto out_%=; r0 += 1; goto loop_%=; out_%=: exit;")

ACCEPTED
PROGRAM(may_goto_in_a_function, "perf_event",
        "r6 = 0; loop_%=: may_goto out_%=; call may_goto_function; r6 += r0; goto loop_%=; " OUT)

static long may_goto_callback(__u64 index, __u64* sum) {
    asm volatile("loop_%=: may_goto out_%=; goto loop_%=; out_%=:" : :);
    *sum += 1;
    return 0;
}

ACCEPTED
SEC("?perf_event")
int may_goto_in_a_callback(void* context) {
    __u64 sum = 0;
    bpf_loop(10, may_goto_callback, &sum, 0);
    return sum;
}

REJECTED("Unreleased reference id=")
PROGRAM(may_goto_with_an_iterator, "perf_event",
        "r1 = r10; r1 += -8; r2 = 0; r3 = 10; call %[new]; "
        "loop_%=: may_goto out_%=; r1 = r10; r1 += -8; call %[next]; if r0 != 0 goto loop_%=; "
        "r1 = r10; r1 += -8; call %[destroy]; " OUT,
        ITER(new), ITER(next), ITER(destroy))

REJECTED("infinite loop detected")
PROGRAM(goto_behind_may_goto, "perf_event", "loop_%=: may_goto out_%=; stay_%=: goto stay_%=; " OUT)

// When no more rounds are left it jumps for ever.
REJECTED("infinite loop detected")
PROGRAM(may_goto_backwards, "perf_event", "r6 = 0; loop_%=: r6 &= 1; may_goto loop_%=; " OUT)

REJECTED("The sequence of 8193 jumps is too complex.")
PROGRAM(may_goto_backwards_and_count, "perf_event",
        "r6 = 0; loop_%=: r6 += 1; may_goto loop_%=; " OUT)

REJECTED("invalid may_goto imm 1")
PROGRAM(may_goto_with_an_immediate, "perf_event", ".8byte 0x1000000e5; " OUT)

REJECTED("invalid may_goto imm 0")
PROGRAM(may_goto_with_a_register, "perf_event", ".8byte 0x1e5; " OUT)

REJECTED("invalid may_goto imm 0")
PROGRAM(conditional_pseudo_jump_of_another_kind, "perf_event", ".8byte 0x10e5; " OUT)

REJECTED("unknown opcode e6")
PROGRAM(may_goto_of_32_bits, "perf_event", ".8byte 0xe6; " OUT)

REJECTED("unknown opcode ed")
PROGRAM(may_goto_by_register, "perf_event", ".8byte 0xed; " OUT)

REJECTED("jump out of range")
PROGRAM(may_goto_outside, "perf_event", "may_goto +100; " OUT)
