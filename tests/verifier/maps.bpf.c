// SPDX-License-Identifier: Apache-2.0
//
// Maps and their values: the check for NULL, bounds, maps of maps, data that only reads, and which
// kinds go with which helper.
#include "verifier.bpf.h"

ARRAY_OF(array, 1, struct words);
HASH_OF(hash, 8, struct words);
HASH_OF(other, 8, struct words);

struct {
    __uint(type, BPF_MAP_TYPE_QUEUE);
    __uint(max_entries, 4);
    __uint(value_size, 8);
} queue SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} ring SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} counters SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
    __uint(max_entries, 1);
    __uint(key_size, 4);
    __uint(value_size, 4);
} programs SEC(".maps");

struct inner {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} inner SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
    __uint(max_entries, 1);
    __type(key, __u32);
    __array(values, struct inner);
} outer SEC(".maps") = {.values = {&inner}};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __uint(map_flags, BPF_F_RDONLY_PROG);
    __type(key, __u32);
    __type(value, __u64);
} for_reading SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __uint(map_flags, BPF_F_WRONLY_PROG);
    __type(key, __u32);
    __type(value, __u64);
} for_writing SEC(".maps");

const volatile __u64 constant_forty = 40;
const volatile __u64 constant_hundred = 100;
__u64 variable = 40;

// ---- The check for NULL -------------------------------------------------------------------------

ACCEPTED
PROGRAM(checked, "perf_event", ELEMENT(array) "r0 = *(u64*)(r0 + 40); " OUT, LOOKS_UP(array))

REJECTED("R0 invalid mem access 'map_value_or_null'")
PROGRAM(not_checked, "perf_event", LOOKUP(hash) "r0 = *(u64*)(r0 + 0); exit;", LOOKS_UP(hash))

ACCEPTED
PROGRAM(constant_key_of_an_array_needs_no_check, "perf_event",
        LOOKUP(array) "r0 = *(u64*)(r0 + 0); exit;", LOOKS_UP(array))

REJECTED("R0 invalid mem access 'map_value_or_null'")
PROGRAM(any_key_of_an_array_needs_one, "perf_event",
        "r1 = *(u32*)(r1 + 168); *(u32*)(r10 - 4) = r1; r2 = r10; r2 += -4; r1 = %[array] ll; "
        "call %[map_lookup_elem]; r0 = *(u64*)(r0 + 0); exit;",
        LOOKS_UP(array))

REJECTED("R0 invalid mem access 'map_value_or_null'")
PROGRAM(constant_key_behind_an_array_needs_one, "perf_event",
        "r1 = 1; *(u32*)(r10 - 4) = r1; r2 = r10; r2 += -4; r1 = %[array] ll; "
        "call %[map_lookup_elem]; r0 = *(u64*)(r0 + 0); exit;",
        LOOKS_UP(array))

REJECTED("R0 invalid mem access 'scalar'")
PROGRAM(checked_the_wrong_way, "perf_event",
        LOOKUP(hash) "if r0 != 0 goto out_%=; r0 = *(u64*)(r0 + 0); " OUT, LOOKS_UP(hash))

REJECTED("R0 pointer arithmetic on map_value_or_null prohibited, null-check it first")
PROGRAM(moved_before_the_check, "perf_event",
        LOOKUP(hash) "r0 += 8; if r0 == 0 goto out_%=; r0 = *(u64*)(r0 + 0); " OUT, LOOKS_UP(hash))

ACCEPTED
PROGRAM(copy_is_checked_too, "perf_event",
        LOOKUP(hash) "r6 = r0; if r0 == 0 goto out_%=; r0 = *(u64*)(r6 + 0); " OUT, LOOKS_UP(hash))

REJECTED("R7 invalid mem access 'map_value_or_null'")
PROGRAM(other_lookup_is_not_checked, "perf_event",
        LOOKUP(hash) "r6 = r0; " LOOKUP(hash) "r7 = r0; if r6 == 0 goto out_%=; "
                                              "r0 = *(u64*)(r7 + 0); " OUT,
        LOOKS_UP(hash))

REJECTED("R0 invalid mem access 'map_value_or_null'")
PROGRAM(compared_with_one, "perf_event",
        LOOKUP(hash) "if r0 == 1 goto out_%=; r0 = *(u64*)(r0 + 0); " OUT, LOOKS_UP(hash))

// ---- Bounds of a value --------------------------------------------------------------------------

REJECTED("invalid access to map value, value_size=48 off=48 size=1")
PROGRAM(behind_the_value, "perf_event", ELEMENT(hash) "r0 = *(u8*)(r0 + 48); " OUT, LOOKS_UP(hash))

REJECTED("invalid access to map value, value_size=48 off=44 size=8")
PROGRAM(across_the_end_of_the_value, "perf_event",
        ELEMENT(hash) "r1 = 0; *(u64*)(r0 + 44) = r1; " OUT, LOOKS_UP(hash))

