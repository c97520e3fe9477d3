// SPDX-License-Identifier: Apache-2.0
//
// The life of one slot, checked from inside. Every program schedules onto the current thread from a
// syscall program, so that nothing runs before the program has returned. Reads no input. Which
// callbacks ran, after each program and a return to user mode:
//
//     schedule_twice       late_runs +1 (the second schedule, in the other mode too: -EBUSY)
//     delete_scheduled     none: deleting the element cancels
//     update_scheduled     none: updating it does too, and the new slot is free at once: late_runs
//     +1 delete_in_callback   self_delete_runs +1; the element is gone schedule_in_callback
//     first_runs +1, chained_runs +1: its own slot is busy, another is free stale_pointer        a
//     schedule through the pointer of a deleted element; its result is in
//                          schedule_error (the kernel: 0 or -EBUSY, for it may be another's by now;
//                          taskwork: -ENOENT)

#include "check.bpf.h"

struct value {
    struct bpf_task_work work;
    __u64 number;
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 16);
    __type(key, __u32);
    __type(value, struct value);
} values SEC(".maps");

struct {
    __u32 late_runs;
    __u32 self_delete_runs;
    __u32 first_runs;
    __u32 chained_runs;
    __u32 wrong_runs;  // of a callback that was cancelled
} runs SEC(".data.runs");

static struct value* fresh(__u32 key, __u64 number) {
    struct value value = {.number = number};
    bpf_map_delete_elem(&values, &key);
    bpf_map_update_elem(&values, &key, &value, BPF_NOEXIST);
    return bpf_map_lookup_elem(&values, &key);
}

static int late(struct bpf_map* map, void* key, void* value) {
    __sync_fetch_and_add(&runs.late_runs, 1);
    return 0;
}

static int wrong(struct bpf_map* map, void* key, void* value) {
    __sync_fetch_and_add(&runs.wrong_runs, 1);
    return 0;
}

SEC("syscall")
int schedule_twice(void* arguments) {
    enum check_context context = CHECK_TASK;
    struct task_struct* current = bpf_get_current_task_btf();
    struct value* value = fresh(1, 1);
    CHECK(value != NULL);
    if (value) {
        CHECK_EQUAL(taskwork_schedule_signal(current, &value->work, &values, late), 0);
        CHECK_EQUAL(taskwork_schedule_signal(current, &value->work, &values, wrong), -EBUSY);
        CHECK_EQUAL(taskwork_schedule_resume(current, &value->work, &values, wrong), -EBUSY);
    }
    __sync_fetch_and_add(&result.task_runs, 1);
    return 0;
}

SEC("syscall")
int delete_scheduled(void* arguments) {
    enum check_context context = CHECK_TASK;
    struct value* value = fresh(2, 1);
    __u32 key = 2;
    CHECK(value != NULL);
    if (value) {
        CHECK_EQUAL(
            taskwork_schedule_signal(bpf_get_current_task_btf(), &value->work, &values, wrong), 0);
        CHECK_EQUAL(bpf_map_delete_elem(&values, &key), 0);
    }
    __sync_fetch_and_add(&result.task_runs, 1);
    return 0;
}

SEC("syscall")
int update_scheduled(void* arguments) {
    enum check_context context = CHECK_TASK;
    struct task_struct* current = bpf_get_current_task_btf();
    struct value* value = fresh(3, 1);
    __u32 key = 3;
    CHECK(value != NULL);
    if (value) {
        struct value update = {.number = 2};
        CHECK_EQUAL(taskwork_schedule_signal(current, &value->work, &values, wrong), 0);
        CHECK_EQUAL(bpf_map_update_elem(&values, &key, &update, BPF_EXIST), 0);
        struct value* updated = bpf_map_lookup_elem(&values, &key);
        CHECK(updated != NULL);
        if (updated) {
            CHECK_EQUAL(updated->number, 2);
            CHECK_EQUAL(taskwork_schedule_signal(current, &updated->work, &values, late), 0);
        }
    }
    __sync_fetch_and_add(&result.task_runs, 1);
    return 0;
}

static int delete_self(struct bpf_map* map, void* key, void* data) {
    enum check_context context = CHECK_TASK_WORK;
    struct value* value = data;
    __u32 own = *(__u32*)key;

    CHECK_EQUAL(own, 4);
    CHECK_EQUAL(bpf_map_delete_elem(&values, &own), 0);
    CHECK(bpf_map_lookup_elem(&values, &own) == NULL);
    // Gone, but ours to the end: the callback runs inside a section that the memory waits for.
    CHECK_EQUAL(value->number, 44);
    __sync_fetch_and_add(&runs.self_delete_runs, 1);
    return 0;
}

SEC("syscall")
int delete_in_callback(void* arguments) {
    enum check_context context = CHECK_TASK;
    struct value* value = fresh(4, 44);
    CHECK(value != NULL);
    if (value) {
        CHECK_EQUAL(taskwork_schedule_signal(bpf_get_current_task_btf(), &value->work, &values,
                                             delete_self),
                    0);
    }
    __sync_fetch_and_add(&result.task_runs, 1);
    return 0;
}

static int chained(struct bpf_map* map, void* key, void* value) {
    __sync_fetch_and_add(&runs.chained_runs, 1);
    return 0;
}

static int first(struct bpf_map* map, void* key, void* data) {
    enum check_context context = CHECK_TASK_WORK;
    struct value* value = data;
    struct task_struct* current = bpf_get_current_task_btf();

    CHECK_EQUAL(taskwork_schedule_signal(current, &value->work, &values, wrong), -EBUSY);
    struct value* other = fresh(6, 1);
    CHECK(other != NULL);
    if (other) {
        CHECK_EQUAL(taskwork_schedule_signal(current, &other->work, &values, chained), 0);
    }
    __sync_fetch_and_add(&runs.first_runs, 1);
    return 0;
}

SEC("syscall")
int schedule_in_callback(void* arguments) {
    enum check_context context = CHECK_TASK;
    struct value* value = fresh(5, 1);
    CHECK(value != NULL);
    if (value) {
        CHECK_EQUAL(
            taskwork_schedule_signal(bpf_get_current_task_btf(), &value->work, &values, first), 0);
    }
    __sync_fetch_and_add(&result.task_runs, 1);
    return 0;
}

SEC("syscall")
int stale_pointer(void* arguments) {
    enum check_context context = CHECK_TASK;
    struct value* value = fresh(7, 1);
    __u32 key = 7;
    CHECK(value != NULL);
    if (value) {
        CHECK_EQUAL(bpf_map_delete_elem(&values, &key), 0);
        result.schedule_error =
            taskwork_schedule_signal(bpf_get_current_task_btf(), &value->work, &values, chained);
    }
    __sync_fetch_and_add(&result.task_runs, 1);
    return 0;
}
