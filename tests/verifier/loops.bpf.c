// SPDX-License-Identifier: Apache-2.0
//
// Loops: with a bound that is found by walking them, without one, and by helpers and iterators.
#include "verifier.bpf.h"

ARRAY_OF(array, 1, struct words);
HASH_OF(hash, 8, struct words);

ACCEPTED
PROGRAM(ten_times, "perf_event",
        "r6 = 10; loop_%=: r6 += -1; if r6 != 0 goto loop_%=; r0 = 0; exit;")

ACCEPTED
PROGRAM(a_thousand_times, "perf_event",
        "r6 = 0; loop_%=: r6 += 1; if r6 < 1000 goto loop_%=; r0 = 0; exit;")

ACCEPTED
PROGRAM(bounded_by_a_number_of_the_event, "perf_event",
        "r7 = *(u64*)(r1 + 168); if r7 > 100 goto out_%=; r6 = 0; "
        "loop_%=: if r6 >= r7 goto out_%=; r6 += 1; goto loop_%=; " OUT)

ACCEPTED
PROGRAM(left_after_some, "perf_event",
        "r7 = *(u64*)(r1 + 168); r6 = 0; "
        "loop_%=: if r6 == r7 goto out_%=; r6 += 1; if r6 < 20 goto loop_%=; " OUT)

ACCEPTED
PROGRAM(one_in_another, "perf_event",
        "r6 = 0; outer_%=: r7 = 0; inner_%=: r7 += 1; if r7 < 8 goto inner_%=; r6 += 1; "
        "if r6 < 8 goto outer_%=; r0 = 0; exit;")

REJECTED("infinite loop detected")
PROGRAM(for_ever, "perf_event", "r6 = 0; loop_%=: r6 = 0; if r6 == 0 goto loop_%=; r0 = 0; exit;")

REJECTED("infinite loop detected")
PROGRAM(for_ever_as_far_as_known, "perf_event",
        "r6 = *(u64*)(r1 + 168); loop_%=: if r6 != 0 goto loop_%=; r0 = 0; exit;")

REJECTED("infinite loop detected")
PROGRAM(waits_for_memory, "perf_event",
        ELEMENT(array) "r6 = r0; loop_%=: r1 = *(u64*)(r6 + 0); if r1 == 0 goto loop_%=; " OUT,
        LOOKS_UP(array))

REJECTED("BPF program is too large. Processed 1000001 insn")
PROGRAM(ten_million_times, "perf_event",
        "r6 = 0; loop_%=: r6 += 1; if r6 < 10000000 goto loop_%=; r0 = 0; exit;")

ACCEPTED
PROGRAM(
    walk_over_a_value, "perf_event",
    ELEMENT(array) "r6 = 0; r7 = r0; "
                   "loop_%=: r0 = *(u64*)(r7 + 0); r7 += 8; r6 += 1; if r6 < 6 goto loop_%=; " OUT,
    LOOKS_UP(array))

REJECTED("invalid access to map value, value_size=48 off=48 size=8")
PROGRAM(
    walk_beyond_a_value, "perf_event",
    ELEMENT(array) "r6 = 0; r7 = r0; "
                   "loop_%=: r0 = *(u64*)(r7 + 0); r7 += 8; r6 += 1; if r6 < 7 goto loop_%=; " OUT,
    LOOKS_UP(array))

// ---- bpf_loop and bpf_for_each_map_elem ---------------------------------------------------------

static __noinline int step(__u32 index, void* data) {
    ++*(__u64*)data;
    return index > 3;
}

ACCEPTED
SEC("?perf_event")
int loop_helper(void* context) {
    __u64 count = 0;
    bpf_loop(100, step, &count, 0);
    return (int)count;
}

static __noinline int never_ready(__u32 index, void* data) { return 0; }

ACCEPTED
SEC("?perf_event")
int eight_million_turns(void* context) { return (int)bpf_loop(1 << 23, never_ready, NULL, 0); }

static __noinline int step_returns_two(__u32 index, void* data) { return 2; }

REJECTED("At callback return the register R0 has smin=2 smax=2 should have been in [0, 1]")
SEC("?perf_event")
int step_that_returns_two(void* context) { return (int)bpf_loop(10, step_returns_two, NULL, 0); }

static __noinline int step_without_bounds(__u32 index, void* data) {
    return (int)*((char*)data + index);
}

REJECTED("invalid unbounded variable-offset read from stack R2")
SEC("?perf_event")
int step_index_is_any(void* context) {
    char bytes[16] = {};
    return (int)bpf_loop(10, step_without_bounds, bytes, 0);
}

