// SPDX-License-Identifier: Apache-2.0
//
// The way into translated code and, before its time, out of it (native.hpp).

#define STATE_FRAME 24
#define STATE_STOP 48

    .text

// rdi, rsi, rdx, rcx: R1-R4. r8: the function. r9: the state.
    .globl taskwork_enter_native
    .hidden taskwork_enter_native
    .type taskwork_enter_native, @function
    .p2align 4
taskwork_enter_native:
    .cfi_startproc
    push %rbp
    .cfi_def_cfa_offset 16
    .cfi_offset %rbp, -16
    mov %rsp, %rbp
    .cfi_def_cfa_register %rbp
    push %rbx
    .cfi_offset %rbx, -24
    push %r12
    .cfi_offset %r12, -32
    push %r13
    .cfi_offset %r13, -40
    push %r14
    .cfi_offset %r14, -48
    push %r15
    .cfi_offset %r15, -56
    push %r9
    pushq STATE_STOP(%r9)       // that of an outer call
    pushq STATE_FRAME(%r9)
    mov %rsp, STATE_STOP(%r9)
    mov STATE_FRAME(%r9), %r12
    mov %r8, %rax
    xor %r8d, %r8d
    call *%rax
.Lback:
    mov -48(%rbp), %r9
    mov -56(%rbp), %rcx
    mov %rcx, STATE_STOP(%r9)
    mov -64(%rbp), %rcx
    mov %rcx, STATE_FRAME(%r9)
    mov -8(%rbp), %rbx
    mov -16(%rbp), %r12
    mov -24(%rbp), %r13
    mov -32(%rbp), %r14
    mov -40(%rbp), %r15
    leave
    .cfi_def_cfa %rsp, 8
    ret
    .cfi_endproc
    .size taskwork_enter_native, . - taskwork_enter_native

// rdi: the state. The stack below state->stop holds nothing that is needed any more.
    .globl taskwork_leave_native
    .hidden taskwork_leave_native
    .type taskwork_leave_native, @function
    .p2align 4
taskwork_leave_native:
    .cfi_startproc
    mov STATE_STOP(%rdi), %rsp
    lea 64(%rsp), %rbp
    xor %eax, %eax
    jmp .Lback
    .cfi_endproc
    .size taskwork_leave_native, . - taskwork_leave_native

    .section .note.GNU-stack, "", @progbits
