// SPDX-License-Identifier: Apache-2.0
//
// Programs that do not declare themselves compatible with the GPL.
#define TW_LICENSE "Apache-2.0"
#include "verifier.bpf.h"

struct slot {
    struct bpf_task_work work;
};
ARRAY_OF(slots, 1, struct slot);

ACCEPTED
PROGRAM(helper_for_everybody, "perf_event", "call %[ktime_get_ns]; exit;", HELPER(ktime_get_ns))

REJECTED("cannot call GPL-restricted function from non-GPL compatible program")
PROGRAM(helper_for_the_gpl, "perf_event", "call %[get_current_task]; r0 = 0; exit;",
        HELPER(get_current_task))

static int later(struct bpf_map* map, void* key, void* value) { return 0; }

REJECTED("cannot call kernel function from non-GPL compatible program")
SEC("?perf_event")
int schedule(void* context) {
    __u32 key = 0;
    struct slot* slot = bpf_map_lookup_elem(&slots, &key);
    if (!slot) {
        return 0;
    }
    return taskwork_schedule_signal((struct task_struct*)slot, &slot->work, &slots, later);
}
