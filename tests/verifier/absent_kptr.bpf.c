// SPDX-License-Identifier: Apache-2.0
//
// Pointers to kernel objects in map values (kptr), which taskwork does not have: the map is
// refused, also when the library asks for it without types.
#include "verifier.bpf.h"

#define KPTR __attribute__((btf_type_tag("kptr")))

struct element {
    struct task_struct KPTR* task;
};
ARRAY_OF(elements, 1, struct element);

#define ABSENT                                                                                     \
    REJECTED("map 'elements': values with a kptr are not supported")                               \
    KERNEL_ACCEPTS("it has "                                                                       \
                   "kptrs")
#define WITHOUT_ACCESS(phrase)                                                                     \
    REJECTED("map 'elements': values with a kptr are not supported")                               \
    KERNEL_SAYS(phrase, "it has kptrs")
#define ELEMENT_OF(elements)                                                                       \
    __u32 key = 0;                                                                                 \
    struct element* element = bpf_map_lookup_elem(&elements, &key);                                \
    if (!element) {                                                                                \
        return 0;                                                                                  \
    }

ABSENT
SEC("?syscall")
int kptr_exchanged(void* context) {
    ELEMENT_OF(elements)
    struct task_struct* old = bpf_kptr_xchg(&element->task, NULL);
    if (old) {
        bpf_task_release(old);
    }
    return 0;
}

ABSENT
SEC("?perf_event")
int kptr_looked_up(void* context) {
    ELEMENT_OF(elements)
    return element->task != NULL;
}

WITHOUT_ACCESS("store to referenced kptr disallowed")
SEC("?perf_event")
int number_as_a_kptr(void* context) {
    ELEMENT_OF(elements)
    *(volatile __u64*)&element->task = 1234;
    return 0;
}

WITHOUT_ACCESS("store to referenced kptr disallowed")
SEC("?perf_event")
int task_as_a_kptr(void* context) {
    ELEMENT_OF(elements)
    element->task = (struct task_struct*)bpf_get_current_task_btf();
    return 0;
}

WITHOUT_ACCESS("kptr access size must be BPF_DW")
SEC("?perf_event")
int half_of_a_kptr(void* context) {
    ELEMENT_OF(elements)
    return *(volatile int*)&element->task;
}
