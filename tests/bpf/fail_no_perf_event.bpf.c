// SPDX-License-Identifier: Apache-2.0
//
// Loads everywhere, but `taskwork run` has nothing to attach, and says so.

#include "check.bpf.h"

SEC("syscall")
int in_task(void* arguments) { return 0; }