REJECTED("invalid access to map value, value_size=48 off=-8 size=8")
PROGRAM(before_the_value, "perf_event", ELEMENT(hash) "r0 = *(u64*)(r0 - 8); " OUT, LOOKS_UP(hash))

REJECTED("invalid access to map value, value_size=48 off=56 size=8")
PROGRAM(moved_behind_the_value, "perf_event", ELEMENT(hash) "r0 += 60; r0 = *(u64*)(r0 - 4); " OUT,
        LOOKS_UP(hash))

ACCEPTED
PROGRAM(moved_there_and_back, "perf_event",
        ELEMENT(hash) "r0 += 60; r0 += -60; r0 = *(u64*)(r0 + 0); " OUT, LOOKS_UP(hash))

REJECTED("math between map_value pointer and 2147483647 is not allowed")
PROGRAM(moved_by_gigabytes, "perf_event", ELEMENT(hash) "r0 += 2147483647; " OUT, LOOKS_UP(hash))

ACCEPTED
PROGRAM(misaligned_in_a_value, "perf_event", ELEMENT(hash) "r0 = *(u64*)(r0 + 3); " OUT,
        LOOKS_UP(hash))

// ---- Arithmetic on pointers ---------------------------------------------------------------------

REJECTED("R6 pointer arithmetic with *= operator prohibited")
PROGRAM(pointer_multiplied, "perf_event", ELEMENT(hash) "r6 = r0; r6 *= 8; " OUT, LOOKS_UP(hash))

REJECTED("R6 bitwise operator &= on pointer prohibited")
PROGRAM(pointer_masked, "perf_event", ELEMENT(hash) "r6 = r0; r6 &= -8; " OUT, LOOKS_UP(hash))

REJECTED("R6 32-bit pointer arithmetic prohibited")
PROGRAM(half_of_a_pointer_moved, "perf_event", ELEMENT(hash) "r6 = r0; w6 += 8; " OUT,
        LOOKS_UP(hash))

REJECTED("R6 pointer += pointer prohibited")
PROGRAM(sum_of_pointers, "perf_event", ELEMENT(hash) "r6 = r0; r6 += r10; " OUT, LOOKS_UP(hash))

ACCEPTED
PROGRAM(difference_of_pointers, "perf_event", ELEMENT(hash) "r6 = r0; r6 -= r0; r0 = r6; " OUT,
        LOOKS_UP(hash))

REJECTED("R1 pointer arithmetic on map_ptr prohibited")
PROGRAM(map_moved, "perf_event", "r1 = %[hash] ll; r1 += 8; r0 = 0; exit;", MAP(hash))

REJECTED("R1 is bpf_htab invalid negative access: off=-8")
PROGRAM(before_a_map, "perf_event", "r1 = %[hash] ll; r0 = *(u64*)(r1 - 8); exit;", MAP(hash))

REJECTED("only read from bpf_htab is supported")
PROGRAM(map_written, "perf_event", "r1 = %[hash] ll; r2 = 0; *(u64*)(r1 + 0) = r2; r0 = 0; exit;",
        MAP(hash))

// ---- Keys and values as arguments ---------------------------------------------------------------

REJECTED("R1 type=scalar expected=map_ptr")
PROGRAM(number_as_map, "perf_event",
        "r1 = 0; r2 = r10; r2 += -8; *(u64*)(r10 - 8) = r1; call %[map_lookup_elem]; exit;",
        HELPER(map_lookup_elem))

REJECTED("R1 type=map_value expected=map_ptr")
PROGRAM(value_as_map, "perf_event",
        ELEMENT(hash) "r1 = r0; r2 = r10; r2 += -4; call %[map_lookup_elem]; " OUT, LOOKS_UP(hash))

REJECTED("R2 type=scalar expected=fp")
PROGRAM(number_as_key, "perf_event", "r1 = %[hash] ll; r2 = 0; call %[map_lookup_elem]; exit;",
        LOOKS_UP(hash))

REJECTED("R2 type=ctx expected=fp")
PROGRAM(context_as_key, "perf_event", "r2 = r1; r1 = %[hash] ll; call %[map_lookup_elem]; exit;",
        LOOKS_UP(hash))

ACCEPTED
PROGRAM(value_as_key, "perf_event",
        ELEMENT(array) "r2 = r0; r1 = %[hash] ll; call %[map_lookup_elem]; " OUT,
        HELPER(map_lookup_elem), MAP(array), MAP(hash))

REJECTED("invalid access to map value, value_size=48 off=46 size=4")
PROGRAM(end_of_a_value_as_key, "perf_event",
        ELEMENT(array) "r2 = r0; r2 += 46; r1 = %[hash] ll; call %[map_lookup_elem]; " OUT,
        HELPER(map_lookup_elem), MAP(array), MAP(hash))

