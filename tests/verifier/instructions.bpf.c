// SPDX-License-Identifier: Apache-2.0
//
// The instruction set up to its fourth version, and what is known behind each: R6 points to 48
// bytes, R1 is a number of which nothing is known.
#include "verifier.bpf.h"

ARRAY_OF(array, 1, struct words);

#define NUMBER ELEMENT(array) "r6 = r0; r1 = *(u64*)(r6 + 0); "
#define READ "r6 += r1; r0 = *(u64*)(r6 + 0); " OUT
#define BOUNDS(name, code) PROGRAM(name, "perf_event", NUMBER code READ, LOOKS_UP(array))
#define JUST(name, code) PROGRAM(name, "perf_event", code "r0 = 0; exit;")

// ---- Sign extension -----------------------------------------------------------------------------

ACCEPTED
JUST(moves_with_sign,
     "r1 = 255; r2 = (s8)r1; r2 = (s16)r1; r2 = (s32)r1; w2 = (s8)w1; w2 = (s16)w1; ")

ACCEPTED
BOUNDS(byte_with_sign_bounded, "r1 = (s8)r1; if r1 s< 0 goto out_%=; if r1 s> 40 goto out_%=; ")

REJECTED("R6 min value is negative, either use unsigned index or do a if (index >=0) check.")
BOUNDS(byte_with_sign, "r1 = (s8)r1; if r1 s> 40 goto out_%=; ")

ACCEPTED
BOUNDS(sign_of_a_constant, "r1 = 264; r1 = (s8)r1; ")

REJECTED("R6 min value is outside of the allowed memory range")
BOUNDS(negative_sign_of_a_constant, "r1 = 255; r1 = (s8)r1; ")

ACCEPTED
BOUNDS(load_with_sign_bounded,
       "r1 = *(s8*)(r6 + 0); if r1 s< 0 goto out_%=; if r1 s> 40 goto out_%=; ")

REJECTED("R6 min value is negative, either use unsigned index or do a if (index >=0) check.")
BOUNDS(load_with_sign, "r1 = *(s16*)(r6 + 0); if r1 s> 40 goto out_%=; ")

ACCEPTED
JUST(loads_with_sign, "r1 = -1; *(u64*)(r10 - 8) = r1; r2 = *(s8*)(r10 - 8); "
                      "r2 = *(s16*)(r10 - 8); r2 = *(s32*)(r10 - 8); ")

ACCEPTED
JUST(load_with_sign_of_the_event, "r0 = *(s32*)(r1 + 168); ")

REJECTED("BPF_MOV uses reserved fields")
JUST(move_with_a_sign_of_seven_bits, "r1 = 0; .8byte 0x00000000000712bf; ")

ACCEPTED
JUST(pointer_moved_with_sign, "r2 = (s32)r1; ")

// ---- Division -----------------------------------------------------------------------------------

ACCEPTED
JUST(signed_division, "r1 = -8; r2 = 3; r1 s/= r2; r1 s%%= r2; w1 s/= w2; w1 s%%= w2; r1 s/= 3; "
                      "r1 s%%= 3; ")

ACCEPTED
JUST(division_by_a_register_that_is_zero, "r1 = 8; r2 = 0; r1 /= r2; r1 %%= r2; ")

REJECTED("div by zero")
JUST(signed_division_by_constant_zero, "r1 = 8; .8byte 0x0000000000010137; ")

REJECTED("BPF_ALU uses reserved fields")
JUST(division_of_an_unknown_kind, "r1 = 8; .8byte 0x0000000100020137; ")

REJECTED("math between map_value pointer and register with unbounded min value is not allowed")
BOUNDS(signed_quotient_is_any, "r1 s/= 3; ")

// ---- Bytes turned -------------------------------------------------------------------------------

ACCEPTED
JUST(turned, "r1 = 1; r1 = be16 r1; r1 = be32 r1; r1 = be64 r1; r1 = le16 r1; r1 = bswap16 r1; "
             "r1 = bswap32 r1; r1 = bswap64 r1; ")

ACCEPTED
BOUNDS(turned_is_bounded_anew, "r1 = be64 r1; r1 &= 31; ")

REJECTED("R6 unbounded memory access, make sure to bounds check any such access")
BOUNDS(turned_is_any, "r1 &= 31; r1 = be64 r1; ")

ACCEPTED
JUST(pointer_turned, "r2 = r1; r2 = be64 r2; ")

// ---- Jumps --------------------------------------------------------------------------------------

ACCEPTED
JUST(long_jump, "gotol end_%=; end_%=: ")

REJECTED("jump out of range from insn 0 to")
JUST(long_jump_too_far, ".8byte 0x0001000000000006; ")

REJECTED("BPF_JA uses reserved fields")
JUST(long_jump_with_a_short_offset, ".8byte 0x0000000000010006; ")

ACCEPTED
BOUNDS(jump_on_halves, "w1 = w1; if w1 s> 40 goto out_%=; if w1 s< 0 goto out_%=; ")

ACCEPTED
BOUNDS(jumps_of_all_kinds,
       "if r1 < 1 goto out_%=; if r1 <= 2 goto out_%=; if r1 s<= 3 goto out_%=; "
       "if r1 s>= 41 goto out_%=; if r1 >= 41 goto out_%=; ")

ACCEPTED
JUST(pointer_compared_with_a_number, "if r1 > 5 goto end_%=; end_%=: ")

// ---- Halves, immediates -------------------------------------------------------------------------

ACCEPTED
JUST(stored_immediates, ".8byte 0x00000007fff80a7a; r0 = *(u64*)(r10 - 8); ")

ACCEPTED
BOUNDS(half_move_clears_the_rest, "r1 = -1; w1 = w1; r1 >>= 27; ")

REJECTED("math between map_value pointer and 4294967288 is not allowed")
BOUNDS(negative_immediate_extends, "w1 = -8; ")

ACCEPTED
BOUNDS(shift_by_a_register, "r2 = 59; r1 >>= r2; ")

REJECTED("math between map_value pointer and register with unbounded min value is not allowed")
BOUNDS(shift_by_too_much_is_any, "r2 = *(u64*)(r6 + 8); r1 = 1; r1 <<= r2; ")

ACCEPTED
BOUNDS(half_shift, "w1 >>= 27; ")

ACCEPTED
BOUNDS(half_arithmetic, "w1 &= 7; w1 += 9; w1 -= 1; w1 *= 2; ")

ACCEPTED
BOUNDS(negated_constant, "r1 = -8; r1 = -r1; ")

ACCEPTED
JUST(wide_constant, "r1 = 0x1234567890abcdef ll; ")
