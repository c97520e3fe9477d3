// SPDX-License-Identifier: Apache-2.0
//
// Refused everywhere: a kernel function that nobody has, and that is not weak.

#include "check.bpf.h"

extern int bpf_taskwork_test_no_such_kfunc(int number) __ksym;

SEC("perf_event")
int in_nmi(struct bpf_perf_event_data* event) { return bpf_taskwork_test_no_such_kfunc(1) != 0; }
