// SPDX-License-Identifier: Apache-2.0
//
// Arguments of helpers: memory and its size, numbers, formats, licences, programs that may sleep.
#include "verifier.bpf.h"

ARRAY_OF(array, 1, struct words);
HASH_OF(hash, 8, struct words);

const char format_number[] = "%d\n";
const char format_unknown[] = "%q\n";
const char no_end[4] = {'a', 'b', 'c', 'd'};
char changeable[8] = "abc";

REJECTED("R1 !read_ok")
PROGRAM(argument_not_set, "perf_event",
        "r0 = r1; call %[ktime_get_ns]; r2 = 16; call %[get_current_comm]; exit;",
        HELPER(ktime_get_ns), HELPER(get_current_comm))

REJECTED("R2 !read_ok")
PROGRAM(size_not_set, "perf_event", "r1 = r10; r1 += -16; call %[get_current_comm]; exit;",
        HELPER(get_current_comm))

// ---- Memory and its size ------------------------------------------------------------------------

REJECTED("R2 invalid zero-sized read: u64=[0,0]")
PROGRAM(no_bytes, "perf_event", "r1 = r10; r1 += -16; r2 = 0; call %[get_current_comm]; exit;",
        HELPER(get_current_comm))

REJECTED("R2 min value is negative, either use unsigned or 'var &= const'")
PROGRAM(negative_size, "perf_event",
        "r1 = r10; r1 += -16; r2 = -1; call %[get_current_comm]; exit;", HELPER(get_current_comm))

REJECTED("R2 invalid zero-sized read: u64=[0,4294967295]")
PROGRAM(unbounded_size, "perf_event",
        "r2 = *(u32*)(r1 + 168); r1 = r10; r1 += -16; call %[get_current_comm]; exit;",
        HELPER(get_current_comm))

REJECTED("R2 min value is negative, either use unsigned or 'var &= const'")
PROGRAM(size_bounded_above_only, "perf_event",
        "r2 = *(u64*)(r1 + 168); if r2 s> 16 goto out_%=; r1 = r10; r1 += -16; "
        "call %[get_current_comm]; " OUT,
        HELPER(get_current_comm))

ACCEPTED
PROGRAM(size_bounded, "perf_event",
        "r2 = *(u64*)(r1 + 168); if r2 > 16 goto out_%=; if r2 == 0 goto out_%=; r1 = r10; "
        "r1 += -16; call %[get_current_comm]; " OUT,
        HELPER(get_current_comm))

REJECTED("R2 invalid zero-sized read: u64=[0,16]")
PROGRAM(size_may_be_zero, "perf_event",
        "r2 = *(u64*)(r1 + 168); if r2 > 16 goto out_%=; r1 = r10; r1 += -16; "
        "call %[get_current_comm]; " OUT,
        HELPER(get_current_comm))

REJECTED("R2 unbounded memory access, use 'var &= const' or 'if (var < const)'")
PROGRAM(unbounded_size_that_may_be_zero, "perf_event",
        "r2 = *(u32*)(r1 + 168); r3 = *(u64*)(r1 + 176); r1 = r10; r1 += -16; "
        "call %[probe_read_user]; r0 = 0; exit;",
        HELPER(probe_read_user))

ACCEPTED
PROGRAM(size_may_be_zero_where_it_may, "perf_event",
        "r2 = *(u64*)(r1 + 168); r3 = *(u64*)(r1 + 176); if r2 > 16 goto out_%=; r1 = r10; "
        "r1 += -16; call %[probe_read_user]; " OUT,
        HELPER(probe_read_user))

REJECTED("invalid write to stack R1 off=-16 size=17")
PROGRAM(size_bounded_too_high, "perf_event",
        "r2 = *(u64*)(r1 + 168); r3 = *(u64*)(r1 + 176); if r2 > 17 goto out_%=; r1 = r10; "
        "r1 += -16; call %[probe_read_user]; " OUT,
        HELPER(probe_read_user))

REJECTED("R1 type=scalar expected=fp")
PROGRAM(null_with_size_zero, "perf_event",
        "r1 = 0; r2 = 0; r3 = 0; call %[probe_read_user]; r0 = 0; exit;", HELPER(probe_read_user))

REJECTED("R1 type=scalar expected=fp")
PROGRAM(null_with_a_size, "perf_event",
        "r1 = 0; r2 = 8; r3 = 0; call %[probe_read_user]; r0 = 0; exit;", HELPER(probe_read_user))

ACCEPTED
PROGRAM(value_as_memory, "perf_event",
        ELEMENT(array) "r1 = r0; r2 = 48; call %[get_current_comm]; " OUT, LOOKS_UP(array),
        HELPER(get_current_comm))

REJECTED("invalid access to map value, value_size=48 off=0 size=49")
PROGRAM(more_than_the_value, "perf_event",
        ELEMENT(array) "r1 = r0; r2 = 49; call %[get_current_comm]; " OUT, LOOKS_UP(array),
        HELPER(get_current_comm))

REJECTED("invalid access to map value, value_size=48 off=8 size=48")
PROGRAM(whole_size_in_the_middle, "perf_event",
        ELEMENT(array) "r1 = r0; r1 += 8; r2 = 48; call %[get_current_comm]; " OUT, LOOKS_UP(array),
        HELPER(get_current_comm))

