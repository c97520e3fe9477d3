// SPDX-License-Identifier: Apache-2.0
//
// Ranges: what a number must be before it is added to a pointer to 48 bytes. R6 is that pointer and
// R1 a number of which nothing is known.
#include "verifier.bpf.h"

ARRAY_OF(array, 1, struct words);

#define NUMBER ELEMENT(array) "r6 = r0; r1 = *(u64*)(r6 + 0); "
#define READ "r6 += r1; r0 = *(u64*)(r6 + 0); " OUT
#define BOUNDS(name, code) PROGRAM(name, "perf_event", NUMBER code READ, LOOKS_UP(array))

REJECTED("math between map_value pointer and register with unbounded min value is not allowed")
BOUNDS(anything, "")

REJECTED("R6 unbounded memory access, make sure to bounds check any such access")
BOUNDS(any_half, "r1 = *(u32*)(r6 + 0); ")

REJECTED("R6 max value is outside of the allowed memory range")
BOUNDS(any_byte, "r1 = *(u8*)(r6 + 0); ")

ACCEPTED
BOUNDS(at_most_forty, "if r1 > 40 goto out_%=; ")

REJECTED("invalid access to map value, value_size=48 off=41 size=8")
BOUNDS(at_most_forty_one, "if r1 > 41 goto out_%=; ")

ACCEPTED
BOUNDS(less_than_forty_one, "if r1 >= 41 goto out_%=; ")

ACCEPTED
BOUNDS(constant_on_the_left, "r2 = 40; if r2 < r1 goto out_%=; ")

REJECTED("math between map_value pointer and register with unbounded min value is not allowed")
BOUNDS(signed_above_only, "if r1 s> 40 goto out_%=; ")

ACCEPTED
BOUNDS(signed_above_and_below, "if r1 s> 40 goto out_%=; if r1 s< 0 goto out_%=; ")

REJECTED("R6 min value is negative, either use unsigned index or do a if (index >=0) check.")
BOUNDS(below_minus_one, "if r1 s> 40 goto out_%=; if r1 s< -1 goto out_%=; ")

REJECTED("math between map_value pointer and register with unbounded min value is not allowed")
BOUNDS(wrong_branch, "if r1 > 40 goto in_%=; goto out_%=; in_%=: ")

ACCEPTED
BOUNDS(masked, "r1 &= 31; ")

REJECTED("R6 max value is outside of the allowed memory range")
BOUNDS(masked_with_too_much, "r1 &= 63; ")

REJECTED("math between map_value pointer and register with unbounded min value is not allowed")
BOUNDS(masked_with_a_negative_number, "r1 &= -8; ")

ACCEPTED
BOUNDS(shifted_right, "r1 >>= 59; ")

REJECTED("R6 min value is negative, either use unsigned index or do a if (index >=0) check.")
BOUNDS(shifted_right_with_its_sign, "r1 s>>= 59; ")

ACCEPTED
BOUNDS(multiplied, "r1 &= 3; r1 *= 8; ")

REJECTED("R6 max value is outside of the allowed memory range")
BOUNDS(multiplied_too_far, "r1 &= 3; r1 *= 16; ")

ACCEPTED
BOUNDS(shifted_left, "r1 &= 3; r1 <<= 3; ")

REJECTED("R6 max value is outside of the allowed memory range")
BOUNDS(shifted_left_too_far, "r1 &= 3; r1 <<= 4; ")

ACCEPTED
BOUNDS(bits_set, "r1 &= 15; r1 |= 16; ")

ACCEPTED
BOUNDS(bits_flipped, "r1 &= 31; r1 ^= 3; ")

ACCEPTED
BOUNDS(sum_of_two, "r2 = r1; r2 >>= 60; r1 &= 15; r1 += r2; ")

REJECTED("R6 min value is negative, either use unsigned index or do a if (index >=0) check.")
BOUNDS(difference_of_two, "r2 = r1; r2 >>= 60; r1 &= 15; r1 -= r2; ")

ACCEPTED
BOUNDS(difference_from_a_constant, "r1 &= 31; r2 = 31; r2 -= r1; r1 = r2; ")

REJECTED("math between map_value pointer and register with unbounded min value is not allowed")
BOUNDS(negated, "r1 &= 31; r1 = -r1; r1 <<= 33; ")

ACCEPTED
BOUNDS(bounded_as_a_half, "w1 = w1; if w1 > 40 goto out_%=; ")

REJECTED("math between map_value pointer and register with unbounded min value is not allowed")
BOUNDS(upper_half_not_bounded, "if w1 > 40 goto out_%=; ")

ACCEPTED
BOUNDS(half_operation_clears_the_rest, "w1 &= 31; ")

ACCEPTED
BOUNDS(copy_is_bounded_by_its_origin, "r2 = r1; if r2 > 40 goto out_%=; ")

