// SPDX-License-Identifier: Apache-2.0
//
// Who may sleep: syscall programs and callbacks of task work, whoever schedules them; not programs
// of events, nor what they call. The kernel's rule of maps for those that may.
#include "verifier.bpf.h"

struct slot {
    struct bpf_task_work work;
    __u64 word;
};
ARRAY_OF(slots, 1, struct slot);

struct {
    __uint(type, BPF_MAP_TYPE_QUEUE);
    __uint(max_entries, 4);
    __uint(value_size, 8);
} queue SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_STACK_TRACE);
    __uint(max_entries, 4);
    __uint(key_size, 4);
    __uint(value_size, 8 * 16);
} stacks SEC(".maps");

#define SLOT                                                                                       \
    __u32 key = 0;                                                                                 \
    struct slot* slot = bpf_map_lookup_elem(&slots, &key);                                         \
    if (!slot) {                                                                                   \
        return 0;                                                                                  \
    }
#define SELF ((struct task_struct*)bpf_get_current_task_btf())

ACCEPTED
SEC("?syscall")
int kfunc_that_sleeps(void* context) {
    char text[8] = {};
    return bpf_copy_from_user_str(text, sizeof text, NULL, 0);
}

REJECTED("program must be sleepable to call sleepable kfunc bpf_copy_from_user_str")
SEC("?perf_event")
int kfunc_that_sleeps_in_an_event(void* context) {
    char text[8] = {};
    return bpf_copy_from_user_str(text, sizeof text, NULL, 0);
}

static __noinline int sleeps(void) {
    __u64 word = 0;
    return (int)bpf_copy_from_user(&word, sizeof word, NULL);
}

REJECTED("helper call might sleep in a non-sleepable prog")
SEC("?perf_event")
int static_function_that_sleeps(void* context) { return sleeps(); }

static int sleeping_callback(struct bpf_map* map, void* key, void* value) {
    struct slot* slot = value;
    char text[8] = {};
    bpf_copy_from_user(&slot->word, sizeof slot->word, NULL);
    bpf_copy_from_user_str(text, sizeof text, NULL, 0);
    return 0;
}

ACCEPTED
SEC("?perf_event")
int K111_callback_sleeps_for_an_event(void* context) {
    SLOT return taskwork_schedule_signal(SELF, &slot->work, &slots, sleeping_callback);
}

ACCEPTED
SEC("?syscall")
int K111_callback_sleeps_for_a_syscall(void* context) {
    SLOT return taskwork_schedule_resume(SELF, &slot->work, &slots, sleeping_callback);
}

static __noinline int sleeping_step(__u32 index, void* data) { return sleeps() != 0; }

REJECTED("helper call might sleep in a non-sleepable prog")
SEC("?perf_event")
int step_sleeps_in_an_event(void* context) { return (int)bpf_loop(4, sleeping_step, NULL, 0); }

ACCEPTED
SEC("?syscall")
int step_sleeps_in_a_syscall(void* context) { return (int)bpf_loop(4, sleeping_step, NULL, 0); }

static int looping_callback(struct bpf_map* map, void* key, void* value) {
    bpf_loop(4, sleeping_step, NULL, 0);
    return 0;
}

ACCEPTED
SEC("?perf_event")
int step_sleeps_in_a_callback(void* context) {
    SLOT return taskwork_schedule_signal(SELF, &slot->work, &slots, looping_callback);
}

ACCEPTED
SEC("?syscall")
int sleep_outside_the_section(void* context) {
    bpf_rcu_read_lock();
    bpf_rcu_read_unlock();
    return sleeps();
}

REJECTED("sleepable helper bpf_copy_from_user#148 in rcu_read_lock region")
SEC("?syscall")
int sleep_in_the_section(void* context) {
    bpf_rcu_read_lock();
    sleeps();
    bpf_rcu_read_unlock();
    return 0;
}

REJECTED("Sleepable programs can only use array, hash, ringbuf and local storage maps")
SEC("?syscall")
int stack_traces_where_one_sleeps(void* context) {
    return (int)bpf_get_stackid(context, &stacks, 0);
}

ACCEPTED
SEC("?perf_event")
int stack_traces_in_an_event(struct bpf_perf_event_data* context) {
    return (int)bpf_get_stackid(context, &stacks, 0);
}

ACCEPTED
SEC("?syscall")
int queue_where_one_sleeps(void* context) {
    __u64 word = 0;
    return (int)bpf_map_push_elem(&queue, &word, 0);
}
