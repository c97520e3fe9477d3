// SPDX-License-Identifier: Apache-2.0
//
// Task work where nothing preempts: scheduling is right (K114), a callback that ends so is not
// (K113).
#include "verifier.bpf.h"

struct slot {
    struct bpf_task_work work;
};
ARRAY_OF(slots, 1, struct slot);

extern void bpf_preempt_disable(void) __ksym __weak;
extern void bpf_preempt_enable(void) __ksym __weak;

#define SLOT                                                                                       \
    __u32 key = 0;                                                                                 \
    struct slot* slot = bpf_map_lookup_elem(&slots, &key);                                         \
    if (!slot) {                                                                                   \
        return 0;                                                                                  \
    }
#define SELF ((struct task_struct*)bpf_get_current_task_btf())

static int sleeping(struct bpf_map* map, void* key, void* value) {
    __u64 word = 0;
    return bpf_copy_from_user(&word, sizeof word, NULL) != 0;
}

ACCEPTED
SEC("?syscall")
int K114_while_nothing_preempts(void* context) {
    SLOT bpf_preempt_disable();
    int error = taskwork_schedule_signal(SELF, &slot->work, &slots, sleeping);
    bpf_preempt_enable();
    return error;
}

static int stays_alone(struct bpf_map* map, void* key, void* value) {
    bpf_preempt_disable();
    return 0;
}

REJECTED("BPF_EXIT instruction in main prog cannot be used inside bpf_preempt_disable-ed region")
SEC("?perf_event")
int K113_preemption_left_off(void* context) {
    SLOT return taskwork_schedule_signal(SELF, &slot->work, &slots, stays_alone);
}

REJECTED("in non-preemptible region")
SEC("?syscall")
int sleep_while_nothing_preempts(void* context) {
    __u64 word = 0;
    bpf_preempt_disable();
    bpf_copy_from_user(&word, sizeof word, NULL);
    bpf_preempt_enable();
    return 0;
}

REJECTED("bpf_preempt_disable-ed region")
SEC("?syscall")
int preemption_left_off(void* context) {
    bpf_preempt_disable();
    return 0;
}
