// SPDX-License-Identifier: Apache-2.0
//
// libc's ways to restrict one's own system calls: prctl(PR_SET_SECCOMP) and, for want of a function
// of its own, syscall(SYS_seccomp). <sys/prctl.h> is left out: it declares prctl variadic.
#include <linux/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/filters.hpp"

extern "C" [[gnu::visibility("hidden"), gnu::used]] void taskwork_expect_filter() noexcept {
    taskwork::agent::expect_filter();
}

// All other calls pass through without a frame of ours: a child made by syscall(SYS_clone) returns
// on a stack of its own.
static_assert(SYS_seccomp == 317);
asm(R"(
    .pushsection .text.syscall, "ax", @progbits
    .globl syscall
    .type syscall, @function
syscall:
    .cfi_startproc
    cmpq $317, %rdi
    je 2f
1:
    movq %rdi, %rax
    movq %rsi, %rdi
    movq %rdx, %rsi
    movq %rcx, %rdx
    movq %r8, %r10
    movq %r9, %r8
    movq 8(%rsp), %r9
    syscall
    cmpq $-4095, %rax
    jae 3f
    ret
2:
    pushq %rdi
    .cfi_adjust_cfa_offset 8
    pushq %rsi
    .cfi_adjust_cfa_offset 8
    pushq %rdx
    .cfi_adjust_cfa_offset 8
    pushq %rcx
    .cfi_adjust_cfa_offset 8
    pushq %r8
    .cfi_adjust_cfa_offset 8
    pushq %r9
    .cfi_adjust_cfa_offset 8
    subq $8, %rsp
    .cfi_adjust_cfa_offset 8
    call taskwork_expect_filter
    addq $8, %rsp
    .cfi_adjust_cfa_offset -8
    popq %r9
    .cfi_adjust_cfa_offset -8
    popq %r8
    .cfi_adjust_cfa_offset -8
    popq %rcx
    .cfi_adjust_cfa_offset -8
    popq %rdx
    .cfi_adjust_cfa_offset -8
    popq %rsi
    .cfi_adjust_cfa_offset -8
    popq %rdi
    .cfi_adjust_cfa_offset -8
    jmp 1b
3:
    negq %rax
    pushq %rax
    .cfi_adjust_cfa_offset 8
    call *__errno_location@GOTPCREL(%rip)
    popq %rcx
    .cfi_adjust_cfa_offset -8
    movl %ecx, (%rax)
    movq $-1, %rax
    ret
    .cfi_endproc
    .size syscall, . - syscall
    .popsection
)");

extern "C" [[gnu::visibility("default")]] int prctl(int option, unsigned long second,
                                                    unsigned long third, unsigned long fourth,
                                                    unsigned long fifth) noexcept {
    if (option == PR_SET_SECCOMP) {
        taskwork::agent::expect_filter();
    }
    return static_cast<int>(::syscall(SYS_prctl, option, second, third, fourth, fifth));
}
