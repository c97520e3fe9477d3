// SPDX-License-Identifier: Apache-2.0
//
// Tail calls: bpf_tail_call goes on as another program, or behind itself if there is none.
#include "verifier.bpf.h"

struct {
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
    __uint(max_entries, 4);
    __uint(key_size, 4);
    __uint(value_size, 4);
} programs SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} ring SEC(".maps");
ARRAY_OF(array, 1, struct words);

struct locked {
    struct bpf_res_spin_lock lock;
    __u64 number;
};
ARRAY_OF(locks, 1, struct locked);

/// With the context in R1.
#define TAIL_CALL "r2 = %[programs] ll; r3 = 1; call %[tail_call]; "
#define CALLS HELPER(tail_call), MAP(programs)

// ---- Arguments and what is left behind the call
// ---------------------------------------------------

ACCEPTED
PROGRAM(shortest, "perf_event", TAIL_CALL "r0 = 0; exit;", CALLS)

ACCEPTED
PROGRAM(any_index, "perf_event",
        "r6 = r1; call %[get_prandom_u32]; r3 = r0; r1 = r6; r2 = %[programs] ll; "
        "call %[tail_call]; r0 = 0; exit;",
        HELPER(get_prandom_u32), CALLS)

ACCEPTED
PROGRAM(again_and_again, "perf_event",
        "r6 = r1; " TAIL_CALL "r1 = r6; " TAIL_CALL "r1 = r6; " TAIL_CALL "r0 = 0; exit;", CALLS)

REJECTED("R0 !read_ok")
PROGRAM(no_result, "perf_event", TAIL_CALL "exit;", CALLS)

REJECTED("R3 !read_ok")
PROGRAM(arguments_are_gone, "perf_event", TAIL_CALL "r0 = r3; exit;", CALLS)

REJECTED("R1 type=scalar expected=ctx")
PROGRAM(number_as_context, "perf_event", "r1 = 0; " TAIL_CALL "r0 = 0; exit;", CALLS)

REJECTED("R1 type=fp expected=ctx")
PROGRAM(stack_as_context, "perf_event", "r1 = r10; " TAIL_CALL "r0 = 0; exit;", CALLS)

REJECTED("dereference of modified ctx ptr R1 off=8 disallowed")
PROGRAM(moved_context, "perf_event", "r1 += 8; " TAIL_CALL "r0 = 0; exit;", CALLS)

REJECTED("R2 type=scalar expected=map_ptr")
PROGRAM(number_as_array, "perf_event", "r2 = 0; r3 = 0; call %[tail_call]; r0 = 0; exit;",
        HELPER(tail_call))

REJECTED("expected prog array map for tail call")
PROGRAM(array_of_numbers, "perf_event",
        "r2 = %[array] ll; r3 = 0; call %[tail_call]; r0 = 0; exit;", HELPER(tail_call), MAP(array))

REJECTED("R3 !read_ok")
PROGRAM(no_index, "perf_event", "r2 = %[programs] ll; call %[tail_call]; r0 = 0; exit;", CALLS)

REJECTED("cannot pass map_type 3 into func bpf_map_lookup_elem#1")
PROGRAM(lookup_of_a_program, "perf_event", LOOKUP(programs) "r0 = 0; exit;", LOOKS_UP(programs))

REJECTED("cannot pass map_type 3 into func bpf_map_delete_elem#3")
PROGRAM(deletion_of_a_program, "perf_event",
        "r1 = 0; *(u32*)(r10 - 4) = r1; r2 = r10; r2 += -4; r1 = %[programs] ll; "
        "call %[map_delete_elem]; r0 = 0; exit;",
        HELPER(map_delete_elem), MAP(programs))

REJECTED("Sleepable programs can only use array, hash, ringbuf and local storage maps")
PROGRAM(sleepable, "syscall", TAIL_CALL "r0 = 0; exit;", CALLS)

// ---- What must not be held
// ------------------------------------------------------------------------

static __always_inline void tail_call(void* context) { bpf_tail_call(context, &programs, 1); }

REJECTED("tail_call would lead to reference leak")
SEC("?perf_event")
int with_a_record(void* context) {
    void* record = bpf_ringbuf_reserve(&ring, 8, 0);
    tail_call(context);
    if (record) {
        bpf_ringbuf_discard(record, 0);
    }
    return 0;
}

ACCEPTED
SEC("?perf_event")
int behind_a_record(void* context) {
    void* record = bpf_ringbuf_reserve(&ring, 8, 0);
    if (record) {
        bpf_ringbuf_submit(record, 0);
    }
    tail_call(context);
    return 0;
}

REJECTED("tail_call cannot be used inside bpf_rcu_read_lock-ed region")
SEC("?perf_event")
int in_a_section(void* context) {
    bpf_rcu_read_lock();
    tail_call(context);
    bpf_rcu_read_unlock();
    return 0;
}

void bpf_preempt_disable(void) __ksym;
void bpf_preempt_enable(void) __ksym;

