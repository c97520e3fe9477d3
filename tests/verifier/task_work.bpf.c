// SPDX-License-Identifier: Apache-2.0
//
// Scheduling task work: each argument of the kernel functions, K106 to K109 and K114, and access to
// the slot. The names of programs begin with the statement of docs/kernel-checklist.md.
#include "verifier.bpf.h"

struct slot {
    __u64 before;
    struct bpf_task_work work;
    __u64 word[4];
};
ARRAY_OF(slots, 1, struct slot);
HASH_OF(hash, 8, struct slot);
ARRAY_OF(array, 1, struct words);

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 8);
    __type(key, __u32);
    __type(value, struct slot);
} recent SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __uint(key_size, 4);
    __uint(value_size, 48);
} untyped SEC(".maps");

struct inner {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct slot);
} inner SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
    __uint(max_entries, 2);
    __type(key, __u32);
    __array(values, struct inner);
} outer SEC(".maps") = {.values = {&inner}};

struct nested {
    __u32 number;
    struct {
        __u64 before;
        struct bpf_task_work work;
    } part;
};
ARRAY_OF(nests, 1, struct nested);

struct locked_slot {
    struct bpf_spin_lock lock;
    struct bpf_task_work work;
};
ARRAY_OF(locked_slots, 1, struct locked_slot);

#define ELEMENT_OF(type, map)                                                                      \
    __u32 key = 0;                                                                                 \
    type* slot = bpf_map_lookup_elem(&map, &key);                                                  \
    if (!slot) {                                                                                   \
        return 0;                                                                                  \
    }
#define SLOT ELEMENT_OF(struct slot, slots)
#define SELF ((struct task_struct*)bpf_get_current_task_btf())
#define SCHEDULE(task, work, map, callback)                                                        \
    return taskwork_schedule_signal((struct task_struct*)(task), (struct bpf_task_work*)(work),    \
                                    map, (taskwork_callback_t)(callback))

static int later(struct bpf_map* map, void* key, void* value) { return 0; }

// ---- What is right ------------------------------------------------------------------------------

ACCEPTED
SEC("?perf_event")
int signal_mode(void* context) { SLOT SCHEDULE(SELF, &slot->work, &slots, later); }

ACCEPTED
SEC("?perf_event")
int resume_mode(void* context) {
    SLOT return taskwork_schedule_resume(SELF, &slot->work, &slots, later);
}

ACCEPTED
SEC("?syscall")
int from_a_syscall(void* context) { SLOT SCHEDULE(SELF, &slot->work, &slots, later); }

ACCEPTED
KERNEL_REJECTS("calling kernel function bpf_task_work_schedule_signal is not allowed",
               "it has the spelling of its version only, 6.18 the other one")
SEC("?perf_event")
int spelling_of_7(void* context) {
    SLOT return bpf_task_work_schedule_signal(SELF, &slot->work, &slots, later);
}

ACCEPTED
SEC("?perf_event")
int spelling_of_6_18(void* context) {
    SLOT return bpf_task_work_schedule_resume_impl(SELF, &slot->work, &slots, later, NULL);
}

ACCEPTED
SEC("?perf_event")
int K80_hash(void* context) {
    ELEMENT_OF(struct slot, hash)
    SCHEDULE(SELF, &slot->work, &hash, later);
}

ACCEPTED
SEC("?perf_event")
int K80_lru_hash(void* context) {
    ELEMENT_OF(struct slot, recent)
    SCHEDULE(SELF, &slot->work, &recent, later);
}

ACCEPTED
SEC("?perf_event")
int K83_slot_in_an_inner_struct(void* context) {
    ELEMENT_OF(struct nested, nests)
    SCHEDULE(SELF, &slot->part.work, &nests, later);
}

// ---- The task -----------------------------------------------------------------------------------

REJECTED("Possibly NULL pointer passed to trusted R1")
KERNEL_COUNTS_ARGUMENTS("Possibly NULL pointer passed to trusted arg0")
SEC("?perf_event")
int K106_no_task(void* context) { SLOT SCHEDULE(NULL, &slot->work, &slots, later); }

REJECTED("arg#0 pointer type STRUCT task_struct must point to scalar, or struct with scalar")
SEC("?perf_event")
int K106_number_as_task(void* context) {
    SLOT SCHEDULE(bpf_get_current_task(), &slot->work, &slots, later);
}

