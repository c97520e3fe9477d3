// SPDX-License-Identifier: Apache-2.0
//
// The sampler with its switch for whole stacks turned on. For programs that keep frame pointers
// (-fno-omit-frame-pointer), such as examples/demo.

#define RECORD_STACKS true
#include "sampler.bpf.c"
