// SPDX-License-Identifier: Apache-2.0
//
// User ring buffers, which taskwork does not have: the map is refused.
#include "verifier.bpf.h"

struct {
    __uint(type, BPF_MAP_TYPE_USER_RINGBUF);
    __uint(max_entries, 4096);
} commands SEC(".maps");

static long on_command(struct bpf_dynptr* dynptr, void* data) { return 0; }

REJECTED("map 'commands' (user_ringbuf): this type of map is not supported")
KERNEL_ACCEPTS("it has user ring buffers")
SEC("?syscall")
int drained(void* context) { return (int)bpf_user_ringbuf_drain(&commands, on_command, NULL, 0); }
