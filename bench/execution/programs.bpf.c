// SPDX-License-Identifier: Apache-2.0
//
// The programs of the rows (rows.hpp), for every engine the same object. Each says itself how long
// it took, from inside.
#include <taskwork/bpf/task_work.bpf.h>

// Offered under GPL-2.0 as well, as the other objects are.
char LICENSE[] SEC("license") = "GPL";

typedef __u32 u32;
typedef __u64 u64;

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 256);
    __type(key, u32);
    __type(value, u64);
} array SEC(".maps"), counters SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 16384);
    __type(key, u64);
    __type(value, u64);
} hash SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 16384);
    __type(key, u64);
    __type(value, u64);
} lru SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 1024);
    __type(key, u64);
    __type(value, u64);
} small_lru SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1 << 16);
} ring SEC(".maps");

struct string {
    char text[64];
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 2);
    __type(key, u32);
    __type(value, struct string);
} strings SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
    __uint(max_entries, 1);
    __uint(key_size, 4);
    __uint(value_size, 4);
} programs SEC(".maps");

struct times {
    u64 began;
    u64 ns;
    u64 failed;  // Operations that did not do what they were to.
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, u32);
    __type(value, struct times);
} times SEC(".maps");

/// The context, which is given back.
struct run {
    u64 ns;
    u32 thread;
    u32 done;
};

#define LOOKUP(map, key) bpf_map_lookup_elem(&map, key)
#define UPDATE(map, key, value) bpf_map_update_elem(&map, key, value, BPF_ANY)
#define DELETE(map, key) bpf_map_delete_elem(&map, key)
#define RESERVE(bytes) bpf_ringbuf_reserve(&ring, bytes, 0)
#define SUBMIT(record) bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP)
#define COPY_STRING(to, size, from) bpf_probe_read_kernel_str(to, size, from)
#define LOOP(count, function, argument) bpf_loop(count, function, argument, 0)
#define PID_TGID() bpf_get_current_pid_tgid()
#define UID_GID() bpf_get_current_uid_gid()
#define PROCESSOR() bpf_get_smp_processor_id()
#define TASK() bpf_get_current_task()
#define BODY(name, operations)                                                                     \
    static __always_inline u32 do_##name(struct run* run);                                         \
    SEC("syscall") int name(struct run* run) {                                                     \
        u64 began = bpf_ktime_get_ns();                                                            \
        u32 done = do_##name(run);                                                                 \
        run->ns = bpf_ktime_get_ns() - began;                                                      \
        run->done = done;                                                                          \
        return 0;                                                                                  \
    }                                                                                              \
    static __always_inline u32 do_##name(struct run* run)

#include "bodies.h"

// ---- Of the type of perf events here, a raw tracepoint in the kernel ----------------------------

SEC("perf_event") int stack_walks(void* context) {
    u32 key = 0;
    u32 failed = 0;
    u64 frames[16];
    struct times* value = bpf_map_lookup_elem(&times, &key);
    if (!value) {
        return 0;
    }
    value->began = bpf_ktime_get_ns();
    ROUNDS(100) {
        failed += bpf_get_stack(context, frames, sizeof frames, BPF_F_USER_STACK) != sizeof frames;
    }
    value->ns = bpf_ktime_get_ns() - value->began;
    value->failed = failed;
    return 0;
}

SEC("perf_event") int tail_calls(void* context) {
    u32 key = 0;
    struct times* value = bpf_map_lookup_elem(&times, &key);
    if (value) {
        value->began = bpf_ktime_get_ns();
        bpf_tail_call(context, &programs, 0);
    }
    return 0;
}

/// Calls itself until there have been as many as there may be.
SEC("perf_event") int called(void* context) {
    bpf_tail_call(context, &programs, 0);
    u32 key = 0;
    struct times* value = bpf_map_lookup_elem(&times, &key);
    if (value) {
        value->ns = bpf_ktime_get_ns() - value->began;
    }
    return 0;
}