REJECTED("R1 must be referenced or trusted")
SEC("?perf_event")
int K106_task_by_walking(void* context) {
    SLOT SCHEDULE(SELF->group_leader->group_leader, &slot->work, &slots, later);
}

REJECTED("R1 must be referenced or trusted")
SEC("?perf_event")
int K106_task_by_walking_in_a_section(void* context) {
    SLOT bpf_rcu_read_lock();
    int error = taskwork_schedule_signal(SELF->real_parent, &slot->work, &slots, later);
    bpf_rcu_read_unlock();
    return error;
}

REJECTED("Possibly NULL pointer passed to trusted R1")
KERNEL_COUNTS_ARGUMENTS("Possibly NULL pointer passed to trusted arg0")
SEC("?syscall")
int K106_task_not_checked(void* context) {
    SLOT struct task_struct* task = bpf_task_from_pid(1);
    int error = taskwork_schedule_signal(task, &slot->work, &slots, later);
    if (task) {
        bpf_task_release(task);
    }
    return error;
}

ACCEPTED
SEC("?syscall")
int K106_task_acquired(void* context) {
    SLOT struct task_struct* task = bpf_task_from_pid(1);
    if (!task) {
        return 0;
    }
    int error = taskwork_schedule_signal(task, &slot->work, &slots, later);
    bpf_task_release(task);
    return error;
}

REJECTED("arg#0 pointer type STRUCT task_struct must point to scalar, or struct with scalar")
SEC("?syscall")
int K106_task_released(void* context) {
    SLOT struct task_struct* task = bpf_task_from_pid(1);
    if (!task) {
        return 0;
    }
    struct task_struct* same = task;
    UNKNOWN(same);
    bpf_task_release(task);
    SCHEDULE(same, &slot->work, &slots, later);
}

REJECTED("arg#0 pointer type STRUCT task_struct must point to scalar, or struct with scalar")
SEC("?perf_event")
int K106_value_as_task(void* context) { SLOT SCHEDULE(slot, &slot->work, &slots, later); }

// ---- The slot -----------------------------------------------------------------------------------

REJECTED("Possibly NULL pointer passed to trusted R2")
KERNEL_COUNTS_ARGUMENTS("Possibly NULL pointer passed to trusted arg1")
SEC("?perf_event")
int K107_no_slot(void* context) { SCHEDULE(SELF, NULL, &slots, later); }

REJECTED("Possibly NULL pointer passed to trusted R2")
KERNEL_COUNTS_ARGUMENTS("Possibly NULL pointer passed to trusted arg1")
SEC("?perf_event")
int K107_slot_not_checked(void* context) {
    struct task_struct* self = SELF;
    __u32 key = 0;
    SCHEDULE(self, bpf_map_lookup_elem(&hash, &key), &hash, later);
}

REJECTED("R2 doesn't point to a map value")
KERNEL_COUNTS_ARGUMENTS("arg#1 doesn't point to a map value")
SEC("?perf_event")
int K107_slot_on_the_stack(void* context) {
    struct bpf_task_work work = {};
    SCHEDULE(SELF, &work, &slots, later);
}

REJECTED("R2 doesn't point to a map value")
KERNEL_COUNTS_ARGUMENTS("arg#1 doesn't point to a map value")
SEC("?perf_event")
int K107_context_as_slot(void* context) { SCHEDULE(SELF, context, &slots, later); }

REJECTED("map 'array' has no valid bpf_task_work")
SEC("?perf_event")
int K107_value_without_a_slot(void* context) {
    ELEMENT_OF(struct words, array)
    SCHEDULE(SELF, slot, &slots, later);
}

REJECTED("map 'untyped' has to have BTF in order to use bpf_task_work")
SEC("?perf_event")
int K107_value_without_a_type(void* context) {
    ELEMENT_OF(struct slot, untyped)
    SCHEDULE(SELF, &slot->work, &slots, later);
}

REJECTED("off 0 doesn't point to 'struct bpf_task_work' that is at 8")
SEC("?perf_event")
int K107_before_the_slot(void* context) { SLOT SCHEDULE(SELF, slot, &slots, later); }

REJECTED("off 16 doesn't point to 'struct bpf_task_work' that is at 8")
SEC("?perf_event")
int K107_behind_the_slot(void* context) { SLOT SCHEDULE(SELF, slot->word, &slots, later); }

