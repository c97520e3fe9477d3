// SPDX-License-Identifier: Apache-2.0
//
// What taskwork does not have is refused by name. The kernel, which has it, accepts.
#include "verifier.bpf.h"

#define ABSENT(phrase)                                                                             \
    REJECTED(phrase)                                                                               \
    KERNEL_ACCEPTS("it has what taskwork does not")

ARRAY_OF(array, 1, struct words);

ABSENT("unknown func bpf_dynptr_from_mem#197")
SEC("?perf_event")
int dynptr_of_memory(void* context) {
    __u32 key = 0;
    struct bpf_dynptr pointer;
    void* value = bpf_map_lookup_elem(&array, &key);
    return value ? (int)bpf_dynptr_from_mem(value, 8, 0, &pointer) : 0;
}

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} ring SEC(".maps");

ABSENT("unknown func bpf_ringbuf_reserve_dynptr#198")
SEC("?perf_event")
int dynptr_of_a_record(void* context) {
    struct bpf_dynptr pointer;
    bpf_ringbuf_reserve_dynptr(&ring, 8, 0, &pointer);
    bpf_ringbuf_discard_dynptr(&pointer, 0);
    return 0;
}

ABSENT("unknown func bpf_send_signal#109")
PROGRAM(signal, "perf_event", "r1 = 10; call %[send_signal]; exit;", HELPER(send_signal))

ABSENT("unknown func bpf_perf_prog_read_value#56")
PROGRAM(values_of_the_event, "perf_event",
        "r2 = r10; r2 += -24; r3 = 24; call %[perf_prog_read_value]; exit;",
        HELPER(perf_prog_read_value))

ABSENT("BPF_PROG_TYPE_RAW_TRACEPOINT is not available")
PROGRAM(raw_tracepoint, "raw_tp/sys_enter", "r0 = 0; exit;")

ABSENT("BPF_PROG_TYPE_TRACEPOINT is not available")
PROGRAM(tracepoint, "tracepoint/syscalls/sys_enter_getpid", "r0 = 0; exit;")

ABSENT("BPF_PROG_TYPE_KPROBE is not available")
PROGRAM(kprobe, "kprobe/do_nanosleep", "r0 = 0; exit;")

ABSENT("BPF_PROG_TYPE_XDP is not available")
PROGRAM(xdp, "xdp", "r0 = 0; exit;")

ABSENT("BPF_PROG_TYPE_SOCKET_FILTER is not available")
PROGRAM(socket_filter, "socket", "r0 = 0; exit;")
