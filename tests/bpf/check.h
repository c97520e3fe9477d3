// SPDX-License-Identifier: Apache-2.0
//
// How test objects and the tests that drive them talk. An object checks itself, in BPF, wherever it
// runs; its driver fills in `check_input`, makes it run, waits, and reads `check_result`. The same
// objects run on the kernel (tests/reference), which says what is right, and on taskwork.
//
// Each struct is alone in a data section of its own, so that a driver needs no offsets:
//     bpf_object__find_map_by_name(object, ".data.input"), key 0
//     bpf_object__find_map_by_name(object, ".data.result"), key 0
//
// For C++ and, through check.bpf.h, for BPF.
#ifndef TASKWORK_TESTS_CHECK_H
#define TASKWORK_TESTS_CHECK_H

#include <linux/types.h>

#define CHECK_COMM "check-thread"        // what the driver's thread is to be called
#define CHECK_STRING "read by taskwork"  // 16 characters and a NUL
#define CHECK_EDGE "edge"                // without a NUL
#define CHECK_PAGES 16
#define CHECK_TEXT_MAX 32

// The driver fills in what the object at hand says it reads.
struct check_input {
    __s32 pid;  // of the process that the program is to run in
    __s32 tid;
    __s32 parent;  // process id of its parent
    __u32 uid;
    __u32 gid;
    __u32 processors;      // one more than the highest processor number
    __u64 before_ns;       // CLOCK_MONOTONIC before the run
    __u64 boot_before_ns;  // CLOCK_BOOTTIME before the run
    __u64 cookie;          // that the perf_event program is attached with

    __u64 string;        // user address of CHECK_STRING, with its NUL
    __u64 edge;          // of CHECK_EDGE: the last four bytes in front of an unmapped page
    __u64 unmapped;      // of a page that is not mapped
    __u64 not_resident;  // of CHECK_PAGES pages, mapped, readable, never touched (zeros)

    // The machine code of three functions, outer() calls middle() calls inner(), all with frame
    // pointers; the driver's thread spends its time in inner().
    __u64 inner_start, inner_end;
    __u64 middle_start, middle_end;
    __u64 outer_start, outer_end;

    __s32 target_tid;  // whom to schedule onto

    __u64 spin_ns;  // how long a slow callback takes

    /// Whether maps without preallocation find memory for any number of elements in nmi. The
    /// kernel's run out: what they keep ready for an interrupt is refilled only after it.
    __u32 allocates_in_nmi;
};

struct check_result {
    __u32 checks;    // made
    __u32 failures;  // of them; the rest is about the first
    __u32 failed_line;
    __u32 failed_context;
    __s64 got;
    __s64 wanted;

    // How often the checks ran to their end.
    __u32 task_runs;       // in the syscall program
    __u32 nmi_runs;        // in the perf_event program (once: later events do nothing)
    __u32 task_work_runs;  // in the callback that nmi scheduled

    __s32 schedule_error;  // of the last schedule: 0 or a negative errno
    __u32 ran_on;          // thread that the last callback ran on
    __u32 events;          // every call of the perf_event program

    __s64 observed[8];  // what may differ between hosts; the object says which is what
};

enum check_context { CHECK_TASK = 1, CHECK_NMI = 2, CHECK_TASK_WORK = 3 };

#endif  // TASKWORK_TESTS_CHECK_H