REJECTED("tail_call cannot be used inside bpf_preempt_disable-ed region")
SEC("?perf_event")
int without_preemption(void* context) {
    bpf_preempt_disable();
    tail_call(context);
    bpf_preempt_enable();
    return 0;
}

REJECTED("function calls are not allowed while holding a lock")
KERNEL_SAYS("tracing progs cannot use bpf_spin_lock yet", "its locks could hang a handler")
SEC("?perf_event")
int with_a_lock(void* context) {
    __u32 key = 0;
    struct locked* value = bpf_map_lookup_elem(&locks, &key);
    if (value && bpf_res_spin_lock(&value->lock) == 0) {
        tail_call(context);
        bpf_res_spin_unlock(&value->lock);
    }
    return 0;
}

// ---- In functions
// ---------------------------------------------------------------------------------

FUNCTION(static, calls_program, TAIL_CALL "r0 = 1; exit;", CALLS)

ACCEPTED
PROGRAM(in_a_function, "perf_event", "call calls_program; exit;")

__noinline int global_calls_program(struct bpf_perf_event_data* context) {
    tail_call(context);
    return 1;
}

ACCEPTED
SEC("?perf_event")
int in_a_global_function(struct bpf_perf_event_data* context) {
    return global_calls_program(context);
}

// The function gives back 1, the program that it calls whatever it likes.
REJECTED("math between map_value pointer and register with unbounded min value is not allowed")
PROGRAM(result_of_the_program_as_offset, "perf_event",
        "r6 = r1; " ELEMENT(array) "r7 = r0; r1 = r6; call calls_program; r7 += r0; "
                                   "r0 = *(u8*)(r7 + 0); " OUT,
        LOOKS_UP(array))

ACCEPTED
PROGRAM(result_of_the_program_bounded, "perf_event",
        "r6 = r1; " ELEMENT(array) "r7 = r0; r1 = r6; call calls_program; r0 &= 7; r7 += r0; "
                                   "r0 = *(u8*)(r7 + 0); " OUT,
        LOOKS_UP(array))

static __noinline void gives_back_nothing(void* context) { tail_call(context); }

REJECTED("tail_call is only allowed in functions that return 'int'.")
SEC("?perf_event")
int in_a_function_without_a_result(void* context) {
    gives_back_nothing(context);
    return 0;
}

static __noinline int calls_program_in_c(void* context) {
    tail_call(context);
    return 1;
}

ACCEPTED
SEC("?perf_event")
int with_a_record_of_the_caller(void* context) {
    void* record = bpf_ringbuf_reserve(&ring, 8, 0);
    int result = calls_program_in_c(context);
    if (record) {
        bpf_ringbuf_submit(record, 0);
    }
    return result;
}

static __noinline int reserves_and_calls(void* context) {
    void* record = bpf_ringbuf_reserve(&ring, 8, 0);
    tail_call(context);
    if (record) {
        bpf_ringbuf_discard(record, 0);
    }
    return 1;
}

REJECTED("Unreleased reference id=")
SEC("?perf_event")
int with_a_record_of_the_function(void* context) { return reserves_and_calls(context); }

static __noinline int section_and_call(void* context) {
    bpf_rcu_read_lock();
    tail_call(context);
    bpf_rcu_read_unlock();
    return 1;
}

REJECTED("tail_call cannot be used inside bpf_rcu_read_lock-ed region")
SEC("?perf_event")
int in_a_section_of_the_function(void* context) { return section_and_call(context); }

// ---- Stack
// ----------------------------------------------------------------------------------------

#define USES(offset) "r0 = 0; *(u64*)(r10 - " #offset ") = r0; "

ACCEPTED
PROGRAM(little_stack_before, "perf_event", USES(240) "call calls_program; exit;")

REJECTED("tail_calls are not allowed when call stack of previous frames is 256 bytes. Too large")
PROGRAM(too_much_stack_before, "perf_event", USES(256) "call calls_program; exit;")

FUNCTION(static, between, USES(128) "call calls_program; exit;")

REJECTED("tail_calls are not allowed when call stack of previous frames is 256 bytes. Too large")
PROGRAM(too_much_stack_in_two, "perf_event", USES(128) "call between; exit;")

ACCEPTED
PROGRAM(all_stack_of_the_last, "perf_event", USES(512) TAIL_CALL "r0 = 0; exit;", CALLS)

// ---- Callbacks
// ------------------------------------------------------------------------------------

struct state {
    void* context;
};
static long step(__u32 index, struct state* state) {
    tail_call(state->context);
    return 0;
}

REJECTED("At callback return the register R0 has unknown scalar value should have been in [0, 1]")
KERNEL_NOT_ASKED("6.18 refuses it as what it takes for a bug of its own, with a warning in its log")
SEC("?perf_event")
int in_a_callback(void* context) {
    struct state state = {context};
    bpf_loop(3, step, &state, 0);
    return 0;
}
