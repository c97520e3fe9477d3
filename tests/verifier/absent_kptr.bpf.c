// SPDX-License-Identifier: Apache-2.0
//
// Pointers to kernel objects in map values (kptr), which taskwork does not have.
#include "verifier.bpf.h"

#define KPTR __attribute__((btf_type_tag("kptr")))

struct element {
    struct task_struct KPTR* task;
};
ARRAY_OF(elements, 1, struct element);

REJECTED("unknown func bpf_kptr_xchg#194")
KERNEL_ACCEPTS("it has kptrs")
SEC("?syscall")
int kptr_exchanged(void* context) {
    __u32 key = 0;
    struct element* element = bpf_map_lookup_elem(&elements, &key);
    if (!element) {
        return 0;
    }
    struct task_struct* old = bpf_kptr_xchg(&element->task, NULL);
    if (old) {
        bpf_task_release(old);
    }
    return 0;
}
