// SPDX-License-Identifier: Apache-2.0
//
// System calls past libc: errno is left alone, nothing is a cancellation point, and interposed
// functions are not met.
#pragma once

namespace taskwork::library {

/// The kernel's answer: a result or -errno.
/// Context: any.
inline long system_call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0,
                        long f = 0) noexcept {
    long result;
    register long r10 asm("r10") = d;
    register long r8 asm("r8") = e;
    register long r9 asm("r9") = f;
    asm volatile("syscall"
                 : "=a"(result)
                 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                 : "rcx", "r11", "memory");
    return result;
}

}  // namespace taskwork::library
