// SPDX-License-Identifier: Apache-2.0
//
// The kernel's maps for the benchmark to hold beside ours: each program does `times` operations,
// one after the other, and says how long they took together.
#include <taskwork/bpf/task_work.bpf.h>

// Offered under GPL-2.0 as well, as the other objects are.
char LICENSE[] SEC("license") = "GPL";

// The benchmark sets max_entries of both.
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1);
    __type(key, __u64);
    __type(value, __u64);
} hash SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 1);
    __type(key, __u64);
    __type(value, __u64);
} lru SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1 << 20);
} ring SEC(".maps");

// Read and written by the benchmark through the memory of this section.
volatile struct {
    __u64 first;  ///< The keys are first .. first + count - 1.
    __u64 count;
    __u64 stride;  ///< From a key to the next, modulo count.
    __u64 at;      ///< The next key, less first.
    __u32 times;
    __u32 done;  ///< Operations that did what they were to.
    __u64 ns;    ///< Of all of them.
} shared SEC(".data.shared");

struct walk {
    __u64 at;
    __u64 first;
    __u64 count;
    __u64 stride;
    __u32 done;
};

static __always_inline __u64 next(struct walk* walk) {
    __u64 at = walk->at + walk->stride;
    walk->at = at < walk->count ? at : at - walk->count;
    return walk->first + walk->at;
}

static long nothing(__u32 i, struct walk* walk) {
    walk->done += next(walk) != 0;
    return 0;
}
static long look_up(__u32 i, struct walk* walk) {
    __u64 key = next(walk);
    walk->done += bpf_map_lookup_elem(&hash, &key) != NULL;
    return 0;
}
static long update(__u32 i, struct walk* walk) {
    __u64 key = next(walk);
    walk->done += bpf_map_update_elem(&hash, &key, &key, BPF_ANY) == 0;
    return 0;
}
static long erase(__u32 i, struct walk* walk) {
    __u64 key = next(walk);
    walk->done += bpf_map_delete_elem(&hash, &key) == 0;
    return 0;
}
static long update_lru(__u32 i, struct walk* walk) {
    __u64 key = next(walk);
    walk->done += bpf_map_update_elem(&lru, &key, &key, BPF_ANY) == 0;
    return 0;
}
static __always_inline long reserve(struct walk* walk, __u64 bytes) {
    __u64* record = bpf_ringbuf_reserve(&ring, bytes, 0);
    if (!record) {
        return 0;
    }
    *record = next(walk);
    bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
    walk->done += 1;
    return 0;
}
static long reserve_small(__u32 i, struct walk* walk) { return reserve(walk, 16); }
static long reserve_large(__u32 i, struct walk* walk) { return reserve(walk, 256); }

// A macro: bpf_loop takes a function by name.
#define PROGRAM(name, body)                                                                        \
    SEC("syscall")                                                                                 \
    int name(void* arguments) {                                                                    \
        struct walk walk = {shared.at, shared.first, shared.count, shared.stride, 0};              \
        __u32 times = shared.times;                                                                \
        __u64 begin = bpf_ktime_get_ns();                                                          \
        bpf_loop(times, body, &walk, 0);                                                           \
        shared.ns = bpf_ktime_get_ns() - begin;                                                    \
        shared.at = walk.at;                                                                       \
        shared.done = walk.done;                                                                   \
        return 0;                                                                                  \
    }

PROGRAM(run_nothing, nothing)
PROGRAM(run_look_up, look_up)
PROGRAM(run_update, update)
PROGRAM(run_erase, erase)
PROGRAM(run_update_lru, update_lru)
PROGRAM(run_reserve_small, reserve_small)
PROGRAM(run_reserve_large, reserve_large)
