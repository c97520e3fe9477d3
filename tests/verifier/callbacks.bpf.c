// SPDX-License-Identifier: Apache-2.0
//
// Callbacks of task work: verified by themselves, from an entry of their own. K109 to K115.
#include "verifier.bpf.h"

struct slot {
    __u64 before;
    struct bpf_task_work work;
    __u64 word[4];
};
ARRAY_OF(slots, 1, struct slot);
HASH_OF(hash, 8, struct slot);
ARRAY_OF(array, 1, struct words);

#define SELF ((struct task_struct*)bpf_get_current_task_btf())
#define SCHEDULES_ON(map, name, callback)                                                          \
    SEC("?perf_event") int name(void* context) {                                                   \
        __u32 key = 0;                                                                             \
        struct slot* slot = bpf_map_lookup_elem(&map, &key);                                       \
        return slot ? taskwork_schedule_signal(SELF, &slot->work, &map,                            \
                                               (taskwork_callback_t)(callback))                    \
                    : 0;                                                                           \
    }
#define SCHEDULES(name, callback) SCHEDULES_ON(slots, name, callback)

// ---- Arguments ----------------------------------------------------------------------------------

FUNCTION(static, nothing, "r0 = 0; exit;")
ACCEPTED
SCHEDULES(K109_shortest, nothing)

FUNCTION(static, fourth, "r0 = r4; exit;")
REJECTED("R4 !read_ok")
SCHEDULES(K109_fourth_argument, fourth)

FUNCTION(static, fifth, "r0 = r5; exit;")
REJECTED("R5 !read_ok")
SCHEDULES(K109_fifth_argument, fifth)

FUNCTION(static, saved, "r0 = r6; exit;")
REJECTED("R6 !read_ok")
SCHEDULES(K109_registers_of_the_scheduler, saved)

FUNCTION(static, looks_up,
         "r2 = 0; *(u32*)(r10 - 4) = r2; r2 = r10; r2 += -4; call %[map_lookup_elem]; "
         "if r0 == 0 goto out_%=; r0 = *(u64*)(r0 + 40); " OUT,
         HELPER(map_lookup_elem))
ACCEPTED
SCHEDULES(K109_map_for_a_lookup, looks_up)

FUNCTION(static, looks_up_and_reads_too_far,
         "r2 = 0; *(u32*)(r10 - 4) = r2; r2 = r10; r2 += -4; call %[map_lookup_elem]; "
         "if r0 == 0 goto out_%=; r0 = *(u64*)(r0 + 48); " OUT,
         HELPER(map_lookup_elem))
REJECTED("invalid access to map value, value_size=48 off=48 size=8")
SCHEDULES(K109_map_is_that_of_the_slot, looks_up_and_reads_too_far)

// ---- Key and value ------------------------------------------------------------------------------

FUNCTION(static, reads_its_key, "r1 = *(u32*)(r2 + 0); r0 = 0; exit;")
ACCEPTED
SCHEDULES(K110_key_read, reads_its_key)

ACCEPTED
SCHEDULES_ON(hash, K110_key_of_a_hash_read, reads_its_key)

FUNCTION(static, writes_its_key, "r1 = 0; *(u32*)(r2 + 0) = r1; r0 = 0; exit;")
REJECTED("write to change key R2 not allowed")
SCHEDULES(K110_key_written, writes_its_key)

FUNCTION(static, reads_behind_its_key, "r1 = *(u64*)(r2 + 0); r0 = 0; exit;")
REJECTED("invalid access to map key, key_size=4 off=0 size=8")
SCHEDULES(K110_behind_the_key, reads_behind_its_key)

FUNCTION(static, fills_its_key, "r1 = r2; r2 = 4; call %[get_current_comm]; r0 = 0; exit;",
         HELPER(get_current_comm))
REJECTED("R1 cannot write into map_key")
SCHEDULES(K110_key_filled_by_a_helper, fills_its_key)

FUNCTION(static, adds_to_its_key, "r1 = 1; lock *(u32*)(r2 + 0) += w1; r0 = 0; exit;")
REJECTED("write to change key R2 not allowed")
SCHEDULES(K110_atomic_on_the_key, adds_to_its_key)

FUNCTION(static, writes_its_value,
         "r1 = 7; *(u64*)(r3 + 0) = r1; *(u64*)(r3 + 40) = r1; r0 = 0; exit;")
ACCEPTED
SCHEDULES(K110_value_written, writes_its_value)

FUNCTION(static, writes_behind_its_value, "r1 = 7; *(u64*)(r3 + 48) = r1; r0 = 0; exit;")
REJECTED("invalid access to map value, value_size=48 off=48 size=8")
SCHEDULES(K110_behind_the_value, writes_behind_its_value)

FUNCTION(static, reads_its_slot, "r1 = *(u64*)(r3 + 8); r0 = 0; exit;")
REJECTED("bpf_task_work cannot be accessed directly by load/store")
SCHEDULES(K110_slot_read, reads_its_slot)

FUNCTION(static, writes_its_slot, "r1 = 0; *(u64*)(r3 + 8) = r1; r0 = 0; exit;")
REJECTED("bpf_task_work cannot be accessed directly by load/store")
SCHEDULES(K110_slot_written, writes_its_slot)

FUNCTION(static, adds_to_its_slot, "r1 = 1; lock *(u64*)(r3 + 8) += r1; r0 = 0; exit;")
REJECTED("bpf_task_work cannot be accessed directly by load/store")
SCHEDULES(K110_atomic_on_the_slot, adds_to_its_slot)

FUNCTION(static, copies_over_its_slot,
         "r1 = r3; r2 = 48; r3 = 0; call %[copy_from_user]; r0 = 0; exit;", HELPER(copy_from_user))
