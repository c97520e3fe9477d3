/* SPDX-License-Identifier: Apache-2.0 */
/*
 * long taskwork_wait_window(const uint64_t* attention, uintptr_t* window, const long* call);
 *
 * Makes the system call {number, six arguments} unless *attention is not zero: then, -EINTR. A
 * handler that finds the thread at an address in [begin, end) has come after the check and before
 * the call (or on a call that is to be restarted, for which the kernel sets the instruction pointer
 * back): to let it go on from `leave` instead is as if it had come before the check. *window holds
 * the stack pointer meanwhile, so that a handler on top of another handler knows of the wait.
 */
    .text
    .globl taskwork_wait_window
    .hidden taskwork_wait_window
    .type taskwork_wait_window, @function
    .globl taskwork_wait_window_begin
    .hidden taskwork_wait_window_begin
    .globl taskwork_wait_window_end
    .hidden taskwork_wait_window_end
    .globl taskwork_wait_window_leave
    .hidden taskwork_wait_window_leave
    .globl taskwork_wait_window_last
    .hidden taskwork_wait_window_last
taskwork_wait_window:
    .cfi_startproc
    pushq %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbx, 0
    movq %rsi, %rbx
    movq %rdi, %r11
    movq %rdx, %rcx
    movq (%rcx), %rax
    movq 8(%rcx), %rdi
    movq 16(%rcx), %rsi
    movq 24(%rcx), %rdx
    movq 32(%rcx), %r10
    movq 40(%rcx), %r8
    movq 48(%rcx), %r9
    movq %rsp, (%rbx)
taskwork_wait_window_begin:
    cmpq $0, (%r11)
    jne taskwork_wait_window_leave
    syscall
taskwork_wait_window_end:
    movq $0, (%rbx)
    popq %rbx
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbx
    ret
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbx, 0
taskwork_wait_window_leave:
    movq $-4, %rax
    jmp taskwork_wait_window_end
taskwork_wait_window_last:
    .cfi_endproc
    .size taskwork_wait_window, . - taskwork_wait_window
    .section .note.GNU-stack, "", @progbits
