// SPDX-License-Identifier: Apache-2.0
//
// Refused everywhere: it calls a kernel function without declaring itself GPL-compatible.

#include <taskwork/bpf/task_work.bpf.h>

char LICENSE[] SEC("license") = "Apache-2.0";

SEC("perf_event")
int in_nmi(struct bpf_perf_event_data* event) {
    struct task_struct* task = bpf_task_from_pid(1);
    if (task) {
        bpf_task_release(task);
    }
    return 0;
}