REJECTED("R3 type=scalar expected=fp")
PROGRAM(null_as_value, "perf_event",
        "r1 = 0; *(u32*)(r10 - 4) = r1; r2 = r10; r2 += -4; r3 = 0; r4 = 0; r1 = %[hash] ll; "
        "call %[map_update_elem]; exit;",
        HELPER(map_update_elem), MAP(hash))

REJECTED("invalid read from stack R3 off=-40 size=48")
PROGRAM(short_value, "perf_event",
        "r1 = 0; *(u32*)(r10 - 4) = r1; r2 = r10; r2 += -4; r3 = r10; r3 += -40; r4 = 0; "
        "r1 = %[hash] ll; call %[map_update_elem]; exit;",
        HELPER(map_update_elem), MAP(hash))

ACCEPTED
PROGRAM(value_into_another_map, "perf_event",
        ELEMENT(hash) "r3 = r0; r2 = r10; r2 += -4; r4 = 0; r1 = %[other] ll; "
                      "call %[map_update_elem]; " OUT,
        LOOKS_UP(hash), HELPER(map_update_elem), MAP(other))

REJECTED("R4 !read_ok")
PROGRAM(update_without_flags, "perf_event",
        ELEMENT(hash) "r3 = r0; r2 = r10; r2 += -4; r1 = %[other] ll; "
                      "call %[map_update_elem]; " OUT,
        LOOKS_UP(hash), HELPER(map_update_elem), MAP(other))

// ---- Kinds and helpers --------------------------------------------------------------------------

REJECTED("invalid zero-sized read")
PROGRAM(lookup_in_a_queue, "perf_event", LOOKUP(queue) "r0 = 0; exit;", LOOKS_UP(queue))

REJECTED("cannot pass map_type 2 into func bpf_map_push_elem#87")
PROGRAM(push_to_an_array, "perf_event",
        "r2 = r10; r2 += -48; r3 = 0; r1 = %[array] ll; call %[map_push_elem]; exit;",
        HELPER(map_push_elem), MAP(array))

ACCEPTED
PROGRAM(push_and_pop, "perf_event",
        "r2 = 0; *(u64*)(r10 - 8) = r2; r2 = r10; r2 += -8; r3 = 0; r1 = %[queue] ll; "
        "call %[map_push_elem]; r2 = r10; r2 += -8; r1 = %[queue] ll; call %[map_pop_elem]; exit;",
        HELPER(map_push_elem), HELPER(map_pop_elem), MAP(queue))

REJECTED("invalid zero-sized read")
PROGRAM(lookup_in_a_ring_buffer, "perf_event", LOOKUP(ring) "r0 = 0; exit;", LOOKS_UP(ring))

REJECTED("cannot pass map_type 3 into func bpf_map_lookup_elem#1")
PROGRAM(lookup_of_a_program, "perf_event", LOOKUP(programs) "r0 = 0; exit;", LOOKS_UP(programs))

ACCEPTED
PROGRAM(delete_from_an_array, "perf_event",
        "r1 = 0; *(u32*)(r10 - 4) = r1; r2 = r10; r2 += -4; r1 = %[array] ll; "
        "call %[map_delete_elem]; exit;",
        HELPER(map_delete_elem), MAP(array))

ACCEPTED
PROGRAM(counter_of_this_processor, "perf_event",
        ELEMENT(counters) "r1 = *(u64*)(r0 + 0); r1 += 1; *(u64*)(r0 + 0) = r1; " OUT,
        LOOKS_UP(counters))

ACCEPTED
PROGRAM(counter_of_another_processor, "perf_event",
        "r1 = 0; *(u32*)(r10 - 4) = r1; r2 = r10; r2 += -4; r3 = 0; r1 = %[counters] ll; "
        "call %[map_lookup_percpu_elem]; if r0 == 0 goto out_%=; r0 = *(u64*)(r0 + 0); " OUT,
        HELPER(map_lookup_percpu_elem), MAP(counters))

REJECTED("cannot pass map_type 2 into func bpf_map_lookup_percpu_elem#195")
PROGRAM(processor_of_an_array, "perf_event",
        "r1 = 0; *(u32*)(r10 - 4) = r1; r2 = r10; r2 += -4; r3 = 0; r1 = %[array] ll; "
        "call %[map_lookup_percpu_elem]; r0 = 0; exit;",
        HELPER(map_lookup_percpu_elem), MAP(array))

// ---- Maps of maps -------------------------------------------------------------------------------

#define INNER "r7 = r1; " ELEMENT(outer) "r6 = r0; "
#define IN_INNER "r2 = r10; r2 += -4; r1 = r6; call %[map_lookup_elem]; "

