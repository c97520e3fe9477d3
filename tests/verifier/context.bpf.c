// SPDX-License-Identifier: Apache-2.0
//
// Contexts: the registers, sample_period (168) and addr (176) of a perf event; a syscall program's
// bytes, whatever they are.
#include "verifier.bpf.h"

ACCEPTED
PROGRAM(registers, "perf_event", "r0 = *(u64*)(r1 + 0); r0 = *(u64*)(r1 + 160); exit;")

REJECTED("invalid bpf_context access off=128 size=4")
PROGRAM(half_of_a_register, "perf_event", "r0 = *(u32*)(r1 + 128); exit;")

ACCEPTED
PROGRAM(period_and_address, "perf_event", "r0 = *(u64*)(r1 + 168); r0 = *(u64*)(r1 + 176); exit;")

ACCEPTED
PROGRAM(parts_of_the_period, "perf_event",
        "r0 = *(u32*)(r1 + 168); r0 = *(u16*)(r1 + 168); r0 = *(u8*)(r1 + 168); exit;")

ACCEPTED
PROGRAM(upper_half_of_the_period, "perf_event", "r0 = *(u32*)(r1 + 172); exit;")

REJECTED("invalid bpf_context access off=184 size=8")
PROGRAM(behind_the_event, "perf_event", "r0 = *(u64*)(r1 + 184); exit;")

REJECTED("invalid bpf_context access off=-8 size=8")
PROGRAM(before_the_event, "perf_event", "r0 = *(u64*)(r1 - 8); exit;")

REJECTED("invalid bpf_context access off=164 size=8")
PROGRAM(misaligned_in_the_event, "perf_event", "r0 = *(u64*)(r1 + 164); exit;")

REJECTED("invalid bpf_context access off=168 size=8")
PROGRAM(written_event, "perf_event", "r2 = 0; *(u64*)(r1 + 168) = r2; r0 = 0; exit;")

REJECTED("dereference of modified ctx ptr R1 off=8 disallowed")
PROGRAM(moved_event, "perf_event", "r1 += 8; r0 = *(u64*)(r1 + 0); exit;")

REJECTED("variable ctx access var_off")
PROGRAM(index_into_the_event, "perf_event",
        "r2 = *(u64*)(r1 + 168); r2 &= 8; r1 += r2; r0 = *(u64*)(r1 + 0); exit;")

REJECTED("BPF_ATOMIC stores into R1 ctx is not allowed")
PROGRAM(atomic_on_the_event, "perf_event", "r2 = 1; lock *(u64*)(r1 + 168) += r2; r0 = 0; exit;")

REJECTED("R1 type=ctx expected=fp")
PROGRAM(event_as_memory, "perf_event", "r2 = 16; call %[get_current_comm]; exit;",
        HELPER(get_current_comm))

REJECTED("R1 type=scalar expected=ctx")
PROGRAM(no_context, "perf_event",
        "r1 = 0; r2 = r10; r2 += -16; r3 = 16; r4 = 0; call %[get_stack]; exit;", HELPER(get_stack))

ACCEPTED
PROGRAM(context_for_a_helper, "perf_event",
        "r2 = r10; r2 += -16; r3 = 16; r4 = 0; call %[get_stack]; exit;", HELPER(get_stack))

ACCEPTED
PROGRAM(
    any_bytes, "syscall",
    "r0 = *(u8*)(r1 + 3); r0 = *(u16*)(r1 + 6); r0 = *(u32*)(r1 + 60); r0 = *(u64*)(r1 + 4088); "
    "exit;")

ACCEPTED
PROGRAM(written_bytes, "syscall", "r2 = 7; *(u64*)(r1 + 8) = r2; r0 = 0; exit;")

REJECTED("invalid bpf_context access off=-8 size=8")
PROGRAM(bytes_before, "syscall", "r0 = *(u64*)(r1 - 8); exit;")

REJECTED("invalid bpf_context access off=4 size=8")
PROGRAM(misaligned_bytes, "syscall", "r0 = *(u64*)(r1 + 4); exit;")

REJECTED("dereference of modified ctx ptr R1 off=8 disallowed")
PROGRAM(moved_bytes, "syscall", "r1 += 8; r0 = *(u64*)(r1 + 0); exit;")

REJECTED("R1 type=ctx expected=fp")
PROGRAM(bytes_as_memory, "syscall", "r2 = 16; call %[get_current_comm]; r0 = 0; exit;",
        HELPER(get_current_comm))
