// SPDX-License-Identifier: Apache-2.0
//
// Records of ring buffers: reserved, checked, filled within their size, given back exactly once.
#include "verifier.bpf.h"

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} ring SEC(".maps");
ARRAY_OF(array, 1, struct words);

#define TRY_TO_RESERVE "r1 = %[ring] ll; r2 = 16; r3 = 0; call %[ringbuf_reserve]; r6 = r0; "
#define RESERVE TRY_TO_RESERVE "if r0 == 0 goto out_%=; "
#define SUBMIT "r1 = r6; r2 = 0; call %[ringbuf_submit]; "
#define RESERVES HELPER(ringbuf_reserve), MAP(ring)
#define BOTH RESERVES, HELPER(ringbuf_submit)

ACCEPTED
PROGRAM(submitted, "perf_event", RESERVE "r1 = 0; *(u64*)(r6 + 8) = r1; " SUBMIT OUT, BOTH)

ACCEPTED
PROGRAM(discarded, "perf_event", RESERVE "r1 = r6; r2 = 0; call %[ringbuf_discard]; " OUT, RESERVES,
        HELPER(ringbuf_discard))

ACCEPTED
PROGRAM(read_back, "perf_event",
        RESERVE "r1 = 1; *(u64*)(r6 + 0) = r1; r7 = *(u64*)(r6 + 0); " SUBMIT OUT, BOTH)

REJECTED("Unreleased reference id=")
PROGRAM(kept, "perf_event", RESERVE OUT, RESERVES)

REJECTED("Unreleased reference id=")
PROGRAM(not_even_checked, "perf_event", TRY_TO_RESERVE "r0 = 0; exit;", RESERVES)

REJECTED("Unreleased reference id=")
PROGRAM(kept_on_one_path, "perf_event",
        "r7 = *(u64*)(r1 + 168); " RESERVE "if r7 == 1 goto out_%=; " SUBMIT OUT, BOTH)

REJECTED("R6 invalid mem access 'ringbuf_mem_or_null'")
PROGRAM(record_not_checked, "perf_event",
        TRY_TO_RESERVE "r1 = 0; *(u64*)(r6 + 0) = r1; " SUBMIT "r0 = 0; exit;", BOTH)

REJECTED("R1 type=ringbuf_mem_or_null expected=ringbuf_mem")
PROGRAM(submitted_unchecked, "perf_event", TRY_TO_RESERVE SUBMIT "r0 = 0; exit;", BOTH)

REJECTED("R1 type=scalar expected=ringbuf_mem")
PROGRAM(submitted_twice, "perf_event", RESERVE SUBMIT SUBMIT OUT, BOTH)

REJECTED("R6 invalid mem access 'scalar'")
PROGRAM(used_behind_submit, "perf_event", RESERVE SUBMIT "r1 = *(u64*)(r6 + 0); " OUT, BOTH)

REJECTED("invalid access to memory, mem_size=16 off=16 size=8")
PROGRAM(behind_the_record, "perf_event", RESERVE "r1 = 0; *(u64*)(r6 + 16) = r1; " SUBMIT OUT, BOTH)

REJECTED("invalid access to memory, mem_size=16 off=-8 size=8")
PROGRAM(before_the_record, "perf_event", RESERVE "r1 = 0; *(u64*)(r6 - 8) = r1; " SUBMIT OUT, BOTH)

REJECTED("R1 must have zero offset when passed to release func or trusted arg to kfunc")
PROGRAM(middle_of_a_record_submitted, "perf_event", RESERVE "r6 += 8; " SUBMIT OUT, BOTH)

REJECTED("R1 type=fp expected=ringbuf_mem")
PROGRAM(stack_submitted, "perf_event", "r6 = r10; r6 += -8; " SUBMIT "r0 = 0; exit;",
        HELPER(ringbuf_submit))

REJECTED("R1 type=map_value expected=ringbuf_mem")
PROGRAM(value_submitted, "perf_event", ELEMENT(array) "r6 = r0; " SUBMIT OUT, LOOKS_UP(array),
        HELPER(ringbuf_submit))

REJECTED("cannot pass map_type 2 into func bpf_ringbuf_reserve#131")
PROGRAM(record_of_an_array, "perf_event",
        "r1 = %[array] ll; r2 = 16; r3 = 0; call %[ringbuf_reserve]; r0 = 0; exit;",
        HELPER(ringbuf_reserve), MAP(array))

ACCEPTED
PROGRAM(two_records, "perf_event",
        RESERVE "r7 = r6; " TRY_TO_RESERVE "if r0 == 0 goto one_%=; " SUBMIT
                "one_%=: r6 = r7; " SUBMIT OUT,
        BOTH)

REJECTED("Unreleased reference id=")
PROGRAM(one_of_two_kept, "perf_event",
        RESERVE "r7 = r6; " TRY_TO_RESERVE "if r0 == 0 goto one_%=; "
                "one_%=: r6 = r7; " SUBMIT OUT,
        BOTH)

ACCEPTED
PROGRAM(record_filled_by_a_helper, "perf_event",
        RESERVE "r1 = r6; r2 = 16; call %[get_current_comm]; " SUBMIT OUT, BOTH,
        HELPER(get_current_comm))

REJECTED("invalid access to memory, mem_size=16 off=0 size=17")
PROGRAM(record_overfilled_by_a_helper, "perf_event",
        RESERVE "r1 = r6; r2 = 17; call %[get_current_comm]; " SUBMIT OUT, BOTH,
        HELPER(get_current_comm))

ACCEPTED
PROGRAM(record_on_the_stack, "perf_event",
        RESERVE "*(u64*)(r10 - 8) = r6; r6 = *(u64*)(r10 - 8); " SUBMIT OUT, BOTH)

ACCEPTED
PROGRAM(output_of_a_copy, "perf_event",
        "r1 = 0; *(u64*)(r10 - 8) = r1; r1 = %[ring] ll; r2 = r10; r2 += -8; r3 = 8; r4 = 0; "
        "call %[ringbuf_output]; exit;",
        HELPER(ringbuf_output), MAP(ring))

ACCEPTED
PROGRAM(output_of_a_record, "perf_event",
        RESERVE "r1 = %[ring] ll; r2 = r6; r3 = 16; r4 = 0; call %[ringbuf_output]; " SUBMIT OUT,
        BOTH, HELPER(ringbuf_output))
