// SPDX-License-Identifier: Apache-2.0
//
// For objects that check themselves: see check.h for the other side.
//
//     static __always_inline void check(enum check_context context) {
//         CHECK_EQUAL(bpf_map_delete_elem(&map, &missing), -ENOENT);
//     }
//     CHECK_IN_EVERY_CONTEXT(check)      // or CHECK_WHERE_SLEEPABLE(check), ...
//
// makes the programs `in_task` (syscall) and `in_nmi` (perf_event), and the callback that the
// latter schedules onto the thread that it interrupted.
#ifndef TASKWORK_TESTS_CHECK_BPF_H
#define TASKWORK_TESTS_CHECK_BPF_H

#include <stdbool.h>

#include <taskwork/bpf/task_work.bpf.h>

#include "check.h"

// Offered under GPL-2.0 as well, since the kernel lets nothing else call kernel functions.
char LICENSE[] SEC("license") = "GPL";

#define ENOENT 2
#define ESRCH 3
#define E2BIG 7
#define EAGAIN 11
#define EFAULT 14
#define EBUSY 16
#define EEXIST 17
#define EINVAL 22
#define ERANGE 34

struct check_input input SEC(".data.input");
struct check_result result SEC(".data.result");

/// Global, so that the kernel verifies it once and not again at every check.
__noinline int check_failed(__u32 line, __u32 context, __s64 got, __s64 wanted) {
    if (__sync_fetch_and_add(&result.failures, 1) == 0) {
        result.failed_line = line;
        result.failed_context = context;
        result.got = got;
        result.wanted = wanted;
    }
    return 0;
}

/// One check; needs a `context` in scope.
#define CHECK_EQUAL(expression, expected)                                                          \
    do {                                                                                           \
        __s64 got_ = (__s64)(expression);                                                          \
        __s64 wanted_ = (__s64)(expected);                                                         \
        __sync_fetch_and_add(&result.checks, 1);                                                   \
        if (got_ != wanted_) {                                                                     \
            check_failed(__LINE__, context, got_, wanted_);                                        \
        }                                                                                          \
    } while (0)

#define CHECK(condition) CHECK_EQUAL(!!(condition), 1)

/// Whether the first `size` bytes are the same; `size` is a constant. Without a branch for each
/// byte, which would double the kernel verifier's work each time.
#define CHECK_SAME_BYTES(left, right, size)                                                        \
    do {                                                                                           \
        const volatile char* left_ = (const volatile char*)(left);                                 \
        const volatile char* right_ = (const volatile char*)(right);                               \
        __u32 different_ = 0;                                                                      \
        for (__u32 i_ = 0; i_ < (size); ++i_) {                                                    \
            different_ |= left_[i_] ^ right_[i_];                                                  \
        }                                                                                          \
        CHECK_EQUAL(different_, 0);                                                                \
    } while (0)

/// A pointer as a number: the kernel's verifier knows better, until it has been through memory.
#define CHECK_ADDRESS(pointer)                                                                     \
    ({                                                                                             \
        volatile __s64* address_ = &result.observed[7];                                            \
        *address_ = (__s64)(pointer);                                                              \
        *address_;                                                                                 \
    })

struct check_slot {
    struct bpf_task_work work;
};

/// Schedules onto the current thread once: `callback` runs in it soon.
#define CHECK_SCHEDULE_ONCE(map, callback)                                                         \
    do {                                                                                           \
        __u32 slot_ = 0;                                                                           \
        struct check_slot* value_ = bpf_map_lookup_elem(&(map), &slot_);                           \
        if (value_) {                                                                              \
            result.schedule_error = taskwork_schedule_signal(bpf_get_current_task_btf(),           \
                                                             &value_->work, &(map), (callback));   \
        }                                                                                          \
    } while (0)

#define CHECK_SLOTS                                                                                \
    struct {                                                                                       \
        __uint(type, BPF_MAP_TYPE_ARRAY);                                                          \
        __uint(max_entries, 1);                                                                    \
        __type(key, __u32);                                                                        \
        __type(value, struct check_slot);                                                          \
    } check_slots SEC(".maps")

#define CHECK_CALLBACK(check)                                                                      \
    CHECK_SLOTS;                                                                                   \
    static int in_task_work(struct bpf_map* map, void* key, void* value) {                         \
        check(CHECK_TASK_WORK);                                                                    \
        result.ran_on = (__u32)bpf_get_current_pid_tgid();                                         \
        __sync_fetch_and_add(&result.task_work_runs, 1);                                           \
        return 0;                                                                                  \
    }

#define CHECK_TASK_PROGRAM(check)                                                                  \
    SEC("syscall") int in_task(void* arguments) {                                                  \
        check(CHECK_TASK);                                                                         \
        __sync_fetch_and_add(&result.task_runs, 1);                                                \
        return 0;                                                                                  \
    }

#define CHECK_IN_EVERY_CONTEXT(check)                                                              \
    CHECK_CALLBACK(check)                                                                          \
    CHECK_TASK_PROGRAM(check)                                                                      \
    SEC("perf_event") int in_nmi(struct bpf_perf_event_data* event) {                              \
        if ((__s32)bpf_get_current_pid_tgid() == input.tid &&                                      \
            __sync_fetch_and_add(&result.events, 1) == 0) {                                        \
            check(CHECK_NMI);                                                                      \
            CHECK_SCHEDULE_ONCE(check_slots, in_task_work);                                        \
            __sync_fetch_and_add(&result.nmi_runs, 1);                                             \
        }                                                                                          \
        return 0;                                                                                  \
    }

/// For what a program that may sleep cannot have: `in_task` only counts.
#define CHECK_WHERE_NOT_SLEEPABLE(check)                                                           \
    CHECK_CALLBACK(check)                                                                          \
    SEC("syscall") int in_task(void* arguments) {                                                  \
        __sync_fetch_and_add(&result.task_runs, 1);                                                \
        return 0;                                                                                  \
    }                                                                                              \
    SEC("perf_event") int in_nmi(struct bpf_perf_event_data* event) {                              \
        if ((__s32)bpf_get_current_pid_tgid() == input.tid &&                                      \
            __sync_fetch_and_add(&result.events, 1) == 0) {                                        \
            check(CHECK_NMI);                                                                      \
            CHECK_SCHEDULE_ONCE(check_slots, in_task_work);                                        \
            __sync_fetch_and_add(&result.nmi_runs, 1);                                             \
        }                                                                                          \
        return 0;                                                                                  \
    }

/// For what may fault or sleep: not in nmi, which only schedules.
#define CHECK_WHERE_SLEEPABLE(check)                                                               \
    CHECK_CALLBACK(check)                                                                          \
    CHECK_TASK_PROGRAM(check)                                                                      \
    SEC("perf_event") int in_nmi(struct bpf_perf_event_data* event) {                              \
        if ((__s32)bpf_get_current_pid_tgid() == input.tid &&                                      \
            __sync_fetch_and_add(&result.events, 1) == 0) {                                        \
            CHECK_SCHEDULE_ONCE(check_slots, in_task_work);                                        \
            __sync_fetch_and_add(&result.nmi_runs, 1);                                             \
        }                                                                                          \
        return 0;                                                                                  \
    }

#endif  // TASKWORK_TESTS_CHECK_BPF_H