REJECTED("bpf_task_work cannot be accessed directly by load/store")
SCHEDULES(K110_block_over_the_slot, copies_over_its_slot)

FUNCTION(static, copies_behind_its_slot,
         "r1 = r3; r1 += 16; r2 = 32; r3 = 0; call %[copy_from_user]; r0 = 0; exit;",
         HELPER(copy_from_user))
ACCEPTED
SCHEDULES(K110_block_beside_the_slot, copies_behind_its_slot)

// ---- Results ------------------------------------------------------------------------------------

FUNCTION(static, returns_less_than_zero, "r0 = -5; exit;")
ACCEPTED
SCHEDULES(K112_negative_result, returns_less_than_zero)

FUNCTION(static, returns_the_largest, "r0 = 2147483647; exit;")
ACCEPTED
SCHEDULES(K112_largest_result, returns_the_largest)

FUNCTION(static, returns_with_sign, "r0 = *(s32*)(r3 + 0); exit;")
ACCEPTED
SCHEDULES(K112_any_int, returns_with_sign)

FUNCTION(static, returns_a_half, "r0 = *(u32*)(r3 + 0); exit;")
ACCEPTED
KERNEL_REJECTS("At async callback return the register R0 has smin=0 smax=4294967295 should have "
               "been in [-2147483648, 2147483647]",
               "it judges 64 bits of a result of which it takes 32")
SCHEDULES(K112_half_of_a_word, returns_a_half)

FUNCTION(static, returns_a_word, "r0 = *(u64*)(r3 + 0); exit;")
ACCEPTED
KERNEL_REJECTS("should have been in [-2147483648, 2147483647]",
               "it judges 64 bits of a result of which it takes 32")
SCHEDULES(K112_any_word, returns_a_word)

FUNCTION(static, returns_its_value, "r0 = r3; exit;")
REJECTED("R0 is not a known value (map_value)")
SCHEDULES(K112_pointer, returns_its_value)

FUNCTION(static, returns_nothing, "exit;")
REJECTED("R0 !read_ok")
SCHEDULES(K112_no_result, returns_nothing)

// ---- What it holds ------------------------------------------------------------------------------

static int releases(struct bpf_map* map, void* key, void* value) {
    struct task_struct* task = bpf_task_from_pid(1);
    if (task) {
        bpf_task_release(task);
    }
    return 0;
}
ACCEPTED
SCHEDULES(K113_reference_released, releases)

static int keeps(struct bpf_map* map, void* key, void* value) {
    bpf_task_from_pid(1);
    return 0;
}
REJECTED("Unreleased reference id=")
SCHEDULES(K113_reference_kept, keeps)

static int stays_in_the_section(struct bpf_map* map, void* key, void* value) {
    bpf_rcu_read_lock();
    return 0;
}
REJECTED("BPF_EXIT instruction in main prog cannot be used inside bpf_rcu_read_lock-ed region")
SCHEDULES(K113_section_not_left, stays_in_the_section)

// ---- Callbacks that schedule --------------------------------------------------------------------

static int itself(struct bpf_map* map, void* key, void* value) {
    struct slot* slot = value;
    taskwork_schedule_signal(SELF, &slot->work, &slots, itself);
    return 0;
}
ACCEPTED
SCHEDULES(K115_schedules_itself, itself)

static int ping(struct bpf_map* map, void* key, void* value);
static int pong(struct bpf_map* map, void* key, void* value) {
    struct slot* slot = value;
    taskwork_schedule_resume(SELF, &slot->work, &slots, ping);
    return 0;
}
static int ping(struct bpf_map* map, void* key, void* value) {
    struct slot* slot = value;
    taskwork_schedule_signal(SELF, &slot->work, &slots, pong);
    return 0;
}
ACCEPTED
SCHEDULES(K115_two_schedule_each_other, ping)

static int by_its_argument(struct bpf_map* map, void* key, void* value) {
    struct slot* slot = value;
    taskwork_schedule_signal(SELF, &slot->work, map, by_its_argument);
    return 0;
}
ACCEPTED
SCHEDULES(K115_schedules_on_its_own_map, by_its_argument)

static int counts(struct bpf_map* map, void* key, void* value) {
    __u32 zero = 0;
    struct words* words = bpf_map_lookup_elem(&array, &zero);
    for (int i = 0; words && i < 6; ++i) {
        ++words->word[i];
    }
    return 0;
}
ACCEPTED
SCHEDULES(loop_in_a_callback, counts)

FUNCTION(static, never_ends, "loop_%=: if r3 == r3 goto loop_%=; r0 = 0; exit;")
REJECTED("infinite loop detected")
SCHEDULES(endless_callback, never_ends)

static __noinline int deeper(struct slot* slot) { return (int)slot->word[0]; }
static int goes_deeper(struct bpf_map* map, void* key, void* value) { return deeper(value) > 0; }
ACCEPTED
SCHEDULES(callback_calls_a_function, goes_deeper)

static int one_way(struct bpf_map* map, void* key, void* value) { return 0; }
static int another_way(struct bpf_map* map, void* key, void* value) {
    return ((struct slot*)value)->word[3] > 7;
}
ACCEPTED
SEC("?perf_event")
int two_callbacks(struct bpf_perf_event_data* context) {
    __u32 key = 0;
    struct slot* slot = bpf_map_lookup_elem(&slots, &key);
    if (!slot) {
        return 0;
    }
    if (context->sample_period > 5) {
        return taskwork_schedule_signal(SELF, &slot->work, &slots, one_way);
    }
    return taskwork_schedule_resume(SELF, &slot->work, &slots, another_way);
}
