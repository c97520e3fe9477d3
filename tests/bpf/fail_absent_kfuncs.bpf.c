// SPDX-License-Identifier: Apache-2.0
//
// Kernel functions that nobody has, declared as those are that may be absent.

#include "check.bpf.h"

extern int bpf_taskwork_test_first_absent(int number) __ksym __weak;
extern int bpf_taskwork_test_second_absent(void) __ksym __weak;
extern void bpf_rcu_read_lock(void) __ksym __weak;
extern void bpf_rcu_read_unlock(void) __ksym __weak;

SEC("?perf_event")
int calls_first(struct bpf_perf_event_data* event) {
    bpf_rcu_read_lock();
    bpf_rcu_read_unlock();
    return bpf_taskwork_test_first_absent(1) != 0;
}

static __attribute__((noinline)) int through_a_function(void) {
    return bpf_taskwork_test_second_absent();
}

SEC("?perf_event")
int calls_second(struct bpf_perf_event_data* event) {
    if (bpf_taskwork_test_first_absent) {
        return bpf_taskwork_test_first_absent(1);
    }
    return through_a_function() != 0;
}

SEC("?perf_event")
int asks_first(struct bpf_perf_event_data* event) {
    return bpf_taskwork_test_first_absent ? bpf_taskwork_test_first_absent(1) : 0;
}