REJECTED("R1 type=map_value_or_null expected=fp")
PROGRAM(unchecked_value_as_memory, "perf_event",
        LOOKUP(hash) "r1 = r0; r2 = 48; call %[get_current_comm]; r0 = 0; exit;", LOOKS_UP(hash),
        HELPER(get_current_comm))

REJECTED("write into map forbidden, value_size=")
PROGRAM(constant_as_memory_to_write, "perf_event",
        "r1 = %[format_number] ll; r2 = 4; call %[get_current_comm]; exit;",
        HELPER(get_current_comm), MAP(format_number))

ACCEPTED
PROGRAM(result_of_a_copy_is_bounded, "perf_event",
        ELEMENT(array) "r6 = r0; r1 = r6; r2 = 40; r3 = 0; call %[probe_read_kernel_str]; "
                       "if r0 s< 0 goto out_%=; r6 += r0; r0 = *(u64*)(r6 + 0); " OUT,
        LOOKS_UP(array), HELPER(probe_read_kernel_str))

REJECTED("R6 min value is negative, either use unsigned index or do a if (index >=0) check.")
PROGRAM(result_of_a_copy_may_be_an_error, "perf_event",
        ELEMENT(array) "r6 = r0; r1 = r6; r2 = 40; r3 = 0; call %[probe_read_kernel_str]; "
                       "r6 += r0; r0 = *(u64*)(r6 + 0); " OUT,
        LOOKS_UP(array), HELPER(probe_read_kernel_str))

// ---- Strings ------------------------------------------------------------------------------------

ACCEPTED
PROGRAM(constant_string, "perf_event",
        "r1 = 0; *(u64*)(r10 - 8) = r1; r1 = r10; r1 += -8; r2 = 8; r3 = %[format_number] ll; "
        "call %[strncmp]; r0 = 0; exit;",
        HELPER(strncmp), MAP(format_number))

REJECTED("string is not zero-terminated")
PROGRAM(string_without_an_end, "perf_event",
        "r1 = 0; *(u64*)(r10 - 8) = r1; r1 = r10; r1 += -8; r2 = 8; r3 = %[no_end] ll; "
        "call %[strncmp]; r0 = 0; exit;",
        HELPER(strncmp), MAP(no_end))

REJECTED("R3 does not point to a readonly map")
PROGRAM(string_that_may_change, "perf_event",
        "r1 = 0; *(u64*)(r10 - 8) = r1; r1 = r10; r1 += -8; r2 = 8; r3 = %[changeable] ll; "
        "call %[strncmp]; r0 = 0; exit;",
        HELPER(strncmp), MAP(changeable))

REJECTED("R3 type=fp expected=map_value")
PROGRAM(string_on_the_stack, "perf_event",
        "r1 = 0; *(u64*)(r10 - 8) = r1; r1 = r10; r1 += -8; r2 = 8; r3 = r1; "
        "call %[strncmp]; r0 = 0; exit;",
        HELPER(strncmp))

#define SNPRINTF(format)                                                                           \
    "r1 = 0; *(u64*)(r10 - 8) = r1; *(u64*)(r10 - 16) = r1; r1 = r10; r1 += -8; r2 = 8; "          \
    "r3 = %[" #format "] ll; r4 = r10; r4 += -16; r5 = 8; call %[snprintf]; r0 = 0; exit;"

ACCEPTED
PROGRAM(format_known, "perf_event", SNPRINTF(format_number), HELPER(snprintf), MAP(format_number))

REJECTED("Invalid format string")
PROGRAM(format_not_known, "perf_event", SNPRINTF(format_unknown), HELPER(snprintf),
        MAP(format_unknown))

// ---- Numbers that must be constants -------------------------------------------------------------

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} ring SEC(".maps");

REJECTED("R2 is not a known constant")
PROGRAM(size_of_a_record_not_constant, "perf_event",
        "r2 = *(u64*)(r1 + 168); r2 &= 63; r3 = 0; r1 = %[ring] ll; call %[ringbuf_reserve]; "
        "if r0 == 0 goto out_%=; r1 = r0; r2 = 0; call %[ringbuf_discard]; " OUT,
        HELPER(ringbuf_reserve), HELPER(ringbuf_discard), MAP(ring))

// ---- Which programs -----------------------------------------------------------------------------

ACCEPTED
PROGRAM(sleep_in_a_syscall, "syscall",
        "r1 = r10; r1 += -8; r2 = 8; r3 = 0; call %[copy_from_user]; r0 = 0; exit;",
        HELPER(copy_from_user))

REJECTED("helper call might sleep in a non-sleepable prog")
PROGRAM(sleep_in_an_event, "perf_event",
        "r1 = r10; r1 += -8; r2 = 8; r3 = 0; call %[copy_from_user]; r0 = 0; exit;",
        HELPER(copy_from_user))

ACCEPTED
PROGRAM(cookie_of_an_event, "perf_event", "call %[get_attach_cookie]; exit;",
        HELPER(get_attach_cookie))

REJECTED("R1 type=scalar expected=ctx")
PROGRAM(cookie_without_context, "perf_event", "r1 = 0; call %[get_attach_cookie]; exit;",
        HELPER(get_attach_cookie))