ACCEPTED
PROGRAM(map_of_maps, "perf_event",
        INNER IN_INNER "if r0 == 0 goto out_%=; r0 = *(u64*)(r0 + 0); " OUT, LOOKS_UP(outer))

REJECTED("R1 type=map_value_or_null expected=map_ptr")
PROGRAM(inner_map_not_checked, "perf_event", LOOKUP(outer) "r6 = r0; " IN_INNER "r0 = 0; exit;",
        LOOKS_UP(outer))

REJECTED("R0 invalid mem access 'map_value_or_null'")
PROGRAM(value_of_an_inner_map_not_checked, "perf_event",
        INNER "r1 = *(u32*)(r7 + 168); *(u32*)(r10 - 4) = r1; " IN_INNER
              "r0 = *(u64*)(r0 + 0); " OUT,
        LOOKS_UP(outer))

REJECTED("invalid access to map value, value_size=8 off=8 size=8")
PROGRAM(behind_the_value_of_an_inner_map, "perf_event",
        INNER IN_INNER "if r0 == 0 goto out_%=; r0 = *(u64*)(r0 + 8); " OUT, LOOKS_UP(outer))

REJECTED("R6 pointer arithmetic on map_ptr prohibited")
PROGRAM(inner_map_moved, "perf_event", INNER "r6 += 8; " OUT, LOOKS_UP(outer))

REJECTED("cannot pass map_type 12 into func bpf_map_update_elem#2")
PROGRAM(inner_map_replaced, "perf_event",
        "r1 = 0; *(u32*)(r10 - 4) = r1; r2 = r10; r2 += -4; r3 = r2; r4 = 0; r1 = %[outer] ll; "
        "call %[map_update_elem]; exit;",
        HELPER(map_update_elem), MAP(outer))

// ---- Data, and maps for one direction -----------------------------------------------------------

ACCEPTED
PROGRAM(constant_is_known, "perf_event",
        ELEMENT(array) "r6 = r0; r1 = %[constant_forty] ll; r1 = *(u64*)(r1 + 0); r6 += r1; "
                       "r0 = *(u64*)(r6 + 0); " OUT,
        LOOKS_UP(array), MAP(constant_forty))

REJECTED("invalid access to map value, value_size=48 off=100 size=8")
PROGRAM(constant_is_known_to_be_wrong, "perf_event",
        ELEMENT(array) "r6 = r0; r1 = %[constant_hundred] ll; r1 = *(u64*)(r1 + 0); r6 += r1; "
                       "r0 = *(u64*)(r6 + 0); " OUT,
        LOOKS_UP(array), MAP(constant_hundred))

REJECTED("math between map_value pointer and register with unbounded min value is not allowed")
PROGRAM(variable_is_not_known, "perf_event",
        ELEMENT(array) "r6 = r0; r1 = %[variable] ll; r1 = *(u64*)(r1 + 0); r6 += r1; "
                       "r0 = *(u64*)(r6 + 0); " OUT,
        LOOKS_UP(array), MAP(variable))

ACCEPTED
PROGRAM(variable_written, "perf_event",
        "r1 = %[variable] ll; r2 = 1; *(u64*)(r1 + 0) = r2; r0 = 0; exit;", MAP(variable))

REJECTED("write into map forbidden, value_size=")
PROGRAM(constant_written, "perf_event",
        "r1 = %[constant_forty] ll; r2 = 1; *(u64*)(r1 + 0) = r2; r0 = 0; exit;",
        MAP(constant_forty))

ACCEPTED
PROGRAM(read_where_it_may, "perf_event", ELEMENT(for_reading) "r0 = *(u64*)(r0 + 0); " OUT,
        LOOKS_UP(for_reading))

REJECTED("write into map forbidden, value_size=8 off=0 size=8")
PROGRAM(write_where_it_may_not, "perf_event",
        ELEMENT(for_reading) "r1 = 0; *(u64*)(r0 + 0) = r1; " OUT, LOOKS_UP(for_reading))

REJECTED("write into map forbidden")
PROGRAM(update_where_it_may_not, "perf_event",
        "r1 = 0; *(u32*)(r10 - 4) = r1; *(u64*)(r10 - 16) = r1; r2 = r10; r2 += -4; r3 = r10; "
        "r3 += -16; r4 = 0; r1 = %[for_reading] ll; call %[map_update_elem]; exit;",
        HELPER(map_update_elem), MAP(for_reading))

REJECTED("read from map forbidden, value_size=8 off=0 size=8")
PROGRAM(read_where_it_may_not, "perf_event", ELEMENT(for_writing) "r0 = *(u64*)(r0 + 0); " OUT,
        LOOKS_UP(for_writing))

ACCEPTED
PROGRAM(write_where_it_may, "perf_event", ELEMENT(for_writing) "r1 = 0; *(u64*)(r0 + 0) = r1; " OUT,
        LOOKS_UP(for_writing))
