// SPDX-License-Identifier: Apache-2.0
//
// The form of programs: instructions, reserved fields, jumps, ends.
#include "verifier.bpf.h"

ACCEPTED
PROGRAM(shortest, "perf_event", "r0 = 0; exit;")

REJECTED("R0 !read_ok")
PROGRAM(no_result, "perf_event", "exit;")

REJECTED("R2 !read_ok")
PROGRAM(register_never_set, "perf_event", "r0 = r2; exit;")

REJECTED("R6 !read_ok")
PROGRAM(register_set_on_one_path, "perf_event",
        "r0 = *(u64*)(r1 + 168); if r0 == 0 goto other_%=; r6 = 1; other_%=: r0 = r6; exit;")

REJECTED("R1 !read_ok")
PROGRAM(arguments_are_gone_behind_a_call, "perf_event", "call %[ktime_get_ns]; r0 = r1; exit;",
        HELPER(ktime_get_ns))

ACCEPTED
PROGRAM(saved_registers_survive_a_call, "perf_event",
        "r6 = r1; call %[ktime_get_ns]; r0 = *(u64*)(r6 + 168); exit;", HELPER(ktime_get_ns))

REJECTED("last insn is not an exit or jmp")
PROGRAM(falls_off_its_end, "perf_event", "r0 = 0;")

REJECTED("unreachable insn 2")
PROGRAM(unreachable, "perf_event", "r0 = 0; exit; exit;")

REJECTED("unreachable insn 3")
PROGRAM(unreachable_behind_a_jump, "perf_event", "r0 = 0; goto end_%=; end_%=: exit; r0 = 1; exit;")

REJECTED("jump out of range from insn 0 to 8")
PROGRAM(jump_behind_the_end, "perf_event", "if r1 == 0 goto +7; r0 = 0; exit;")

REJECTED("jump out of range from insn 0 to -1")
PROGRAM(jump_before_the_begin, "perf_event", "if r1 == 0 goto -2; r0 = 0; exit;")

REJECTED("jump into the middle of ldimm64 insn 1")
PROGRAM(jump_into_a_wide_instruction, "perf_event", "if r1 == 0 goto +1; r0 = 5 ll; exit;")

REJECTED("frame pointer is read only")
PROGRAM(frame_pointer_set, "perf_event", "r10 = 0; r0 = 0; exit;")

REJECTED("frame pointer is read only")
PROGRAM(frame_pointer_changed, "perf_event", "r10 += -8; r0 = 0; exit;")

REJECTED("R11 is invalid")
PROGRAM(register_eleven, "perf_event", ".8byte %[insn]; r0 = 0; exit;", VALUE(insn, 0x0bb7))

REJECTED("unknown opcode ff")
PROGRAM(unknown_opcode, "perf_event", ".8byte %[insn]; r0 = 0; exit;", VALUE(insn, 0xff))

REJECTED("BPF_MOV uses reserved fields")
PROGRAM(source_of_an_immediate_move, "perf_event", ".8byte %[insn]; exit;", VALUE(insn, 0x10b7))

REJECTED("BPF_ALU uses reserved fields")
PROGRAM(source_of_an_immediate_sum, "perf_event", "r0 = 0; .8byte %[insn]; exit;",
        VALUE(insn, 0x1007))

REJECTED("BPF_EXIT uses reserved fields")
PROGRAM(exit_with_an_immediate, "perf_event", "r0 = 0; .8byte %[insn];", VALUE(insn, 0x100000095))

REJECTED("BPF_JA uses reserved fields")
PROGRAM(jump_with_a_register, "perf_event", "r0 = 0; .8byte %[insn]; exit;", VALUE(insn, 0x1005))

REJECTED("BPF_CALL uses reserved fields")
PROGRAM(call_with_a_destination, "perf_event", ".8byte %[insn]; exit;", VALUE(insn, 0x500000185))

REJECTED("unknown opcode 8d")
PROGRAM(call_of_a_register, "perf_event", "r1 = 0; .8byte %[insn]; r0 = 0; exit;",
        VALUE(insn, 0x18d))

REJECTED("BPF_NEG uses reserved fields")
PROGRAM(negation_with_an_immediate, "perf_event", "r0 = 0; .8byte %[insn]; exit;",
        VALUE(insn, 0x100000087))

REJECTED("BPF_END uses reserved fields")
PROGRAM(swap_of_eight_bits, "perf_event", "r0 = 0; .8byte %[insn]; exit;", VALUE(insn, 0x8000000dc))

REJECTED("invalid shift 64")
PROGRAM(shift_by_sixty_four, "perf_event", "r0 = 1; .8byte %[insn]; exit;",
        VALUE(insn, 0x4000000067))

REJECTED("invalid shift 32")
PROGRAM(shift_of_a_half_by_thirty_two, "perf_event", "r0 = 1; .8byte %[insn]; exit;",
        VALUE(insn, 0x2000000064))

REJECTED("div by zero")
PROGRAM(division_by_constant_zero, "perf_event", "r0 = 1; .8byte %[insn]; exit;", VALUE(insn, 0x37))

REJECTED("div by zero")
PROGRAM(remainder_by_constant_zero, "perf_event", "r0 = 1; .8byte %[insn]; exit;",
        VALUE(insn, 0x97))

REJECTED("invalid bpf_ld_imm64 insn")
PROGRAM(wide_instruction_without_its_half, "perf_event", ".8byte %[insn]; r0 = 0; exit;",
        VALUE(insn, 0x18))

REJECTED("unrecognized bpf_ld_imm64 insn")
PROGRAM(wide_instruction_of_an_unknown_kind, "perf_event", ".8byte %[insn]; .8byte 0; exit;",
        VALUE(insn, 0x9018))

REJECTED("BPF_LD_[ABS|IND] instructions not allowed for this program type")
PROGRAM(packet_access, "perf_event", "r6 = r1; .8byte %[insn]; r0 = 0; exit;", VALUE(insn, 0x30))

REJECTED("invalid func unknown#9999")
PROGRAM(helper_that_nobody_has, "perf_event", "call 9999; r0 = 0; exit;")

REJECTED("unknown func bpf_xdp_adjust_head#44")
KERNEL_SAYS("program of this type cannot use helper bpf_xdp_adjust_head#44",
            "it has the helper, for programs of another type")
PROGRAM(helper_of_another_type, "perf_event", "r2 = 0; call 44; r0 = 0; exit;")

ACCEPTED
PROGRAM(pointer_as_result, "perf_event", "r0 = r1; exit;")

ACCEPTED
PROGRAM(jump_over_what_is_never_run, "perf_event",
        "r0 = 0; if r0 == 0 goto end_%=; r0 = *(u64*)(r0 + 0); end_%=: exit;")

REJECTED("infinite loop detected at insn 1")
PROGRAM(jump_to_itself, "perf_event", "r0 = 0; loop_%=: goto loop_%=;")
