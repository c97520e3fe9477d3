// SPDX-License-Identifier: Apache-2.0
//
// One of two programs calls a kernel function that nobody has, and that is not weak.

#include "check.bpf.h"

extern int bpf_taskwork_test_no_such_kfunc(int number) __ksym;

SEC("?perf_event")
int with_it(struct bpf_perf_event_data* event) { return bpf_taskwork_test_no_such_kfunc(1) != 0; }

SEC("?perf_event")
int without_it(struct bpf_perf_event_data* event) { return 0; }
