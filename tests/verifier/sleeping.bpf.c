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

#define WALKED_ONCE "6.18 walks a global function once, as if all who call it were the program"

// ---- Global functions: verified as what may sleep where something that may sleep calls them
// ------

#define ACQUIRE_THE_PARENT                                                                         \
    struct task_struct* parent = bpf_task_acquire(SELF->real_parent);                              \
    if (parent) {                                                                                  \
        bpf_task_release(parent);                                                                  \
    }

__noinline int acquires_the_parent(int number) {
    UNKNOWN(number);
    ACQUIRE_THE_PARENT return number;
}

__noinline int acquires_in_a_section(int number) {
    UNKNOWN(number);
    bpf_rcu_read_lock();
    ACQUIRE_THE_PARENT
    bpf_rcu_read_unlock();
    return number;
}

__noinline int acquires_by_another(int number) { return acquires_the_parent(number) + 1; }

__noinline int sleeping_global(int number) { return sleeps() + number; }

static int acquiring_callback(struct bpf_map* map, void* key, void* value) {
    acquires_the_parent(1);
    return 0;
}
static int acquiring_callback_by_another(struct bpf_map* map, void* key, void* value) {
    acquires_by_another(1);
    return 0;
}
static int callback_with_a_section(struct bpf_map* map, void* key, void* value) {
    acquires_in_a_section(1);
    return 0;
}
static int callback_of_a_sleeping_global(struct bpf_map* map, void* key, void* value) {
    sleeping_global(1);
    return 0;
}

ACCEPTED
SEC("?perf_event")
int global_function_of_an_event(void* context) { return acquires_the_parent(1); }

REJECTED("R1 must be a rcu pointer")
SEC("?syscall")
int global_function_of_a_syscall(void* context) { return acquires_the_parent(1); }

REJECTED("R1 must be a rcu pointer")
KERNEL_ACCEPTS(WALKED_ONCE)
SEC("?perf_event")
int global_function_of_a_callback(void* context) {
    SLOT return taskwork_schedule_signal(SELF, &slot->work, &slots, acquiring_callback);
}

REJECTED("R1 must be a rcu pointer")
KERNEL_ACCEPTS(WALKED_ONCE)
SEC("?perf_event")
int global_function_of_an_event_and_of_its_callback(void* context) {
    SLOT return acquires_the_parent(1) +
        (int)taskwork_schedule_signal(SELF, &slot->work, &slots, acquiring_callback);
}

REJECTED("R1 must be a rcu pointer")
KERNEL_ACCEPTS(WALKED_ONCE)
SEC("?perf_event")
int global_function_of_a_global_function_of_a_callback(void* context) {
    SLOT return taskwork_schedule_signal(SELF, &slot->work, &slots, acquiring_callback_by_another);
}

ACCEPTED
SEC("?perf_event")
int global_function_with_a_section_of_its_own(void* context) {
    SLOT return acquires_in_a_section(1) +
        (int)taskwork_schedule_signal(SELF, &slot->work, &slots, callback_with_a_section);
}

ACCEPTED
KERNEL_REJECTS("helper call might sleep in a non-sleepable prog", WALKED_ONCE)
SEC("?perf_event")
int K111_global_function_of_a_callback_sleeps(void* context) {
    SLOT return taskwork_schedule_signal(SELF, &slot->work, &slots, callback_of_a_sleeping_global);
}