ACCEPTED
BOUNDS(origin_is_bounded_by_its_sum, "r1 = *(u32*)(r6 + 0); r2 = r1; r2 += 8; "
                                     "if r2 > 48 goto out_%=; ")

REJECTED("math between map_value pointer and register with unbounded min value is not allowed")
BOUNDS(changed_copy_is_no_copy, "r2 = r1; r2 ^= 1; if r2 > 40 goto out_%=; ")

ACCEPTED
BOUNDS(bounded_by_another, "r2 = r1; r2 >>= 59; r1 = *(u64*)(r6 + 8); if r1 > r2 goto out_%=; ")

ACCEPTED
BOUNDS(equal_to_a_constant, "if r1 != 16 goto out_%=; ")

ACCEPTED
BOUNDS(bits_tested, "if r1 & -32 goto out_%=; ")

REJECTED("math between map_value pointer and register with unbounded min value is not allowed")
BOUNDS(not_equal_says_little, "if r1 == 0 goto out_%=; ")

ACCEPTED
BOUNDS(one_of_two_constants, "r2 = 8; if r1 == 0 goto set_%=; r2 = 40; set_%=: r1 = r2; ")

REJECTED("invalid access to map value, value_size=48 off=41 size=8")
BOUNDS(one_of_two_constants_is_bad, "r2 = 8; if r1 == 0 goto set_%=; r2 = 41; set_%=: r1 = r2; ")

ACCEPTED
BOUNDS(kept_on_the_stack, "if r1 > 40 goto out_%=; *(u64*)(r10 - 16) = r1; r1 = 0; "
                          "r1 = *(u64*)(r10 - 16); ")

ACCEPTED
BOUNDS(divided, "r1 = *(u8*)(r6 + 0); r1 >>= 3; ")

REJECTED("R6 unbounded memory access, make sure to bounds check any such access")
KERNEL_SAYS("math between map_value pointer and register with unbounded min value is not allowed",
            "6.18 knows nothing of a quotient")
BOUNDS(divided_by_a_register, "r2 = 100; r1 /= r2; ")

// What 6.18 does not know. It also walks, and may refuse, what only a number it does not know lets
// it take for possible.
#define NOT_KNOWN(because)                                                                         \
    ACCEPTED KERNEL_REJECTS("math between map_value pointer and register with unbounded min "      \
                            "value is not allowed",                                                \
                            because)

NOT_KNOWN("6.18 knows nothing of a quotient")
BOUNDS(constant_divided, "r1 = 42; r1 /= 4; ")

NOT_KNOWN("6.18 knows nothing of a remainder")
BOUNDS(remainder_of_a_constant, "r1 %%= 41; ")

ACCEPTED
KERNEL_REJECTS("R1 !read_ok", "6.18 knows nothing of a remainder, and so takes the branch")
PROGRAM(not_read_where_a_remainder_is_what_it_is, "perf_event",
        "r2 = 42; r2 %%= 40; if r2 == 2 goto out_%=; call %[get_smp_processor_id]; r0 = r1; " OUT,
        HELPER(get_smp_processor_id))

NOT_KNOWN("6.18 knows nothing of what is shifted by an amount that is not one number")
BOUNDS(shifted_by_a_number, "r1 &= 1; r2 = 16; r2 <<= r1; r1 = r2; ")

NOT_KNOWN("6.18 knows nothing of what is shifted by more than its width, of which the processor "
          "takes what is left")
BOUNDS(shifted_by_more_than_its_width, "r1 = 1; r2 = 67; r1 <<= r2; ")

NOT_KNOWN("6.18 takes a number for greater than itself")
BOUNDS(greater_than_itself, "if r1 > r1 goto in_%=; goto out_%=; in_%=: ")

ACCEPTED
KERNEL_REJECTS("R6 max value is outside of the allowed memory range",
               "6.18 forgets of a copied sum what it is the sum of")
BOUNDS(origin_is_bounded_by_a_copy_of_its_sum,
       "r1 = *(u8*)(r6 + 0); r2 = r1; r2 += 8; r3 = r2; if r3 > 48 goto out_%=; ")

ACCEPTED
KERNEL_REJECTS("R6 min value is negative, either use unsigned index or do a if (index >=0) check.",
               "6.18 does not extend the sign of what it knows of a half")
BOUNDS(half_extended, "r1 &= 31; w1 = -w1; r1 = (s16)r1; r1 += 31; ")

ACCEPTED
KERNEL_REJECTS("R6 max value is outside of the allowed memory range",
               "6.18 does not put a number's bounds with and without sign together")
BOUNDS(at_most_zero_with_sign_and_at_least_without,
       "r1 = *(u32*)(r6 + 0); r1 = -r1; if r1 > 63 goto out_%=; ")

ACCEPTED
KERNEL_REJECTS("R6 max value is outside of the allowed memory range",
               "6.18 takes a branch though its bits contradict the bounds")
BOUNDS(great_without_high_bits, "if r1 <= 64 goto out_%=; if r1 & -64 goto out_%=; ")
