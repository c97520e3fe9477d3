// SPDX-License-Identifier: Apache-2.0
//
// The kernel's maps for the benchmark to hold beside ours: each program does `times` operations,
// one after the other, and says how long they took together. It has the number of its lane from
// the context, so that several threads may run it at the same time.
#include <taskwork/bpf/task_work.bpf.h>

// Offered under GPL-2.0 as well, as the other objects are.
char LICENSE[] SEC("license") = "GPL";

#define ENTRIES 1000

// The benchmark sets max_entries.
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1);
    __type(key, __u64);
    __type(value, __u64);
} hash SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, ENTRIES);
    __type(key, __u64);
    __type(value, __u64);
} lru SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_HASH);
    __uint(max_entries, ENTRIES);
    __type(key, __u64);
    __type(value, __u64);
} per_cpu_hash SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, ENTRIES);
    __type(key, __u32);
    __type(value, __u64);
} array SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, ENTRIES);
    __type(key, __u32);
    __type(value, __u64);
} per_cpu_array SEC(".maps");

// As PrefixKey of kinds.hpp.
struct prefix {
    __u32 bits;
    __u32 address;
};
struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(max_entries, ENTRIES);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, struct prefix);
    __type(value, __u64);
} trie SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_QUEUE);
    __uint(max_entries, ENTRIES);
    __type(value, __u64);
} queue SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_STACK);
    __uint(max_entries, ENTRIES);
    __type(value, __u64);
} stack SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
    __uint(max_entries, ENTRIES);
    __type(value, __u64);
} bloom SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1 << 20);
} ring SEC(".maps");

// Read and written by the benchmark through the memory of this section: a lane each thread.
#define LANES 4
volatile struct {
    __u64 first;  ///< The keys are first .. first + count - 1.
    __u64 count;
    __u64 stride;  ///< From a key to the next, modulo count.
    __u64 at;      ///< The next key, less first.
    __u32 times;
    __u32 done;  ///< Operations that did what they were to.
    __u64 ns;    ///< Of all of them.
} __attribute__((aligned(64))) shared[LANES] SEC(".data.shared");

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

// Bodies: functions for bpf_loop.
#define BODY(name, condition)                                                                      \
    static long name(__u32 i, struct walk* walk) {                                                 \
        __u64 key = next(walk);                                                                    \
        walk->done += (condition) ? 1 : 0;                                                         \
        return 0;                                                                                  \
    }

BODY(nothing, key != 0)
BODY(look_up, bpf_map_lookup_elem(&hash, &key))
BODY(update, !bpf_map_update_elem(&hash, &key, &key, BPF_ANY))
BODY(erase, !bpf_map_delete_elem(&hash, &key))
// Another thread may have been faster with the deletion.
BODY(erase_and_insert,
     (bpf_map_delete_elem(&hash, &key), !bpf_map_update_elem(&hash, &key, &key, BPF_ANY)))
BODY(update_lru, !bpf_map_update_elem(&lru, &key, &key, BPF_ANY))
BODY(look_up_per_cpu, bpf_map_lookup_elem(&per_cpu_hash, &key))
BODY(update_per_cpu, !bpf_map_update_elem(&per_cpu_hash, &key, &key, BPF_ANY))
// An index is the lower half of a key.
BODY(look_up_array, bpf_map_lookup_elem(&array, &key))
BODY(update_array, !bpf_map_update_elem(&array, &key, &key, BPF_ANY))
BODY(look_up_per_cpu_array, bpf_map_lookup_elem(&per_cpu_array, &key))
BODY(update_per_cpu_array, !bpf_map_update_elem(&per_cpu_array, &key, &key, BPF_ANY))
BODY(push_pop_queue, !bpf_map_push_elem(&queue, &key, BPF_ANY) && !bpf_map_pop_elem(&queue, &key))
BODY(push_pop_stack, !bpf_map_push_elem(&stack, &key, BPF_ANY) && !bpf_map_pop_elem(&stack, &key))
BODY(push_bloom, !bpf_map_push_elem(&bloom, &key, BPF_ANY))
BODY(peek_bloom, !bpf_map_peek_elem(&bloom, &key))

// As those of kinds.hpp.
static __always_inline struct prefix prefix_of(__u64 number, int is_whole) {
    struct prefix prefix;
    prefix.address = (__u32)number * 2654435761U;
    prefix.bits = is_whole ? 32 : 16 + number % 17;
    return prefix;
}
static long look_up_trie(__u32 i, struct walk* walk) {
    struct prefix prefix = prefix_of(next(walk), 1);
    walk->done += bpf_map_lookup_elem(&trie, &prefix) != NULL;
    return 0;
}
static long update_trie(__u32 i, struct walk* walk) {
    __u64 key = next(walk);
    struct prefix prefix = prefix_of(key, 0);
    walk->done += bpf_map_update_elem(&trie, &prefix, &key, BPF_ANY) == 0;
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
#define PROGRAM(type, name)                                                                        \
    SEC(type)                                                                                      \
    int run_##name(__u64* lane) {                                                                  \
        __u64 number = *lane & (LANES - 1);                                                        \
        struct walk walk = {shared[number].at, shared[number].first, shared[number].count,         \
                            shared[number].stride, 0};                                             \
        __u64 begin = bpf_ktime_get_ns();                                                          \
        bpf_loop(shared[number].times, name, &walk, 0);                                            \
        shared[number].ns = bpf_ktime_get_ns() - begin;                                            \
        shared[number].at = walk.at;                                                               \
        shared[number].done = walk.done;                                                           \
        return 0;                                                                                  \
    }

PROGRAM("syscall", nothing)
PROGRAM("syscall", look_up)
PROGRAM("syscall", update)
PROGRAM("syscall", erase)
PROGRAM("syscall", erase_and_insert)
PROGRAM("syscall", update_lru)
PROGRAM("syscall", look_up_per_cpu)
PROGRAM("syscall", update_per_cpu)
PROGRAM("syscall", look_up_array)
PROGRAM("syscall", update_array)
PROGRAM("syscall", look_up_per_cpu_array)
PROGRAM("syscall", update_per_cpu_array)
PROGRAM("syscall", push_pop_queue)
PROGRAM("syscall", push_pop_stack)
PROGRAM("syscall", reserve_small)
PROGRAM("syscall", reserve_large)
// Programs that may sleep, as the others, may not use these maps.
PROGRAM("raw_tp", look_up_trie)
PROGRAM("raw_tp", update_trie)
PROGRAM("raw_tp", push_bloom)
PROGRAM("raw_tp", peek_bloom)
