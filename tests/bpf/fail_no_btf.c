// SPDX-License-Identifier: Apache-2.0
//
// Compiled without -g, so without BTF: `taskwork run` refuses it, since it could find no special
// field in a map and print none.

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("perf_event")
int in_nmi(void* event) { return 0; }
