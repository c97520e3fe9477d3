// SPDX-License-Identifier: Apache-2.0
//
// The stack: its limits, what is kept in it, and who may point into it.
#include "verifier.bpf.h"

ARRAY_OF(array, 1, struct words);
HASH_OF(hash, 8, struct words);

ACCEPTED
PROGRAM(whole_frame, "perf_event",
        "r1 = 0; *(u64*)(r10 - 8) = r1; *(u64*)(r10 - 512) = r1; "
        "r0 = 0; exit;")

REJECTED("invalid write to stack R10 off=-520 size=8")
PROGRAM(below_the_frame, "perf_event", "r1 = 0; *(u64*)(r10 - 520) = r1; r0 = 0; exit;")

REJECTED("invalid write to stack R10 off=0 size=8")
PROGRAM(above_the_frame, "perf_event", "r1 = 0; *(u64*)(r10 + 0) = r1; r0 = 0; exit;")

REJECTED("misaligned stack access off 0+0+-4 size 8")
PROGRAM(across_the_upper_end, "perf_event", "r1 = 0; *(u64*)(r10 - 4) = r1; r0 = 0; exit;")

REJECTED("invalid read from stack R10 off=8 size=8")
PROGRAM(read_above_the_frame, "perf_event", "r0 = *(u64*)(r10 + 8); exit;")

REJECTED("misaligned stack access off 0+0+-12 size 8")
PROGRAM(misaligned, "perf_event", "r1 = 0; *(u64*)(r10 - 12) = r1; r0 = 0; exit;")

REJECTED("misaligned stack access off 0+0+-14 size 4")
PROGRAM(misaligned_read, "perf_event",
        "r1 = 0; *(u64*)(r10 - 16) = r1; r0 = *(u32*)(r10 - 14); exit;")

ACCEPTED
PROGRAM(never_written, "perf_event", "r0 = *(u64*)(r10 - 8); exit;")

ACCEPTED
PROGRAM(parts_of_a_word, "perf_event",
        "r1 = 1; *(u8*)(r10 - 8) = r1; *(u16*)(r10 - 6) = r1; *(u32*)(r10 - 4) = r1; "
        "r0 = *(u32*)(r10 - 4); exit;")

ACCEPTED
PROGRAM(
    pointer_kept, "perf_event",
    ELEMENT(array) "*(u64*)(r10 - 16) = r0; r1 = *(u64*)(r10 - 16); r0 = *(u64*)(r1 + 40); " OUT,
    LOOKS_UP(array))

REJECTED("invalid access to map value, value_size=48 off=48 size=8")
PROGRAM(
    kept_pointer_keeps_its_bounds, "perf_event",
    ELEMENT(array) "*(u64*)(r10 - 16) = r0; r1 = *(u64*)(r10 - 16); r0 = *(u64*)(r1 + 48); " OUT,
    LOOKS_UP(array))

ACCEPTED
PROGRAM(context_kept, "perf_event",
        "*(u64*)(r10 - 8) = r1; r2 = *(u64*)(r10 - 8); r0 = *(u64*)(r2 + 168); exit;")

REJECTED("invalid mem access 'scalar'")
PROGRAM(kept_pointer_overwritten_in_part, "perf_event",
        "*(u64*)(r10 - 8) = r1; r3 = 0; *(u8*)(r10 - 8) = r3; r2 = *(u64*)(r10 - 8); "
        "r0 = *(u64*)(r2 + 168); exit;")

REJECTED("invalid size of register fill")
PROGRAM(half_of_a_kept_pointer, "perf_event", "*(u64*)(r10 - 8) = r1; r0 = *(u32*)(r10 - 8); exit;")

REJECTED("invalid size of register spill")
PROGRAM(half_of_a_pointer_kept, "perf_event", "*(u32*)(r10 - 8) = r1; r0 = 0; exit;")

REJECTED("invalid mem access 'map_value_or_null'")
PROGRAM(kept_pointer_not_checked, "perf_event",
        LOOKUP(hash) "*(u64*)(r10 - 16) = r0; r1 = *(u64*)(r10 - 16); r0 = *(u64*)(r1 + 0); "
                     "exit;",
        LOOKS_UP(hash))

ACCEPTED
PROGRAM(kept_pointer_checked_by_its_copy, "perf_event", ELEMENT(array) "r1 = 0; " OUT,
        LOOKS_UP(array))

ACCEPTED
PROGRAM(kept_pointer_checked_later, "perf_event",
        LOOKUP(array) "*(u64*)(r10 - 16) = r0; if r0 == 0 goto out_%=; r1 = *(u64*)(r10 - 16); "
                      "r0 = *(u64*)(r1 + 0); " OUT,
        LOOKS_UP(array))

