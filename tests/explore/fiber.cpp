// SPDX-License-Identifier: Apache-2.0
#include "tests/explore/fiber.hpp"

#include <cstdint>
#include <cstring>

asm(R"(
    .text
    .p2align 4
    .globl explore_switch_stack
    .type explore_switch_stack, @function
explore_switch_stack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size explore_switch_stack, .-explore_switch_stack

    .p2align 4
    .globl explore_fiber_entry
    .type explore_fiber_entry, @function
explore_fiber_entry:
    movl %r12d, %edi
    callq *%r13
    ud2
    .size explore_fiber_entry, .-explore_fiber_entry
)");

extern "C" void explore_fiber_entry();

namespace explore {

void* prepare_stack(std::byte* top, void (*entry)(unsigned), unsigned argument) noexcept {
    // As switch_stack leaves a stack: r15 r14 r13 r12 rbx rbp, the address to go on at, and above
    // it what the alignment at a function's entry needs.
    const std::uint64_t frame[9] = {0,
                                    0,
                                    reinterpret_cast<std::uint64_t>(entry),
                                    argument,
                                    0,
                                    0,
                                    reinterpret_cast<std::uint64_t>(&explore_fiber_entry),
                                    0,
                                    0};
    std::byte* at = top - sizeof(frame);
    std::memcpy(at, frame, sizeof(frame));
    return at;
}

}  // namespace explore
