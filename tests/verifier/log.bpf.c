// SPDX-License-Identifier: Apache-2.0
//
// Programs whose whole log is held against the kernel's, line by line (kernel_test.cpp): what is
// printed of numbers, pointers, the stack, branches, calls and callbacks.
#include "verifier.bpf.h"

ARRAY_OF(array, 1, struct words);
HASH_OF(hash, 8, struct words);
struct slot {
    struct bpf_task_work work;
    __u64 word;
};
ARRAY_OF(slots, 1, struct slot);
struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} ring SEC(".maps");

ACCEPTED
PROGRAM(log_numbers, "perf_event",
        ELEMENT(array) "r6 = *(u64*)(r0 + 0); r7 = *(u8*)(r0 + 8); r8 = *(u16*)(r0 + 16); "
                       "r9 = *(u32*)(r0 + 24); r1 = r6; r1 += 1; r2 = *(s8*)(r0 + 8); "
                       "w3 = w6; r4 = 70000; r5 = -70000; r6 &= 255; r7 <<= 2; r8 |= 1; "
                       "w9 s>>= 3; r3 *= 5; r2 += 100000; " OUT,
        LOOKS_UP(array))

ACCEPTED
PROGRAM(
    log_branches, "perf_event",
    ELEMENT(
        array) "r6 = *(u64*)(r0 + 0); r7 = r6; r7 += 1; if r6 > 10 goto out_%=; "
               "r7 <<= 1; r8 = *(u64*)(r0 + 8); if r8 s< -5 goto out_%=; if w8 s> 7 goto out_%=; "
               "r9 = *(u32*)(r0 + 16); if w9 < 3 goto out_%=; if r9 == r8 goto out_%=; " OUT,
    LOOKS_UP(array))

ACCEPTED
PROGRAM(log_stack, "perf_event",
        "r6 = r1; *(u64*)(r10 - 8) = r6; *(u32*)(r10 - 16) = 7; *(u64*)(r10 - 24) = 0; "
        "r2 = 5; *(u64*)(r10 - 32) = r2; *(u32*)(r10 - 40) = r2; *(u8*)(r10 - 48) = r2; "
        "r3 = *(u64*)(r10 - 8); r4 = *(u64*)(r10 - 32); r5 = *(u32*)(r10 - 40); "
        "r7 = *(u64*)(r10 - 24); r8 = r10; r8 += -16; r9 = *(u32*)(r8 + 0); r0 = 0; exit;")

FUNCTION(static, log_function, "*(u64*)(r10 - 8) = r1; r0 = *(u32*)(r1 + 0); r2 = r10; exit;")
ACCEPTED
PROGRAM(log_call, "perf_event",
        "r6 = 1; *(u32*)(r10 - 4) = r6; r1 = r10; r1 += -4; call log_function; r0 = 0; exit;")

FUNCTION(static, log_round, "r0 = r1; r0 &= 1; exit;")
ACCEPTED
PROGRAM(log_callback, "perf_event",
        "r1 = 3; r2 = %[log_round] ll; r3 = 0; r4 = 0; call %[loop]; r0 = 0; exit;",
        HELPER(loop), [log_round] "i"(log_round))

ACCEPTED
PROGRAM(log_precise, "perf_event",
        ELEMENT(array) "r6 = *(u64*)(r0 + 0); r7 = r6; r7 &= 7; *(u64*)(r10 - 16) = r7; "
                       "r8 = *(u64*)(r10 - 16); r0 += r8; r1 = *(u8*)(r0 + 8); " OUT,
        LOOKS_UP(array))

ACCEPTED
PROGRAM(log_record, "perf_event",
        "r1 = %[ring] ll; r2 = 16; r3 = 0; call %[ringbuf_reserve]; if r0 == 0 goto out_%=; "
        "r6 = r0; r1 = 7; *(u64*)(r6 + 8) = r1; r1 = r6; r2 = 0; call %[ringbuf_submit]; " OUT,
        MAP(ring), HELPER(ringbuf_reserve), HELPER(ringbuf_submit))

__attribute__((noinline)) int log_global_function(int number) { return number & 3; }
ACCEPTED
SEC("?perf_event")
int log_global(void* context) { return log_global_function(5); }

FUNCTION(static, log_later, "r0 = *(u64*)(r3 + 8); if r0 s> 3 goto +0; r0 = 1; exit;")
ACCEPTED
SEC("?perf_event")
int log_scheduled(void* context) {
    __u32 key = 0;
    struct slot* slot = bpf_map_lookup_elem(&slots, &key);
    return slot
               ? bpf_task_work_schedule_signal_impl((struct task_struct*)bpf_get_current_task_btf(),
                                                    &slot->work, &slots,
                                                    (taskwork_callback_t)log_later, NULL)
               : 0;
}

REJECTED("R0 invalid mem access 'map_value_or_null'")
PROGRAM(
    log_rejected, "perf_event",
    "r6 = *(u64*)(r1 + 0); r1 = 0; *(u32*)(r10 - 4) = r1; r2 = r10; r2 += -4; "
    "r1 = %[hash] ll; call %[map_lookup_elem]; if r6 == 7 goto out_%=; r6 = *(u64*)(r0 + 0);" OUT,
    LOOKS_UP(hash))
