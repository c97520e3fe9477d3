// SPDX-License-Identifier: Apache-2.0
//
// Limits of the walk, and callbacks that it has no room for.
#include "verifier.bpf.h"

struct slot {
    struct bpf_task_work work;
    __u64 word;
};
ARRAY_OF(slots, 1, struct slot);

static int callback(struct bpf_map* map, void* key, void* value) { return 0; }

/// The other way of each of `count` branches waits.
#define SCHEDULE_BEHIND(count)                                                                     \
    __u32 key = 0;                                                                                 \
    struct slot* slot = bpf_map_lookup_elem(&slots, &key);                                         \
    if (!slot) {                                                                                   \
        return 0;                                                                                  \
    }                                                                                              \
    asm volatile(".rept " #count "; if %[word] == 5 goto +0; .endr" ::[word] "r"(slot->word));     \
    return taskwork_schedule_signal((struct task_struct*)bpf_get_current_task_btf(), &slot->work,  \
                                    &slots, callback);

ACCEPTED
SEC("?perf_event")
int callback_as_the_8192th_that_waits(void* context){SCHEDULE_BEHIND(8191)}

REJECTED("The sequence of 8193 jumps is too complex for async cb.")
    SEC("?perf_event") int callback_as_one_too_many(void* context){SCHEDULE_BEHIND(8192)}

REJECTED("failed callback verification")
    SEC("?perf_event") int callback_that_could_not_be_verified(void* context) {
    SCHEDULE_BEHIND(8192)
}
