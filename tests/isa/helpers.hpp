// SPDX-License-Identifier: Apache-2.0
//
// The helpers of public conformance suites, 0 to 5, in place of taskwork's: linked before the bpf
// layer, they are the table that bpf::helper() looks into (src/bpf/helpers.hpp).
//
//     0  gather_bytes(a, b, c, d, e)   the lowest byte of each, a the highest of five
//     1  memfrob(address, size)        every byte ^ 42; returns address
//     2  no_op()                       0
//     3  sqrti(x)                      the root of 32 bits, rounded down
//     4  strcmp(a, b)                  negative, 0, positive
//     5  unwind(x)                     x; 0 ends the whole program at once, with 0
#pragma once

#include "bpf/jit/native.hpp"

namespace taskwork::isa {

/// The same, unchecked, for translated code.
void give_helpers(bpf::jit::NativeState& state);

/// Whether unwind(0) has ended an execution since forget_unwinding().
bool has_unwound();
void forget_unwinding();

}  // namespace taskwork::isa
