// SPDX-License-Identifier: Apache-2.0
//
// Task work for authors of BPF programs: what Debian 12's <linux/bpf.h> (6.1) and
// <bpf/bpf_helpers.h> (libbpf 1.1) lack, and nothing else. One object that is built against this
// header loads on Linux 6.18 and 6.19 (kfuncs named `..._impl`), on Linux 7.x (plain names) and on
// taskwork (both), because every kfunc is declared weak and the wrappers at the end choose the
// spelling that the loader found.
//
// No vmlinux.h is needed. One that is included first is respected; if it was made on a kernel older
// than 6.18, define TASKWORK_OLD_VMLINUX, and `struct bpf_task_work` is declared here all the same.
//
//     struct value {
//         struct bpf_task_work work; // exactly one a map value, nowhere else, 8-byte aligned
//         char text[64];
//     };
//
//     struct {
//         __uint(type, BPF_MAP_TYPE_HASH); // or ARRAY; the map must be declared with its types
//         __uint(map_flags, BPF_F_NO_PREALLOC);
//         __uint(max_entries, 1024);
//         __type(key, __u32);
//         __type(value, struct value);
//     } values SEC(".maps");
//
//     static int later(struct bpf_map* map, void* key, void* data) {
//         struct value* value = data;
//         ...
//         return 0; // not the result of a kfunc or helper: the kernel wants a proven int
//     }
//
//     error = taskwork_schedule_signal(bpf_get_current_task_btf(), &value->work, &values, later);
//
// The kernel lets a program call kfuncs only if it declares itself GPL-compatible:
// `char LICENSE[] SEC("license") = "GPL";`.
#ifndef TASKWORK_BPF_TASK_WORK_BPF_H
#define TASKWORK_BPF_TASK_WORK_BPF_H

#ifndef __VMLINUX_H__
#include <linux/bpf.h>
#include <linux/bpf_perf_event.h>
#include <linux/version.h>
#endif

#include <bpf/bpf_helpers.h>

// ---- Types --------------------------------------------------------------------------------------

#if defined(TASKWORK_OLD_VMLINUX) ||                                                               \
    (!defined(__VMLINUX_H__) && LINUX_VERSION_CODE < KERNEL_VERSION(6, 18, 0))
/// The slot of one task work inside a map value. Opaque; loaders find it by this very name.
struct bpf_task_work {
    __u64 __opaque;
} __attribute__((aligned(8)));
#endif

#if !defined(__VMLINUX_H__) && LINUX_VERSION_CODE < KERNEL_VERSION(6, 10, 0)
/// The slot of one work queue item inside a map value.
struct bpf_wq {
    __u64 __opaque[2];
} __attribute__((aligned(8)));
#endif

#ifndef __VMLINUX_H__
/// A resilient spin lock in a map value: at most one, and then no bpf_spin_lock. Opaque; in no UAPI
/// header.
struct bpf_res_spin_lock {
    __u32 val;
} __attribute__((aligned(4)));
#endif

#ifndef __VMLINUX_H__
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/// The part of an address space that a program may read; offsets are relocated at load (CO-RE).
/// All are user addresses, in bytes; 0 where unknown. The environment and the arguments are
/// strings one after the other, each with its NUL.
struct mm_struct {
    unsigned long start_code;
    unsigned long end_code;
    unsigned long start_data;
    unsigned long end_data;
    unsigned long start_brk;
    unsigned long brk;
    unsigned long start_stack;
    unsigned long arg_start;
    unsigned long arg_end;
    unsigned long env_start;
    unsigned long env_end;
};

/// The part of a task that a program may read; offsets are relocated at load (CO-RE).
struct task_struct {
    struct mm_struct* mm;  ///< NULL for a task without an address space.
    int pid;               ///< The thread.
    int tgid;              ///< The process.
    struct task_struct* real_parent;
    struct task_struct* parent;
    struct task_struct* group_leader;
    __u64 start_time;      ///< CLOCK_MONOTONIC, in ns.
    __u64 start_boottime;  ///< CLOCK_BOOTTIME, in ns.
    char comm[16];
};

