// SPDX-License-Identifier: Apache-2.0
//
// Values with special fields that programs do not use: a timer, a work queue. What lies beside them
// is theirs, the fields are not.
#include "verifier.bpf.h"

struct timer_value {
    __u64 count;
    struct bpf_timer timer;
    __u64 more;
};
struct workqueue_value {
    struct bpf_wq workqueue;
    __u64 count;
};
ARRAY_OF(timers, 1, struct timer_value);
ARRAY_OF(workqueues, 1, struct workqueue_value);

ACCEPTED
PROGRAM(beside_a_timer, "syscall",
        ELEMENT(timers) "r1 = *(u64*)(r0 + 0); *(u64*)(r0 + 24) = r1; " OUT, LOOKS_UP(timers))

ACCEPTED
PROGRAM(behind_a_workqueue, "syscall",
        ELEMENT(workqueues) "r1 = 1; lock *(u64*)(r0 + 16) += r1; " OUT, LOOKS_UP(workqueues))

REJECTED("bpf_timer cannot be accessed directly by load/store")
PROGRAM(timer_read, "syscall", ELEMENT(timers) "r1 = *(u64*)(r0 + 8); " OUT, LOOKS_UP(timers))

REJECTED("bpf_timer cannot be accessed directly by load/store")
PROGRAM(end_of_a_timer_written, "syscall", ELEMENT(timers) "r1 = 0; *(u8*)(r0 + 23) = r1; " OUT,
        LOOKS_UP(timers))

REJECTED("bpf_timer cannot be accessed directly by load/store")
PROGRAM(timer_filled_by_a_helper, "syscall",
        ELEMENT(timers) "r1 = r0; r2 = 9; call %[get_current_comm]; " OUT, LOOKS_UP(timers),
        HELPER(get_current_comm))

REJECTED("bpf_wq cannot be accessed directly by load/store")
PROGRAM(workqueue_read, "syscall", ELEMENT(workqueues) "r1 = *(u32*)(r0 + 0); " OUT,
        LOOKS_UP(workqueues))

REJECTED("bpf_wq cannot be accessed directly by load/store")
PROGRAM(workqueue_changed_by_an_atomic, "syscall",
        ELEMENT(workqueues) "r1 = 1; lock *(u64*)(r0 + 8) += r1; " OUT, LOOKS_UP(workqueues))

REJECTED("tracing progs cannot use bpf_timer yet")
PROGRAM(timer_in_an_event, "perf_event", ELEMENT(timers) OUT, LOOKS_UP(timers))

REJECTED("tracing progs cannot use bpf_wq yet")
PROGRAM(workqueue_in_an_event, "perf_event", ELEMENT(workqueues) OUT, LOOKS_UP(workqueues))
