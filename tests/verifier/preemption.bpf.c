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

// ---- Regions
// -------------------------------------------------------------------------------------

ACCEPTED
SEC("?perf_event")
int preemption_off_in_an_event(void* context) {
    bpf_preempt_disable();
    bpf_preempt_enable();
    return 0;
}

ACCEPTED
SEC("?syscall")
int preemption_off_twice(void* context) {
    bpf_preempt_disable();
    bpf_preempt_disable();
    bpf_preempt_enable();
    bpf_preempt_enable();
    return 0;
}

REJECTED("bpf_preempt_disable-ed region")
SEC("?syscall")
int preemption_off_twice_and_on_once(void* context) {
    bpf_preempt_disable();
    bpf_preempt_disable();
    bpf_preempt_enable();
    return 0;
}

REJECTED("unmatched attempt to enable preemption (kernel function bpf_preempt_enable)")
SEC("?syscall")
int preemption_on_that_was_not_off(void* context) {
    bpf_preempt_enable();
    return 0;
}

REJECTED("unmatched attempt to enable preemption (kernel function bpf_preempt_enable)")
SEC("?syscall")
int preemption_off_on_one_way(void* context) {
    if (bpf_get_prandom_u32() & 1) {
        bpf_preempt_disable();
    }
    bpf_preempt_enable();
    return 0;
}

static __noinline int disable(void) {
    bpf_preempt_disable();
    return 0;
}

ACCEPTED
SEC("?syscall")
int preemption_off_by_a_function(void* context) {
    int error = disable();
    bpf_preempt_enable();
    return error;
}

static long disable_each(__u64 index, void* nothing) {
    bpf_preempt_disable();
    return 0;
}

REJECTED("bpf_preempt_disable-ed region")
SEC("?syscall")
int preemption_off_by_a_callback(void* context) {
    bpf_loop(1, disable_each, NULL, 0);
    return 0;
}

__noinline int globally(int number) { return number + 1; }

__noinline int globally_sleeping(int number) {
    __u64 word = 0;
    return bpf_copy_from_user(&word, sizeof word, NULL) + number;
}

__noinline int globally_disabling(int number) {
    bpf_preempt_disable();
    return number;
}

ACCEPTED
SEC("?syscall")
int global_function_while_nothing_preempts(void* context) {
    bpf_preempt_disable();
    int number = globally(1);
    bpf_preempt_enable();
    return number;
}

REJECTED("global functions that may sleep are not allowed in non-sleepable context")
SEC("?syscall")
int sleeping_global_function_while_nothing_preempts(void* context) {
    bpf_preempt_disable();
    int number = globally_sleeping(1);
    bpf_preempt_enable();
    return number;
}

ACCEPTED
SEC("?syscall")
int sleeping_global_function_behind_the_region(void* context) {
    bpf_preempt_disable();
    bpf_preempt_enable();
    return globally_sleeping(1);
}

REJECTED("cannot be used inside bpf_preempt_disable-ed region")
SEC("?syscall")
int preemption_off_by_a_global_function(void* context) { return globally_disabling(1); }

extern int bpf_copy_from_user_str(void* dst, __u32 dst__sz, const void* unsafe_ptr__ign,
                                  __u64 flags) __ksym __weak;

REJECTED("kernel func bpf_copy_from_user_str is sleepable within non-preemptible region")
SEC("?syscall")
int sleeping_kfunc_while_nothing_preempts(void* context) {
    char text[8];
    bpf_preempt_disable();
    bpf_copy_from_user_str(text, sizeof text, NULL, 0);
    bpf_preempt_enable();
    return 0;
}

struct guarded {
    struct bpf_spin_lock lock;
    __u64 sum;
};
ARRAY_OF(guardeds, 1, struct guarded);

REJECTED("function calls are not allowed while holding a lock")
SEC("?syscall")
int preemption_off_under_a_lock(void* context) {
    __u32 key = 0;
    struct guarded* guarded = bpf_map_lookup_elem(&guardeds, &key);
    if (!guarded) {
        return 0;
    }
    bpf_spin_lock(&guarded->lock);
    bpf_preempt_disable();
    bpf_preempt_enable();
    bpf_spin_unlock(&guarded->lock);
    return 0;
}

ACCEPTED
SEC("?syscall")
int lock_while_nothing_preempts(void* context) {
    __u32 key = 0;
    struct guarded* guarded = bpf_map_lookup_elem(&guardeds, &key);
    if (!guarded) {
        return 0;
    }
    bpf_preempt_disable();
    bpf_spin_lock(&guarded->lock);
    bpf_spin_unlock(&guarded->lock);
    bpf_preempt_enable();
    return 0;
}