#pragma clang attribute pop

// A definition, not a mere declaration: libbpf compares the prototypes of kfuncs down to the
// arguments of their callbacks, and a forward declaration does not match the kernel's struct.
/// A map as a callback sees it; opaque.
struct bpf_map {};
#endif

/// What runs later. Called once for each schedule that returned 0, unless the element is deleted or
/// updated, or the task dies, before; with the map, the element's key (read only) and its value
/// (all but the slot may be written). May sleep and may fault on user memory. Its result must be an
/// int, and is ignored.
/// Context: task_work, in the thread that it was scheduled onto.
typedef int (*taskwork_callback_t)(struct bpf_map* map, void* key, void* value);

// ---- Kernel functions ---------------------------------------------------------------------------
//
// All weak: test one with taskwork_ksym_exists() before calling it, or the load fails where it does
// not exist. Prototypes are those of the kernel; argument names with a suffix in `__` tell its
// verifier what the argument is. What that verifier refuses at load (a slot that is not one of this
// map's, NULL for a task) ends the execution on taskwork, as a counted fault.

/// Linux 7.x and taskwork. Arguments and errors: taskwork_schedule_signal(), and _resume().
/// Context: any.
extern int bpf_task_work_schedule_signal(struct task_struct* task, struct bpf_task_work* tw,
                                         void* map__map,
                                         taskwork_callback_t callback) __ksym __weak;
extern int bpf_task_work_schedule_resume(struct task_struct* task, struct bpf_task_work* tw,
                                         void* map__map,
                                         taskwork_callback_t callback) __ksym __weak;

/// Linux 6.18, 6.19 and taskwork; `aux__prog` is NULL. Otherwise as those without `_impl`.
/// Context: any.
extern int bpf_task_work_schedule_signal_impl(struct task_struct* task, struct bpf_task_work* tw,
                                              void* map__map, taskwork_callback_t callback,
                                              void* aux__prog) __ksym __weak;
extern int bpf_task_work_schedule_resume_impl(struct task_struct* task, struct bpf_task_work* tw,
                                              void* map__map, taskwork_callback_t callback,
                                              void* aux__prog) __ksym __weak;

/// Copies a string from the memory of the current task into `dst`, at most `dst__sz` bytes, always
/// NUL terminated; flag BPF_F_PAD_ZEROS (1) clears the rest. Returns the number of bytes, NUL
/// included (0 only if `dst__sz` is 0). Errors:
///   -EFAULT  the string cannot be read to its end or to the end of `dst`; `dst` is then an empty
///            string, or all zeros with the flag
///   -EINVAL  a flag that is not known; `dst` is as it was
/// Context: task, task_work: callbacks, and programs that are declared sleepable. Others that call
/// it are refused at load.
extern int bpf_copy_from_user_str(void* dst, __u32 dst__sz, const void* unsafe_ptr__ign,
                                  __u64 flags) __ksym __weak;

/// The task with this thread id, to be given back with bpf_task_release(); NULL if there is none,
/// on taskwork also if it is no thread of the domain.
/// Context: any.
extern struct task_struct* bpf_task_from_pid(__s32 pid) __ksym __weak;
/// One more reference to a task, or NULL if it is about to be freed; to be given back with
/// bpf_task_release().
/// Context: any.
extern struct task_struct* bpf_task_acquire(struct task_struct* p) __ksym __weak;
/// Gives back what one of the two above has returned, which must not be NULL.
/// Context: any.
extern void bpf_task_release(struct task_struct* p) __ksym __weak;

/// Between the two, tasks that are found through others (`real_parent`) stay memory. A program that
/// is to run on the kernel must not sleep in between. Nothing to do on taskwork, where a whole
/// execution is such a section.
/// Context: any.
extern void bpf_rcu_read_lock(void) __ksym __weak;
extern void bpf_rcu_read_unlock(void) __ksym __weak;

