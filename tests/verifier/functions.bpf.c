// SPDX-License-Identifier: Apache-2.0
//
// Functions: static ones are followed with the caller's state, global ones are proven by
// themselves, by their types alone.
#include "verifier.bpf.h"

ARRAY_OF(array, 1, struct words);
HASH_OF(hash, 8, struct words);

/// Tells the verifier that an argument of a global function is never NULL.
#define NON_NULL __attribute__((btf_decl_tag("arg:nonnull")))

// ---- Static -------------------------------------------------------------------------------------

FUNCTION(static, forty, "r0 = 40; exit;")

ACCEPTED
PROGRAM(result_of_a_static_function_is_known, "perf_event",
        ELEMENT(array) "r6 = r0; call forty; r6 += r0; r0 = *(u64*)(r6 + 0); " OUT, LOOKS_UP(array))

FUNCTION(static, reads_its_argument, "r0 = *(u64*)(r1 + 0); exit;")

ACCEPTED
PROGRAM(pointer_into_a_static_function, "perf_event",
        ELEMENT(array) "r1 = r0; call reads_its_argument; " OUT, LOOKS_UP(array))

REJECTED("R1 invalid mem access 'map_value_or_null'")
PROGRAM(unchecked_pointer_into_a_static_function, "perf_event",
        LOOKUP(hash) "r1 = r0; call reads_its_argument; r0 = 0; exit;", LOOKS_UP(hash))

REJECTED("R1 invalid mem access 'scalar'")
PROGRAM(number_into_a_static_function, "perf_event", "r1 = 7; call reads_its_argument; exit;")

REJECTED("R1 !read_ok")
PROGRAM(arguments_are_gone_behind_a_function, "perf_event", "r1 = 1; call forty; r0 = r1; exit;")

FUNCTION(static, uses_saved_registers, "r0 = r6; exit;")

REJECTED("R6 !read_ok")
PROGRAM(saved_registers_of_the_caller, "perf_event", "r6 = 1; call uses_saved_registers; exit;")

FUNCTION(static, changes_saved_registers, "r6 = 0; r0 = 0; exit;")

ACCEPTED
PROGRAM(saved_registers_are_the_callers_own, "perf_event",
        "r6 = r1; call changes_saved_registers; r0 = *(u64*)(r6 + 168); exit;")

FUNCTION(static, leaves_no_result, "exit;")

REJECTED("R0 !read_ok")
PROGRAM(function_without_a_result, "perf_event", "call leaves_no_result; exit;")

FUNCTION(static, goes_into_itself, "call goes_into_itself; exit;")

REJECTED("the call stack of 9 frames is too deep")
PROGRAM(recursion, "perf_event", "call goes_into_itself; exit;")

FUNCTION(static, depth_8, "r0 = 0; exit;")
FUNCTION(static, depth_7, "call depth_8; exit;")
FUNCTION(static, depth_6, "call depth_7; exit;")
FUNCTION(static, depth_5, "call depth_6; exit;")
FUNCTION(static, depth_4, "call depth_5; exit;")
FUNCTION(static, depth_3, "call depth_4; exit;")
FUNCTION(static, depth_2, "call depth_3; exit;")
FUNCTION(static, depth_1, "call depth_2; exit;")

ACCEPTED
PROGRAM(eight_frames, "perf_event", "call depth_2; exit;")

REJECTED("the call stack of 9 frames is too deep")
PROGRAM(nine_frames, "perf_event", "call depth_1; exit;")

REJECTED("jump out of range from insn")
PROGRAM(jump_into_a_function, "perf_event", "if r1 == 0 goto +3; call forty; r0 = 0; exit;")

// ---- Global -------------------------------------------------------------------------------------

__noinline int square(int number) {
    UNKNOWN(number);
    return number * number;
}

ACCEPTED
SEC("?perf_event")
int global_function(void* context) { return square(3); }

__noinline int forty_or_so(void) {
    int number = 40;
    UNKNOWN(number);
    return number;
}

REJECTED("value -2147483648 makes map_value pointer be out of bounds")
SEC("?perf_event")
int result_of_a_global_function_is_any(void* context) {
    __u32 key = 0;
    char* value = bpf_map_lookup_elem(&array, &key);
    return value ? value[forty_or_so()] : 0;
}

__noinline int first_word(struct words* words) { return words ? (int)words->word[0] : 0; }

ACCEPTED
SEC("?perf_event")
int memory_into_a_global_function(void* context) {
    struct words words = {};
    return first_word(&words);
}

ACCEPTED
SEC("?perf_event")
int null_into_a_global_function(void* context) { return first_word(NULL); }

__noinline int first_word_unchecked(struct words* words) { return (int)words->word[0]; }

REJECTED("invalid mem access 'mem_or_null'")
SEC("?perf_event")
int global_function_must_check(void* context) {
    struct words words = {};
    return first_word_unchecked(&words);
}

__noinline int first_word_of_some(struct words* words NON_NULL) { return (int)words->word[0]; }

ACCEPTED
SEC("?perf_event")
int global_function_that_is_given_some(void* context) {
    struct words words = {};
    return first_word_of_some(&words);
}

REJECTED("is expected to be non-NULL")
KERNEL_ACCEPTS("it overlooks a NULL that is known to be one")
SEC("?perf_event")
int null_where_some_is_wanted(void* context) {
    struct words* none = NULL;
    UNKNOWN(none);
    return first_word_of_some(none);
}

REJECTED("arg#0 is expected to be non-NULL")
SEC("?perf_event")
int unchecked_where_some_is_wanted(void* context) {
    __u32 key = 0;
    return first_word_of_some(bpf_map_lookup_elem(&hash, &key));
}

__noinline int behind_the_words(struct words* words) { return words ? (int)words[1].word[0] : 0; }

REJECTED("invalid access to memory, mem_size=48 off=48 size=")
SEC("?perf_event")
int global_function_reads_too_far(void* context) {
    struct words words[2] = {};
    return behind_the_words(words);
}

REJECTED("from stack R1 off")
SEC("?perf_event")
int too_little_for_a_global_function(void* context) {
    __u64 word = 0;
    return first_word((struct words*)&word);
}

__noinline int reads_the_event(struct bpf_perf_event_data* event) {
    return (int)event->sample_period;
}

ACCEPTED
SEC("?perf_event")
int context_into_a_global_function(struct bpf_perf_event_data* event) {
    return reads_the_event(event);
}

REJECTED("arg#0 expects pointer to ctx")
SEC("?perf_event")
int something_else_as_context(void* context) {
    __u64 bytes[24] = {};
    return reads_the_event((struct bpf_perf_event_data*)bytes);
}

__noinline void* returns_a_pointer(void) {
    void* pointer = NULL;
    UNKNOWN(pointer);
    return pointer;
}

REJECTED("() doesn't return scalar. Only those are supported")
SEC("?perf_event")
int global_function_that_returns_a_pointer(void* context) { return returns_a_pointer() != NULL; }

__noinline int sleeps(void) {
    __u64 word = 0;
    return (int)bpf_copy_from_user(&word, sizeof word, NULL);
}

REJECTED("global functions that may sleep are not allowed in non-sleepable context")
SEC("?perf_event")
int global_function_that_sleeps(void* context) { return sleeps(); }

ACCEPTED
SEC("?syscall")
int global_function_that_may_sleep(void* context) { return sleeps(); }
