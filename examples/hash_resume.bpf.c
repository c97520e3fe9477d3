// SPDX-License-Identifier: Apache-2.0
//
// Task work in "resume" mode from a hash map: the smallest useful shape.
//
//     taskwork run hash_resume.bpf.o -- COMMAND
//
// Every event schedules onto the thread that it interrupted; the callback copies the first argument
// string of the program from user memory into the thread's value, and counts. "Resume" never
// disturbs a blocked thread: the callback runs when the thread returns to its program by itself.

#include <taskwork/bpf/task_work.bpf.h>

// Offered under GPL-2.0 as well, since the kernel lets nothing else call kernel functions.
char LICENSE[] SEC("license") = "GPL";

struct value {
    struct bpf_task_work work;
    __u64 runs;
    __s64 copied;  // bytes with the NUL, or a negative errno
    char text[64];
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 1024);
    __type(key, __u32);  // thread id
    __type(value, struct value);
} values SEC(".maps");

__u64 events;
__u64 scheduled;
__u64 busy;  // the callback of an earlier event has not run yet, or another error

static int copy_argument(struct bpf_map* map, void* key, void* data) {
    struct value* value = data;
    struct mm_struct* mm = bpf_get_current_task_btf()->mm;

    value->copied =
        bpf_copy_from_user_str(value->text, sizeof(value->text), (void*)mm->arg_start, 0);
    value->runs += 1;  // only its own thread runs it
    return 0;
}

SEC("perf_event")
int on_event(struct bpf_perf_event_data* context) {
    __u32 tid = (__u32)bpf_get_current_pid_tgid();

    __sync_fetch_and_add(&events, 1);
    struct value* value = bpf_map_lookup_elem(&values, &tid);
    if (!value) {
        struct value empty = {};
        bpf_map_update_elem(&values, &tid, &empty, BPF_NOEXIST);
        value = bpf_map_lookup_elem(&values, &tid);
        if (!value) {
            return 0;  // more threads than the map has room for
        }
    }
    int error =
        taskwork_schedule_resume(bpf_get_current_task_btf(), &value->work, &values, copy_argument);
    __sync_fetch_and_add(error ? &busy : &scheduled, 1);
    return 0;
}
