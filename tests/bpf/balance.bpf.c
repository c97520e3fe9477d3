// SPDX-License-Identifier: Apache-2.0
//
// Everything at once, for stress: from nmi, schedules in both modes, updates and deletes elements
// that may have work in flight, outputs records; callbacks read user memory, delete and schedule in
// their turn. Slots come from a hash map with and one without preallocation, and from an array.
// Reads no input. Counters (`.data.counters`) hold with the host's own:
//     scheduled >= ran; scheduled = ran + cancelled + dropped

#include "check.bpf.h"

#define KEYS 128

struct value {
    struct bpf_task_work work;
    __u64 number;
    char text[32];
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, KEYS);
    __type(key, __u32);
    __type(value, struct value);
} on_demand SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, KEYS);
    __type(key, __u32);
    __type(value, struct value);
} preallocated SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, KEYS);
    __type(key, __u32);
    __type(value, struct value);
} array SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 65536);
} ring SEC(".maps");

struct {
    __u64 events;
    __u64 scheduled;
    __u64 busy;
    __u64 no_memory;
    __u64 stale;  // deleted by another thread since it was looked up (taskwork only, K96)
    __u64 ended;  // onto itself, by a thread past its last run point (K15)
    __u64 other_errors;
    __u64 ran;
    __u64 updates;
    __u64 deletes;
    __u64 copied;
    __u64 copy_errors;
    __u64 records;
    __u64 records_lost;
} counters SEC(".data.counters");

#define COUNT(name) __sync_fetch_and_add(&counters.name, 1)

static __always_inline void count_schedule(int error) {
    if (error == 0) {
        COUNT(scheduled);
    } else if (error == -EBUSY) {
        COUNT(busy);
    } else if (error == -12) {
        COUNT(no_memory);
    } else if (error == -2) {
        COUNT(stale);
    } else if (error == -3) {
        COUNT(ended);
    } else {
        COUNT(other_errors);
    }
}

static __always_inline void output(__u64 number) {
    if (bpf_ringbuf_output(&ring, &number, sizeof(number), 0) == 0) {
        COUNT(records);
    } else {
        COUNT(records_lost);
    }
}

static __always_inline void work_on(struct value* value) {
    struct mm_struct* mm = bpf_get_current_task_btf()->mm;
    long size = bpf_copy_from_user_str(value->text, sizeof(value->text), (void*)mm->arg_start, 0);
    if (size > 0) {
        COUNT(copied);
    } else {
        COUNT(copy_errors);
    }
    value->number += 1;
    COUNT(ran);
}

static int ran_array(struct bpf_map* map, void* key, void* data) {
    work_on(data);
    output(*(__u32*)key);
    return 0;
}

/// Deletes its own element now and then.
static int ran_on_demand(struct bpf_map* map, void* key, void* data) {
    __u32 own = *(__u32*)key;
    work_on(data);
    if (bpf_get_prandom_u32() % 8 == 0 && bpf_map_delete_elem(&on_demand, &own) == 0) {
        COUNT(deletes);
    }
    return 0;
}

/// Schedules an array slot, now and then.
static int ran_preallocated(struct bpf_map* map, void* key, void* data) {
    __u32 other = bpf_get_prandom_u32() % KEYS;
    work_on(data);
    if (other % 8 == 0) {
        struct value* value = bpf_map_lookup_elem(&array, &other);
        if (value) {
            count_schedule(taskwork_schedule_resume(bpf_get_current_task_btf(), &value->work,
                                                    &array, ran_array));
        }
    }
    return 0;
}

static const struct value empty;

#define EVENT_ON(map, callback)                                                                    \
    do {                                                                                           \
        struct value* value_ = bpf_map_lookup_elem(&(map), &key);                                  \
        if (!value_) {                                                                             \
            COUNT(updates);                                                                        \
            bpf_map_update_elem(&(map), &key, &empty, BPF_NOEXIST);                                \
            value_ = bpf_map_lookup_elem(&(map), &key);                                            \
        }                                                                                          \
        if (value_) {                                                                              \
            count_schedule(                                                                        \
                draw & 0x100 ? taskwork_schedule_signal(task, &value_->work, &(map), (callback))   \
                             : taskwork_schedule_resume(task, &value_->work, &(map), (callback))); \
        }                                                                                          \
    } while (0)

SEC("perf_event")
int in_nmi(struct bpf_perf_event_data* event) {
    struct task_struct* task = bpf_get_current_task_btf();
    __u32 draw = bpf_get_prandom_u32();
    __u32 key = draw % KEYS;
    __u32 other = (draw >> 16) % KEYS;

    COUNT(events);
    EVENT_ON(on_demand, ran_on_demand);
    EVENT_ON(preallocated, ran_preallocated);
    EVENT_ON(array, ran_array);
    // Cancel what may be in flight: by a delete, by an update of a hash's and of an array's
    // element.
    if (draw & 0x200) {
        if (bpf_map_delete_elem(&on_demand, &other) == 0) {
            COUNT(deletes);
        }
    } else if (draw & 0x400) {
        if (bpf_map_update_elem(&preallocated, &other, &empty, BPF_ANY) == 0) {
            COUNT(updates);
        }
    } else if (draw & 0x800) {
        if (bpf_map_update_elem(&array, &other, &empty, BPF_ANY) == 0) {
            COUNT(updates);
        }
    }
    output(key);
    return 0;
}
