// SPDX-License-Identifier: Apache-2.0
//
// Lists in map values, which taskwork does not have: the map is refused.
#include "verifier.bpf.h"

struct bpf_list_head {
    __u64 : 64;
    __u64 : 64;
} __attribute__((aligned(8)));
struct bpf_list_node {
    __u64 : 64;
    __u64 : 64;
    __u64 : 64;
} __attribute__((aligned(8)));
struct node {
    struct bpf_list_node node;
    int number;
};
struct list {
    struct bpf_spin_lock lock;
    struct bpf_list_head head __attribute__((btf_decl_tag("contains:node:node")));
};
ARRAY_OF(lists, 1, struct list);
struct node* keeps_the_type;

REJECTED("map 'lists': values with a bpf_list_head are not supported")
KERNEL_SAYS("bpf_list_head cannot be accessed directly by load/store", "it has lists")
SEC("?syscall")
int number_as_a_list(void* context) {
    __u32 key = 0;
    struct list* list = bpf_map_lookup_elem(&lists, &key);
    if (list) {
        *(volatile __u64*)&list->head = 7;
    }
    return 0;
}