REJECTED("R2 doesn't have constant offset. bpf_task_work has to be at the constant offset")
SEC("?perf_event")
int K107_slot_at_an_index(void* context) {
    SLOT __u64 index = slot->before & 8;
    UNKNOWN(index);
    SCHEDULE(SELF, (char*)slot + index, &slots, later);
}

// ---- The map ------------------------------------------------------------------------------------

REJECTED("Possibly NULL pointer passed to trusted R3")
KERNEL_COUNTS_ARGUMENTS("Possibly NULL pointer passed to trusted arg2")
SEC("?perf_event")
int K108_no_map(void* context) { SLOT SCHEDULE(SELF, &slot->work, NULL, later); }

REJECTED("R3 must be referenced or trusted")
SEC("?perf_event")
int K108_value_as_map(void* context) { SLOT SCHEDULE(SELF, &slot->work, slot, later); }

REJECTED("pointer in R3 isn't map pointer")
KERNEL_NOT_ASKED(
    "6.18 takes what R3 points to for a map before it looks what it is, and dies of it")
SEC("?perf_event")
int K108_task_as_map(void* context) { SLOT SCHEDULE(SELF, &slot->work, SELF, later); }

REJECTED("bpf_task_work pointer in R2 map_uid=0 doesn't match map pointer in R3 map_uid=0")
SEC("?perf_event")
int K104_K108_another_map(void* context) { SLOT SCHEDULE(SELF, &slot->work, &hash, later); }

REJECTED("bpf_task_work pointer in R2 map_uid=0 doesn't match map pointer in R3 map_uid=0")
KERNEL_NOT_ASKED("6.18 follows the missing record of the map and dies of it")
SEC("?perf_event")
int K108_map_without_a_record(void* context) { SLOT SCHEDULE(SELF, &slot->work, &array, later); }

REJECTED("bpf_task_work pointer in R2 map_uid=0 doesn't match map pointer in R3 map_uid=0")
KERNEL_NOT_ASKED("6.18 follows the missing record of the map and dies of it")
SEC("?perf_event")
int K108_map_without_types(void* context) { SLOT SCHEDULE(SELF, &slot->work, &untyped, later); }

