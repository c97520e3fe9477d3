// SPDX-License-Identifier: Apache-2.0
//
// Slots that are none, K81, two in one value, K80, in a map that has none, beside a pointer with a
// tag; and one in a value whose type has another name.
#include "verifier.bpf.h"

struct two {
    struct bpf_task_work first;
    struct bpf_task_work second;
};
ARRAY_OF(twos, 1, struct two);

static int later(struct bpf_map* map, void* key, void* value) { return 0; }

REJECTED("map 'twos' has no valid bpf_task_work")
SEC("?perf_event")
int K81_two_slots(void* context) {
    __u32 key = 0;
    struct two* two = bpf_map_lookup_elem(&twos, &key);
    if (!two) {
        return 0;
    }
    return taskwork_schedule_signal((struct task_struct*)bpf_get_current_task_btf(), &two->first,
                                    &twos, later);
}

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct words);
} counters SEC(".maps");

REJECTED("map 'counters' has no valid bpf_task_work")
SEC("?perf_event")
int K80_value_of_a_processor(void* context) {
    __u32 key = 0;
    struct bpf_task_work* slot = bpf_map_lookup_elem(&counters, &key);
    if (!slot) {
        return 0;
    }
    return taskwork_schedule_signal((struct task_struct*)bpf_get_current_task_btf(), slot,
                                    &counters, later);
}

typedef const struct {
    __u64 word;
    struct bpf_task_work work;
} named_t;
typedef named_t renamed_t;
HASH_OF(renamed, 1, renamed_t);

ACCEPTED
SEC("?perf_event")
int K80_value_by_another_name(void* context) {
    __u32 key = 0;
    renamed_t* value = bpf_map_lookup_elem(&renamed, &key);
    if (!value) {
        return 0;
    }
    return taskwork_schedule_signal((struct task_struct*)bpf_get_current_task_btf(),
                                    (struct bpf_task_work*)&value->work, &renamed, later);
}

REJECTED("bpf_task_work cannot be accessed directly by load/store")
SEC("?perf_event")
int K110_slot_of_a_value_by_another_name(void* context) {
    __u32 key = 0;
    renamed_t* value = bpf_map_lookup_elem(&renamed, &key);
    return value ? *(volatile int*)&value->work : 0;
}

struct beside_a_tag {
    struct bpf_task_work work;
    int __attribute__((btf_type_tag("user"))) * pointer;
};
ARRAY_OF(tagged, 1, struct beside_a_tag);

REJECTED("map 'tagged' has no valid bpf_task_work")
SEC("?perf_event")
int K81_slot_beside_a_tagged_pointer(void* context) {
    __u32 key = 0;
    struct beside_a_tag* value = bpf_map_lookup_elem(&tagged, &key);
    if (!value) {
        return 0;
    }
    return taskwork_schedule_signal((struct task_struct*)bpf_get_current_task_btf(), &value->work,
                                    &tagged, later);
}