/// Takes a lock, or says that it cannot be had; the result must be looked at. Between lock and
/// unlock no helper or kernel function may be called but these four; several locks are given back
/// in the opposite order, all before the program ends. Errors:
///   -EDEADLK    this thread holds it already (also what the event has interrupted), or its holder
///               waits for one that this thread holds
///   -ETIMEDOUT  not free for 250 ms; on taskwork 100 us in the program of an event
/// Linux 6.15 and later, which refuses maps with such a lock to programs of perf events; taskwork
/// does not.
/// Context: any.
extern int bpf_res_spin_lock(struct bpf_res_spin_lock* lock) __ksym __weak;
/// Context: any.
extern void bpf_res_spin_unlock(struct bpf_res_spin_lock* lock) __ksym __weak;
/// The same, and keeps interrupts away meanwhile where there are any. `flags` is a variable of the
/// program, filled in here and read there.
/// Context: any.
extern int bpf_res_spin_lock_irqsave(struct bpf_res_spin_lock* lock,
                                     unsigned long* flags) __ksym __weak;
/// Context: any.
extern void bpf_res_spin_unlock_irqrestore(struct bpf_res_spin_lock* lock,
                                           unsigned long* flags) __ksym __weak;

// ---- Wrappers -----------------------------------------------------------------------------------

#ifndef TASKWORK_EOPNOTSUPP
#define TASKWORK_EOPNOTSUPP 95  // <errno.h> is not for BPF programs
#endif

/// Whether the loader found this weak kfunc. The answer is a constant by the time that the program
/// is verified, so that the branch not taken, and the call in it, is gone.
/// Context: any.
#define taskwork_ksym_exists(symbol) (!!(symbol))

/// Runs `callback` in the context of `task` as soon as possible: a blocked system call of the task
/// is interrupted, and restarted as for a signal that has no handler. `work` is the slot in a value
/// of `map`. Returns 0, or an error, and then the callback is not called:
///   -EBUSY       the slot's work is scheduled or running, or the map has no user any more
///   -ENOMEM      no work context is free
///   -EBADF       the program's handles are all closed; in the kernel also: the task is going away
///   -ESRCH       taskwork only: the task is past the point where it could run anything, or the
///                domain is closed
///   -ENOENT      taskwork only: the element was deleted
///   -EOPNOTSUPP  neither spelling exists where the program was loaded
/// What the program wrote before is visible to the callback.
/// Context: any.
static __always_inline int taskwork_schedule_signal(struct task_struct* task,
                                                    struct bpf_task_work* work, void* map,
                                                    taskwork_callback_t callback) {
    if (taskwork_ksym_exists(bpf_task_work_schedule_signal)) {
        return bpf_task_work_schedule_signal(task, work, map, callback);
    }
    if (taskwork_ksym_exists(bpf_task_work_schedule_signal_impl)) {
        return bpf_task_work_schedule_signal_impl(task, work, map, callback, NULL);
    }
    return -TASKWORK_EOPNOTSUPP;
}

/// As taskwork_schedule_signal(), but never disturbs a blocked task: the callback runs when the
/// task next returns to its program by itself. The same errors.
/// Context: any.
static __always_inline int taskwork_schedule_resume(struct task_struct* task,
                                                    struct bpf_task_work* work, void* map,
                                                    taskwork_callback_t callback) {
    if (taskwork_ksym_exists(bpf_task_work_schedule_resume)) {
        return bpf_task_work_schedule_resume(task, work, map, callback);
    }
    if (taskwork_ksym_exists(bpf_task_work_schedule_resume_impl)) {
        return bpf_task_work_schedule_resume_impl(task, work, map, callback, NULL);
    }
    return -TASKWORK_EOPNOTSUPP;
}

#endif  // TASKWORK_BPF_TASK_WORK_BPF_H
