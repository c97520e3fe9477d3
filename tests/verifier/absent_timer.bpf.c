// SPDX-License-Identifier: Apache-2.0
//
// Timers, which taskwork does not have yet.
#include "verifier.bpf.h"

struct element {
    struct bpf_timer timer;
};
ARRAY_OF(timers, 1, struct element);

static int fired(void* map, int* key, struct bpf_timer* timer) { return 0; }

REJECTED("unknown func bpf_timer_")
KERNEL_ACCEPTS("it has timers")
SEC("?syscall")
int timer(void* context) {
    __u32 key = 0;
    struct element* element = bpf_map_lookup_elem(&timers, &key);
    if (!element) {
        return 0;
    }
    bpf_timer_init(&element->timer, &timers, 1);
    bpf_timer_set_callback(&element->timer, fired);
    return (int)bpf_timer_start(&element->timer, 1000000000, 0);
}
