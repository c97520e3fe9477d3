// SPDX-License-Identifier: Apache-2.0
//
// Our own "kernel BTF": the types and functions that libbpf finds where it looks for those of the
// kernel (/sys/kernel/btf/vmlinux). libbpf uses it twice when it loads an object: to relocate field
// accesses of programs onto our structs (CO-RE), and to resolve kfuncs, by name and prototype, to
// the BTF ids that the call instructions then carry.
//
// The code is never run; only its debug information is used. Built by
//     clang-19 -target bpf -mcpu=v3 -O2 -g -funsigned-char -c kernel_btf.c -o kernel_btf.o
//     llvm-objcopy-19 --dump-section .BTF=kernel_btf.btf kernel_btf.o
// which leaves raw BTF, readable by btf__parse() and `bpftool btf dump file kernel_btf.btf`. (The
// kernel's char is unsigned.) tests/reference/kernel_btf_test.cpp compares it with the kernel's.
//
// To add a kfunc: define it here with the kernel's own prototype and argument names (the suffixes
// `__map`, `__prog`, `__sz`, `__ign` mean something to verifiers), and in the table of the runtime.
// To add a field: task_struct.h. To add any other type: let an argument of `keep` name it.
//
// The prototypes are compared with a program's down to the arguments of its callbacks, by kind: a
// struct must be defined here, not merely declared, or every program is refused.

#include "task_struct.h"

/// clang describes a function only if it is defined, and this marks it in the BTF as the kernel
/// does
/// (`bpftool btf dump file ... format c` then prints it as a declaration for programs).
#define KFUNC __attribute__((noinline, used, btf_decl_tag("bpf_kfunc")))

/// Opaque to programs: our maps are laid out in another way, and no field would be true.
struct bpf_map {};

/// The special fields of map values; opaque.
struct bpf_task_work {
    taskwork_u64 __opaque;
} __attribute__((aligned(8)));

struct bpf_spin_lock {
    taskwork_u32 val;
};

struct bpf_res_spin_lock {
    taskwork_u32 val;
};

struct bpf_timer {
    taskwork_u64 __opaque[2];
} __attribute__((aligned(8)));

struct bpf_wq {
    taskwork_u64 __opaque[2];
} __attribute__((aligned(8)));

/// An iterator over numbers, on a program's stack; opaque.
struct bpf_iter_num {
    taskwork_u64 __opaque[1];
} __attribute__((aligned(8)));

/// The registers of the interrupted program (x86-64), under the kernel's names.
struct pt_regs {
    unsigned long r15;
    unsigned long r14;
    unsigned long r13;
    unsigned long r12;
    unsigned long bp;
    unsigned long bx;
    unsigned long r11;
    unsigned long r10;
    unsigned long r9;
    unsigned long r8;
    unsigned long ax;
    unsigned long cx;
    unsigned long dx;
    unsigned long si;
    unsigned long di;
    unsigned long orig_ax;
    unsigned long ip;
    union {
        unsigned short cs;
        unsigned long csx;
    };
    unsigned long flags;
    unsigned long sp;
    union {
        unsigned short ss;
        unsigned long ssx;
    };
};
typedef struct pt_regs bpf_user_pt_regs_t;

/// The context of a perf_event program. Part of the BPF ABI: its offsets are not relocated.
struct bpf_perf_event_data {
    bpf_user_pt_regs_t regs;
    taskwork_u64 sample_period;
    taskwork_u64 addr;
};

typedef int (*bpf_task_work_callback_t)(struct bpf_map* map, void* key, void* value);

// ---- Task work: the spelling of Linux 7.x, then that of 6.18 and 6.19 ---------------------------

KFUNC int bpf_task_work_schedule_signal(struct task_struct* task, struct bpf_task_work* tw,
                                        void* map__map, bpf_task_work_callback_t callback) {
    return 0;
}

KFUNC int bpf_task_work_schedule_resume(struct task_struct* task, struct bpf_task_work* tw,
                                        void* map__map, bpf_task_work_callback_t callback) {
    return 0;
}

KFUNC int bpf_task_work_schedule_signal_impl(struct task_struct* task, struct bpf_task_work* tw,
                                             void* map__map, bpf_task_work_callback_t callback,
                                             void* aux__prog) {
    return 0;
}

KFUNC int bpf_task_work_schedule_resume_impl(struct task_struct* task, struct bpf_task_work* tw,
                                             void* map__map, bpf_task_work_callback_t callback,
                                             void* aux__prog) {
    return 0;
}

// ---- Tasks and their memory ---------------------------------------------------------------------

KFUNC int bpf_copy_from_user_str(void* dst, taskwork_u32 dst__sz, const void* unsafe_ptr__ign,
                                 taskwork_u64 flags) {
    return 0;
}

KFUNC struct task_struct* bpf_task_from_pid(taskwork_s32 pid) { return 0; }

KFUNC struct task_struct* bpf_task_acquire(struct task_struct* p) { return 0; }

KFUNC void bpf_task_release(struct task_struct* p) {}

KFUNC void bpf_rcu_read_lock(void) {}

KFUNC void bpf_rcu_read_unlock(void) {}

// ---- Locks --------------------------------------------------------------------------------------

KFUNC int bpf_res_spin_lock(struct bpf_res_spin_lock* lock) { return 0; }

KFUNC void bpf_res_spin_unlock(struct bpf_res_spin_lock* lock) {}

KFUNC int bpf_res_spin_lock_irqsave(struct bpf_res_spin_lock* lock,
                                    unsigned long* flags__irq_flag) {
    return 0;
}

KFUNC void bpf_res_spin_unlock_irqrestore(struct bpf_res_spin_lock* lock,
                                          unsigned long* flags__irq_flag) {}

// ---- Loops, preemption --------------------------------------------------------------------------

KFUNC int bpf_iter_num_new(struct bpf_iter_num* it, int start, int end) { return 0; }

KFUNC int* bpf_iter_num_next(struct bpf_iter_num* it) { return 0; }

KFUNC void bpf_iter_num_destroy(struct bpf_iter_num* it) {}

KFUNC void bpf_preempt_disable(void) {}

KFUNC void bpf_preempt_enable(void) {}

/// Not a kfunc: names the types that no kfunc mentions, so that they are in the BTF.
__attribute__((noinline, used)) int taskwork_kernel_btf_keep(struct bpf_perf_event_data* event,
                                                             struct bpf_timer* timer,
                                                             struct bpf_wq* work_queue,
                                                             struct bpf_spin_lock* spin_lock,
                                                             struct mm_struct* mm) {
    return 0;
}
