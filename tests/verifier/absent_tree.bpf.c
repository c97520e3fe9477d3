// SPDX-License-Identifier: Apache-2.0
//
// Trees in the program's own data, which taskwork does not have: the map of the data is refused.
#include "verifier.bpf.h"

struct bpf_rb_root {
    __u64 : 64;
    __u64 : 64;
} __attribute__((aligned(8)));
struct bpf_rb_node {
    __u64 : 64;
    __u64 : 64;
    __u64 : 64;
    __u64 : 64;
} __attribute__((aligned(8)));
struct node {
    struct bpf_rb_node node;
    int number;
};
struct node* keeps_the_type;
struct bpf_spin_lock lock SEC(".bss.tree");
struct bpf_rb_root root SEC(".bss.tree") __attribute__((btf_decl_tag("contains:node:node")));

REJECTED(".bss.tree': values with a bpf_rb_root are not supported")
KERNEL_SAYS("bpf_rb_root cannot be accessed directly by load/store", "it has trees")
SEC("?syscall")
int number_as_a_tree(void* context) {
    *(volatile __u64*)&root = 7;
    return 0;
}