ACCEPTED
PROGRAM(index_within_the_frame, "perf_event",
        "r3 = 0; *(u64*)(r10 - 16) = r3; *(u64*)(r10 - 8) = r3; r2 = *(u64*)(r1 + 168); r2 &= 8; "
        "r2 += r10; r0 = *(u64*)(r2 - 16); exit;")

ACCEPTED
PROGRAM(write_at_an_index, "perf_event",
        "r3 = 0; r2 = *(u64*)(r1 + 168); r2 &= 8; r2 += r10; *(u64*)(r2 - 16) = r3; r0 = 0; exit;")

REJECTED("invalid variable-offset write to stack R2")
PROGRAM(write_at_an_index_too_far, "perf_event",
        "r3 = 0; r2 = *(u64*)(r1 + 168); r2 &= 16; r2 += r10; *(u64*)(r2 - 16) = r3; r0 = 0; exit;")

REJECTED("invalid unbounded variable-offset write to stack R2")
PROGRAM(write_anywhere, "perf_event",
        "r3 = 0; r2 = *(u32*)(r1 + 168); r2 += r10; *(u8*)(r2 - 16) = r3; r0 = 0; exit;")

REJECTED("invalid mem access 'scalar'")
PROGRAM(write_at_an_index_loses_pointers, "perf_event",
        "*(u64*)(r10 - 8) = r1; *(u64*)(r10 - 16) = r1; r3 = 0; r2 = *(u64*)(r1 + 168); r2 &= 8; "
        "r2 += r10; *(u64*)(r2 - 16) = r3; r1 = *(u64*)(r10 - 8); r0 = *(u64*)(r1 + 168); exit;")

REJECTED("invalid read from stack R1 off=-4 size=8")
PROGRAM(helper_reads_above_the_frame, "perf_event",
        "r1 = r10; r1 += -4; r2 = 8; r3 = 0; r0 = 0; *(u64*)(r10 - 8) = r0; "
        "call %[trace_printk]; exit;",
        HELPER(trace_printk))

REJECTED("invalid write to stack R1 off=-8 size=16")
PROGRAM(helper_writes_above_the_frame, "perf_event",
        "r1 = r10; r1 += -8; r2 = 16; call %[get_current_comm]; exit;", HELPER(get_current_comm))

ACCEPTED
PROGRAM(helper_fills_a_buffer, "perf_event",
        "r1 = r10; r1 += -16; r2 = 16; call %[get_current_comm]; r0 = *(u64*)(r10 - 8); exit;",
        HELPER(get_current_comm))

REJECTED("invalid mem access 'scalar'")
PROGRAM(helper_overwrites_a_kept_pointer, "perf_event",
        "*(u64*)(r10 - 8) = r1; r1 = r10; r1 += -16; r2 = 16; call %[get_current_comm]; "
        "r1 = *(u64*)(r10 - 8); r0 = *(u64*)(r1 + 168); exit;",
        HELPER(get_current_comm))

FUNCTION(static, takes_three_hundred, "r1 = 0; *(u64*)(r10 - 304) = r1; r0 = 0; exit;")

REJECTED("combined stack size of 2 calls is")
PROGRAM(two_frames_too_large, "syscall",
        "r1 = 0; *(u64*)(r10 - 304) = r1; call takes_three_hundred; exit;")

ACCEPTED
PROGRAM(two_frames, "perf_event",
        "r1 = 0; *(u64*)(r10 - 192) = r1; call takes_three_hundred; exit;")

FUNCTION(static, writes_where_it_is_told, "r2 = 7; *(u64*)(r1 + 0) = r2; r0 = 0; exit;")

ACCEPTED
PROGRAM(frame_of_the_caller, "perf_event",
        "r1 = r10; r1 += -8; call writes_where_it_is_told; r0 = *(u64*)(r10 - 8); exit;")

FUNCTION(static, returns_its_frame, "r0 = r10; exit;")

REJECTED("cannot return stack pointer to the caller")
PROGRAM(frame_of_the_callee, "perf_event", "call returns_its_frame; r0 = 0; exit;")

FUNCTION(static, leaves_its_frame, "*(u64*)(r1 + 0) = r10; r0 = 0; exit;")

REJECTED("cannot spill pointers to stack into stack frame of the caller")
PROGRAM(frame_of_the_callee_kept, "perf_event",
        "r1 = r10; r1 += -8; call leaves_its_frame; r0 = 0; exit;")
