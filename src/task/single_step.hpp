// SPDX-License-Identifier: Apache-2.0
//
// For tests: runs a function of ours after every instruction of another, in the real object code,
// by the processor's trap flag (x86-64). The exhaustive form of "a handler may nest between any two
// instructions". Not under ThreadSanitizer, which holds signals back.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <ucontext.h>

#include <cstdint>

#include "base/sanitizers.hpp"
#include "task/run_point.hpp"
#include "task/task.hpp"

namespace taskwork::task {

/// ThreadSanitizer holds signals back until the thread makes a call that it knows. Under
/// AddressSanitizer the code is not the shipped one, several times as long, and takes minutes.
inline constexpr bool kCanSingleStep = !kThreadSanitizer && !kAddressSanitizer;

/// What runs between instructions; plain data, for the handler reads it.
struct Stepper {
    void (*event)(void* argument) = nullptr;
    void* argument = nullptr;
    std::uint64_t steps = 0;   ///< Instructions seen.
    std::uint64_t first = 1;   ///< Fires after this instruction,
    std::uint64_t stride = 1;  ///< then after every stride-th; 0: after no other.
    bool as_nmi = true;        ///< Inside an NmiScope, as an event of the application would be.
};
inline Stepper stepper;

inline void on_trap(int, siginfo_t*, void* ucontext) {
    ++stepper.steps;
    if (stepper.steps < stepper.first) {
        return;
    }
    auto* context = static_cast<ucontext_t*>(ucontext);
    if (stepper.stride == 0) {
        context->uc_mcontext.gregs[REG_EFL] &= ~greg_t{0x100};  // No more steps are of interest.
    } else if ((stepper.steps - stepper.first) % stepper.stride != 0) {
        return;
    }
    Task* self = current();
    if (!stepper.as_nmi || self == nullptr) {
        stepper.event(stepper.argument);
        return;
    }
    const NmiScope scope(*self, static_cast<std::uintptr_t>(context->uc_mcontext.gregs[REG_RSP]),
                         false);
    if (scope.entered()) {
        stepper.event(stepper.argument);
    }
}

/// Runs body(body_argument) with event(argument) after its instructions, as `first` and `stride` of
/// Stepper say. Returns how many instructions were stepped through. Both are plain functions: a
/// std::function's own instructions are not the subject. Context: task.
inline std::uint64_t single_step(void (*body)(void*), void* body_argument, void (*event)(void*),
                                 void* argument, std::uint64_t first = 1, std::uint64_t stride = 1,
                                 bool as_nmi = true) {
    struct sigaction action{};
    struct sigaction before{};
    action.sa_sigaction = on_trap;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGTRAP, &action, &before);
    stepper = Stepper{event, argument, 0, first, stride, as_nmi};
    asm volatile("pushfq\n\t"
                 "orq $0x100, (%%rsp)\n\t"
                 "popfq"
                 :
                 :
                 : "memory", "cc");
    body(body_argument);
    asm volatile("pushfq\n\t"
                 "andq $~0x100, (%%rsp)\n\t"
                 "popfq"
                 :
                 :
                 : "memory", "cc");
    sigaction(SIGTRAP, &before, nullptr);
    return stepper.steps;
}

}  // namespace taskwork::task