#define INNER(name, index)                                                                         \
    __u32 name##_index = index;                                                                    \
    void* name = bpf_map_lookup_elem(&outer, &name##_index);                                       \
    if (!name) {                                                                                   \
        return 0;                                                                                  \
    }

ACCEPTED
SEC("?perf_event")
int K104_same_inner_map(void* context) {
    __u32 key = 0;
    INNER(map, 0)
    struct slot* slot = bpf_map_lookup_elem(map, &key);
    if (!slot) {
        return 0;
    }
    SCHEDULE(SELF, &slot->work, map, later);
}

REJECTED("doesn't match map pointer in R3 map_uid=")
SEC("?perf_event")
int K104_two_inner_maps(void* context) {
    __u32 key = 0;
    INNER(map, 0)
    INNER(another, 1)
    struct slot* slot = bpf_map_lookup_elem(map, &key);
    if (!slot) {
        return 0;
    }
    SCHEDULE(SELF, &slot->work, another, later);
}

REJECTED("doesn't match map pointer in R3 map_uid=")
SEC("?perf_event")
int K104_same_inner_map_by_two_lookups(void* context) {
    __u32 key = 0;
    INNER(map, 0)
    INNER(again, 0)
    struct slot* slot = bpf_map_lookup_elem(map, &key);
    if (!slot) {
        return 0;
    }
    SCHEDULE(SELF, &slot->work, again, later);
}

REJECTED("doesn't match map pointer in R3 map_uid=")
SEC("?perf_event")
int K104_slot_of_an_inner_map_and_an_outer_one(void* context) {
    __u32 key = 0;
    INNER(map, 0)
    struct slot* slot = bpf_map_lookup_elem(map, &key);
    if (!slot) {
        return 0;
    }
    SCHEDULE(SELF, &slot->work, &slots, later);
}

// ---- The callback -------------------------------------------------------------------------------

REJECTED("Possibly NULL pointer passed to trusted R4")
KERNEL_COUNTS_ARGUMENTS("Possibly NULL pointer passed to trusted arg3")
SEC("?perf_event")
int K109_no_callback(void* context) { SLOT SCHEDULE(SELF, &slot->work, &slots, NULL); }

REJECTED("arg3 expected pointer to func")
SEC("?perf_event")
int K109_value_as_callback(void* context) { SLOT SCHEDULE(SELF, &slot->work, &slots, slot); }

__noinline int global_callback(struct bpf_map* map, void* key, void* value) { return 0; }

REJECTED("callback function not static")
SEC("?perf_event")
int K109_global_callback(void* context) {
    SLOT SCHEDULE(SELF, &slot->work, &slots, global_callback);
}

// ---- Where --------------------------------------------------------------------------------------

REJECTED("function calls are not allowed while holding a lock")
SEC("?syscall")
int K114_under_a_lock(void* context) {
    ELEMENT_OF(struct locked_slot, locked_slots)
    struct task_struct* self = SELF;
    bpf_spin_lock(&slot->lock);
    int error = taskwork_schedule_signal(self, &slot->work, &locked_slots, later);
    bpf_spin_unlock(&slot->lock);
    return error;
}

ACCEPTED
SEC("?syscall")
int K114_behind_a_lock(void* context) {
    ELEMENT_OF(struct locked_slot, locked_slots)
    bpf_spin_lock(&slot->lock);
    bpf_spin_unlock(&slot->lock);
    SCHEDULE(SELF, &slot->work, &locked_slots, later);
}

static int sleeping(struct bpf_map* map, void* key, void* value) {
    __u64 word = 0;
    return bpf_copy_from_user(&word, sizeof word, NULL) != 0;
}

ACCEPTED
SEC("?syscall")
int K114_in_a_section_which_the_callback_is_not(void* context) {
    SLOT bpf_rcu_read_lock();
    int error = taskwork_schedule_signal(SELF, &slot->work, &slots, sleeping);
    bpf_rcu_read_unlock();
    return error;
}

ACCEPTED
SEC("?syscall")
int K114_with_a_reference(void* context) {
    SLOT struct task_struct* task = bpf_task_from_pid(1);
    if (!task) {
        return 0;
    }
    int error = taskwork_schedule_signal(SELF, &slot->work, &slots, sleeping);
    bpf_task_release(task);
    return error;
}

static __noinline int schedules(struct slot* slot) { SCHEDULE(SELF, &slot->work, &slots, later); }

ACCEPTED
SEC("?perf_event")
int from_a_static_function(void* context) { SLOT return schedules(slot); }

static __noinline long each(struct bpf_map* map, void* key, struct slot* slot, void* data) {
    return taskwork_schedule_signal(SELF, &slot->work, &slots, later) != 0;
}

ACCEPTED
SEC("?perf_event")
int for_each_element(void* context) { return (int)bpf_for_each_map_elem(&slots, each, NULL, 0); }

// ---- The slot is nobody's -----------------------------------------------------------------------

#define SLOT_BYTES(name, code)                                                                     \
    PROGRAM(name, "perf_event", ELEMENT(slots) "r6 = r0; r1 = 0; " code OUT, LOOKS_UP(slots))

ACCEPTED
SLOT_BYTES(beside_the_slot, "*(u64*)(r6 + 0) = r1; *(u64*)(r6 + 16) = r1; ")

REJECTED("bpf_task_work cannot be accessed directly by load/store")
SLOT_BYTES(slot_read, "r0 = *(u64*)(r6 + 8); ")

REJECTED("bpf_task_work cannot be accessed directly by load/store")
SLOT_BYTES(slot_written, "*(u64*)(r6 + 8) = r1; ")

REJECTED("bpf_task_work cannot be accessed directly by load/store")
SLOT_BYTES(last_byte_of_the_slot, "r0 = *(u8*)(r6 + 15); ")

REJECTED("bpf_task_work cannot be accessed directly by load/store")
SLOT_BYTES(atomic_on_the_slot, "lock *(u64*)(r6 + 8) += r1; ")

REJECTED("bpf_task_work cannot be accessed directly by load/store")
SLOT_BYTES(slot_at_an_index, "r1 = *(u64*)(r6 + 0); r1 &= 24; r6 += r1; r0 = *(u64*)(r6 + 0); ")

REJECTED("bpf_task_work cannot be accessed directly by load/store")
PROGRAM(slot_in_a_block, "perf_event",
        ELEMENT(slots) "r1 = r0; r2 = 16; call %[get_current_comm]; " OUT, LOOKS_UP(slots),
        HELPER(get_current_comm))
