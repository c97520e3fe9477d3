// SPDX-License-Identifier: Apache-2.0
//
// What a BPF program sees of a task, in both languages. kernel_btf.c compiles these structs into
// the BTF that stands where the kernel's would be, so libbpf relocates every `task->pid` of a
// program onto the offsets below (CO-RE); the runtime fills in the same structs from C++. The
// assertions at the end are what holds the two together.
//
// The names are the kernel's, in the global namespace, because programs look them up by name. Only
// fields that the runtime really fills in are here: a program asks with bpf_core_field_exists(),
// and an absent field is an honest answer, one that is always zero is not. All pointers are
// addresses in the arena or null, valid in every process of the domain; user addresses are
// integers.
#ifndef TASKWORK_BPF_KERNEL_BTF_TASK_STRUCT_H
#define TASKWORK_BPF_KERNEL_BTF_TASK_STRUCT_H

// Not <stdint.h>: for the BPF target, that would ask for the 32-bit headers of the host's libc.
typedef __UINT64_TYPE__ taskwork_u64;
typedef __UINT32_TYPE__ taskwork_u32;
typedef __INT32_TYPE__ taskwork_s32;

/// The address space of a process; shared by its threads. User addresses, in bytes; 0 is unknown.
struct mm_struct {
    taskwork_u64 start_code;
    taskwork_u64 end_code;
    taskwork_u64 start_data;
    taskwork_u64 end_data;
    taskwork_u64 start_brk;
    taskwork_u64 brk;
    taskwork_u64 start_stack;
    taskwork_u64 arg_start;  ///< The argument strings, each with its NUL: [arg_start, arg_end).
    taskwork_u64 arg_end;
    taskwork_u64 env_start;  ///< The environment at the start of the program: [env_start, env_end).
    taskwork_u64 env_end;
};

/// One thread.
struct task_struct {
    taskwork_s32 pid;      ///< The thread id, as the domain's host sees it.
    taskwork_s32 tgid;     ///< The process id.
    struct mm_struct* mm;  ///< Shared by the threads of the process.
    /// Leader of the process that forked it; of one that is not in the domain, a stand-in with its
    /// ids, name and times, which is its own parent and has no mm.
    struct task_struct* real_parent;
    struct task_struct* parent;        ///< As real_parent: tracers are not followed.
    struct task_struct* group_leader;  ///< The first thread of the process; itself for that one.
    taskwork_u64 start_time;           ///< CLOCK_MONOTONIC at its start, in ns.
    taskwork_u64 start_boottime;       ///< CLOCK_BOOTTIME at its start, in ns.
    char comm[16];                     ///< Its name, always NUL terminated.
};

#ifdef __cplusplus
#include <cstddef>
#include <type_traits>

static_assert(std::is_standard_layout_v<mm_struct> && std::is_trivially_copyable_v<mm_struct>);
static_assert(std::is_standard_layout_v<task_struct> && std::is_trivially_copyable_v<task_struct>);
static_assert(sizeof(void*) == 8, "pointers of the BPF target are 8 bytes");

static_assert(offsetof(mm_struct, start_code) == 0);
static_assert(offsetof(mm_struct, end_code) == 8);
static_assert(offsetof(mm_struct, start_data) == 16);
static_assert(offsetof(mm_struct, end_data) == 24);
static_assert(offsetof(mm_struct, start_brk) == 32);
static_assert(offsetof(mm_struct, brk) == 40);
static_assert(offsetof(mm_struct, start_stack) == 48);
static_assert(offsetof(mm_struct, arg_start) == 56);
static_assert(offsetof(mm_struct, arg_end) == 64);
static_assert(offsetof(mm_struct, env_start) == 72);
static_assert(offsetof(mm_struct, env_end) == 80);
static_assert(sizeof(mm_struct) == 88);

static_assert(offsetof(task_struct, pid) == 0);
static_assert(offsetof(task_struct, tgid) == 4);
static_assert(offsetof(task_struct, mm) == 8);
static_assert(offsetof(task_struct, real_parent) == 16);
static_assert(offsetof(task_struct, parent) == 24);
static_assert(offsetof(task_struct, group_leader) == 32);
static_assert(offsetof(task_struct, start_time) == 40);
static_assert(offsetof(task_struct, start_boottime) == 48);
static_assert(offsetof(task_struct, comm) == 56);
static_assert(sizeof(task_struct) == 72);
#endif

#endif  // TASKWORK_BPF_KERNEL_BTF_TASK_STRUCT_H