static __noinline int step_follows(__u32 index, void* data) { return *(int*)data != 0; }

REJECTED("R2 invalid mem access 'scalar'")
SEC("?perf_event")
int step_gets_null(void* context) { return (int)bpf_loop(10, step_follows, NULL, 0); }

REJECTED("R2 type=scalar expected=func")
PROGRAM(number_as_step, "perf_event",
        "r1 = 10; r2 = 0; r3 = 0; r4 = 0; call %[loop]; r0 = 0; exit;", HELPER(loop))

static __noinline long each(struct bpf_map* map, const void* key, void* value, void* data) {
    *(__u64*)data += ((struct words*)value)->word[5];
    return 0;
}

ACCEPTED
SEC("?perf_event")
int for_each_element(void* context) {
    __u64 sum = 0;
    bpf_for_each_map_elem(&hash, each, &sum, 0);
    return (int)sum;
}

static __noinline long each_writes_its_key(struct bpf_map* map, void* key, void* value,
                                           void* data) {
    *(__u32*)key = 0;
    return 0;
}

REJECTED("write to change key R2 not allowed")
SEC("?perf_event")
int for_each_writes_a_key(void* context) {
    return (int)bpf_for_each_map_elem(&hash, each_writes_its_key, NULL, 0);
}

static __noinline long each_reads_too_far(struct bpf_map* map, const void* key, void* value,
                                          void* data) {
    return ((struct words*)value)[1].word[0] == 0;
}

REJECTED("invalid access to map value, value_size=48 off=48 size=")
SEC("?perf_event")
int for_each_reads_too_far(void* context) {
    return (int)bpf_for_each_map_elem(&hash, each_reads_too_far, NULL, 0);
}

FUNCTION(static, takes_over, "r1 = *(u64*)(r2 + 8); *(u64*)(r2 + 0) = r1; r0 = 0; exit;")

// The second way has beside the index what only the way behind the loop shows to be of importance.
REJECTED("invalid access to map value, value_size=48 off=1000 size=1")
PROGRAM(index_that_a_call_takes_over, "perf_event",
        ELEMENT(array) "r9 = r0; call %[get_prandom_u32]; r1 = 0; *(u64*)(r10 - 16) = r1; "
                       "if r0 == 0 goto large_%=; goto loop_%=; large_%=: r1 = 1000; "
                       "loop_%=: *(u64*)(r10 - 8) = r1; "
                       "r1 = 1; r2 = takes_over ll; r3 = r10; r3 += -16; r4 = 0; call %[loop]; "
                       "r1 = *(u64*)(r10 - 16); r9 += r1; r0 = *(u8*)(r9 + 0); " OUT,
        LOOKS_UP(array), HELPER(get_prandom_u32), HELPER(loop))

FUNCTION(static, indexes, "r6 = r2; " ELEMENT(array) "r0 += r6; r0 = *(u8*)(r0 + 0); " OUT,
         LOOKS_UP(array))

REJECTED("R3 type=scalar expected=fp")
KERNEL_ACCEPTS("it overlooks that a number was NULL where another comes")
PROGRAM(number_where_null_went_before, "perf_event",
        "call %[get_prandom_u32]; r3 = 0; if r0 == 0 goto large_%=; goto loop_%=; "
        "large_%=: r3 = 1000; "
        "loop_%=: r1 = 1; r2 = indexes ll; r4 = 0; call %[loop]; r0 = 0; exit;",
        HELPER(get_prandom_u32), HELPER(loop))

FUNCTION(static, adds_16, "r1 = *(u64*)(r2 + 0); r1 += 16; *(u64*)(r2 + 0) = r1; r0 = 0; exit;")

// After two calls there are 32; they are not what the next two begin with, who go on.
REJECTED("invalid access to map value, value_size=48 off=48 size=1")
PROGRAM(calls_that_were_used_up_before, "perf_event",
        ELEMENT(array) "r9 = r0; r1 = 0; *(u64*)(r10 - 16) = r1; "
                       "outer_%=: may_goto behind_%=; "
                       "r1 = 2; r2 = adds_16 ll; r3 = r10; r3 += -16; r4 = 0; call %[loop]; "
                       "goto outer_%=; "
                       "behind_%=: r1 = *(u64*)(r10 - 16); r9 += r1; r0 = *(u8*)(r9 + 0); " OUT,
        LOOKS_UP(array), HELPER(loop))
