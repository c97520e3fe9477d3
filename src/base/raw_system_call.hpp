// SPDX-License-Identifier: Apache-2.0
//
// A system call that leaves errno alone and is no cancellation point: handlers may not change the
// one, and a thread must not be cancelled inside our code.
#pragma once

namespace taskwork {

/// Returns the result, or the negative errno.
/// Context: any.
inline long raw_system_call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0,
                            long f = 0) noexcept {
    long result = 0;
    register long r10 asm("r10") = d;
    register long r8 asm("r8") = e;
    register long r9 asm("r9") = f;
    asm volatile("syscall"
                 : "=a"(result)
                 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                 : "rcx", "r11", "memory");
    return result;
}

}  // namespace taskwork
