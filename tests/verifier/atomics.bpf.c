// SPDX-License-Identifier: Apache-2.0
//
// Atomic instructions: on what, of what size, and what is known behind them.
#include "verifier.bpf.h"

ARRAY_OF(array, 1, struct words);

#define ON_VALUE(name, code)                                                                       \
    PROGRAM(name, "perf_event", ELEMENT(array) "r6 = r0; r1 = 1; " code OUT, LOOKS_UP(array))
#define ON_STACK(name, code)                                                                       \
    PROGRAM(name, "perf_event", "r1 = 1; *(u64*)(r10 - 8) = r1; " code "r0 = 0; exit;")

ACCEPTED
ON_VALUE(add, "lock *(u64*)(r6 + 0) += r1; ")

ACCEPTED
ON_VALUE(add_to_a_half, "lock *(u32*)(r6 + 4) += w1; ")

ACCEPTED
ON_VALUE(or_and_xor, "lock *(u64*)(r6 + 0) |= r1; lock *(u64*)(r6 + 0) &= r1; "
                     "lock *(u64*)(r6 + 0) ^= r1; ")

ACCEPTED
ON_VALUE(fetch_and_add, "r1 = atomic_fetch_add((u64*)(r6 + 0), r1); ")

ACCEPTED
ON_VALUE(fetch_and_add_half, "w1 = atomic_fetch_add((u32*)(r6 + 0), w1); ")

ACCEPTED
ON_VALUE(fetch_or_and_xor, "r1 = atomic_fetch_or((u64*)(r6 + 0), r1); "
                           "r1 = atomic_fetch_and((u64*)(r6 + 0), r1); "
                           "r1 = atomic_fetch_xor((u64*)(r6 + 0), r1); ")

ACCEPTED
ON_VALUE(exchange, "r1 = xchg_64(r6 + 0, r1); w1 = xchg32_32(r6 + 0, w1); ")

ACCEPTED
ON_VALUE(compare_and_exchange, "r0 = 0; r0 = cmpxchg_64(r6 + 0, r0, r1); "
                               "w0 = cmpxchg32_32(r6 + 0, w0, w1); ")

REJECTED("R0 !read_ok")
PROGRAM(compare_with_nothing, "perf_event",
        "r1 = 0; *(u64*)(r10 - 8) = r1; r0 = cmpxchg_64(r10 - 8, r0, r1); exit;")

REJECTED("R1 !read_ok")
PROGRAM(add_of_nothing, "perf_event", ELEMENT(array) "r6 = r0; lock *(u64*)(r6 + 0) += r1; " OUT,
        LOOKS_UP(array))

REJECTED("math between map_value pointer and register with unbounded min value is not allowed")
ON_VALUE(fetched_number_is_any,
         "r1 = atomic_fetch_add((u64*)(r6 + 0), r1); r6 += r1; r0 = *(u64*)(r6 + 0); ")

REJECTED("math between map_value pointer and register with unbounded min value is not allowed")
ON_VALUE(exchanged_number_is_any, "r1 = xchg_64(r6 + 0, r1); r6 += r1; r0 = *(u64*)(r6 + 0); ")

REJECTED("R2 invalid mem access 'scalar'")
ON_VALUE(on_a_number, "r2 = 8; lock *(u64*)(r2 + 0) += r1; ")

REJECTED("invalid access to map value, value_size=48 off=48 size=8")
ON_VALUE(behind_the_value, "lock *(u64*)(r6 + 48) += r1; ")

REJECTED("misaligned value access")
ON_VALUE(misaligned, "lock *(u64*)(r6 + 4) += r1; ")

ACCEPTED
ON_VALUE(address_added, "lock *(u64*)(r6 + 0) += r6; ")

REJECTED("invalid atomic operand size")
ON_VALUE(add_to_a_byte, ".8byte 0x00000000000016d3; ")

REJECTED("BPF_ATOMIC uses invalid atomic opcode")
ON_VALUE(unknown_operation, ".8byte 0x00000012000016db; ")

ACCEPTED
ON_STACK(on_the_stack, "lock *(u64*)(r10 - 8) += r1; ")

REJECTED("invalid mem access 'scalar'")
PROGRAM(kept_pointer_added_to, "perf_event",
        "*(u64*)(r10 - 8) = r1; r2 = 8; lock *(u64*)(r10 - 8) += r2; r1 = *(u64*)(r10 - 8); "
        "r0 = *(u64*)(r1 + 168); exit;")

REJECTED("misaligned stack access off 0+0+-12 size 8")
ON_STACK(misaligned_on_the_stack, "lock *(u64*)(r10 - 12) += r1; ")

REJECTED("invalid read from stack R10 off=0 size=8")
ON_STACK(above_the_frame, "lock *(u64*)(r10 + 0) += r1; ")

/// R2 is one of two slots, 16 bytes above what is named.
#define ON_EITHER_SLOT(name, code)                                                                 \
    PROGRAM(name, "perf_event",                                                                    \
            "r1 = 1; *(u64*)(r10 - 8) = r1; *(u64*)(r10 - 16) = r1; "                              \
            "call %[get_prandom_u32]; r0 &= 8; r2 = r10; r2 += r0; r1 = 1; " code "r0 = 0; exit;", \
            HELPER(get_prandom_u32))

REJECTED("variable offset stack pointer cannot be passed into helper function; "
         "var_off=(0x0; 0x8) off=-16 size=8")
ON_EITHER_SLOT(add_on_either_slot, "lock *(u64*)(r2 - 16) += r1; ")

REJECTED("variable offset stack pointer cannot be passed into helper function; "
         "var_off=(0x0; 0x8) off=-12 size=4")
ON_EITHER_SLOT(fetch_and_add_on_either_slot, "w1 = atomic_fetch_add((u32*)(r2 - 12), w1); ")

REJECTED("invalid variable-offset read from stack R2 var_off=(0x0; 0x8) off=-8 size=8")
ON_EITHER_SLOT(add_above_either_slot, "lock *(u64*)(r2 - 8) += r1; ")

// Load-acquire and store-release, which clang 19 does not write: dst 0, src 6; dst 6, src 1.
ACCEPTED
ON_VALUE(load_acquire, ".8byte 0x00000100000060db; ")

ACCEPTED
ON_VALUE(store_release, ".8byte 0x00000110000016db; ")

ACCEPTED
ON_VALUE(load_acquire_of_a_byte, ".8byte 0x00000100000060d3; ")

REJECTED("R1 invalid mem access 'scalar'")
ON_VALUE(load_acquire_of_a_number, "r1 = 8; .8byte 0x00000100000010db; ")

REJECTED("frame pointer is read only")
ON_VALUE(load_acquire_into_the_frame_pointer, ".8byte 0x0000010000006adb; ")

ACCEPTED
ON_EITHER_SLOT(load_acquire_of_either_slot, ".8byte 0x00000100fff020db; ")

ACCEPTED
ON_EITHER_SLOT(store_release_on_either_slot, ".8byte 0x00000110fff012db; ")
