// SPDX-License-Identifier: Apache-2.0
//
// An assembler in the notation of the kernel's verifier log, so that a case can be read beside a
// log:
//
//     r0 = 5                     w1 s>>= w2                r3 = (s8)r4          r0 = -r0
//     r1 = 0x1122334455667788 ll r2 = be16 r2              r0 = bswap64 r0      r6 = &label
//     r0 = *(s32 *)(r1 +4)       *(u8 *)(r10 -1) = r2      *(u64 *)(r10 -8) = -1
//     lock *(u32 *)(r1 +0) += r2 r3 = atomic64_fetch_xor((u64 *)(r10 -8), r3)
//     r3 = atomic_xchg((u32 *)(r10 -8), r3)                r0 = atomic64_cmpxchg((u64 *)(r10 -8),
//     r0, r4) r0 = load_acquire((u16 *)(r1 +2))                    store_release((u64 *)(r10 -8),
//     r1) if r1 s< -3 goto +2        if w1 & w2 goto label     goto -4              gotol pc+3
//     may_goto label             call 3                    call pc+2            call label
//     callx r6                   exit                      label:               raw b7 00 00 00 05
//
// r is 64 bits wide, w 32; atomic is of 32 bits and atomic64 of 64. Distances count instructions
// from the next one, and `ll` loads are two. `raw` is any bytes, also fewer or more than eight;
// `times 40000 r0 += 1` is so many instructions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace taskwork::isa {

/// The bytes of a program, of one line a string. Errors: invalid_argument, with the line and what
/// is wrong with it. Nothing but the form of a line is checked: programs may be wrong on purpose.
Result<std::vector<std::uint8_t>> assemble(const std::vector<std::string>& lines);

}  // namespace taskwork::isa
