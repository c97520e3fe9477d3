// SPDX-License-Identifier: Apache-2.0
//
// bpf_spin_lock and bpf_res_spin_lock: where they stand, what may be done under them, and how they
// are given back. tests/bpf/spin_locks.bpf.c has what they do when they run.
#include "verifier.bpf.h"

struct spin_value {
    __u64 count;
    struct bpf_spin_lock lock;
    __u32 more;
};
struct resilient_value {
    __u64 count;
    struct bpf_res_spin_lock lock;
};
ARRAY_OF(spins, 2, struct spin_value);
HASH_OF(hash_of_spins, 2, struct spin_value);
ARRAY_OF(resilients, 2, struct resilient_value);
ARRAY_OF(array, 1, struct words);

#define SPIN ELEMENT(spins) "r6 = r0; "
#define LOCK "r1 = r6; r1 += 8; call %[spin_lock]; "
#define UNLOCK "r1 = r6; r1 += 8; call %[spin_unlock]; "
#define SPINS LOOKS_UP(spins), HELPER(spin_lock), HELPER(spin_unlock)

ACCEPTED
PROGRAM(locked, "syscall",
        SPIN LOCK "r1 = *(u64*)(r6 + 0); r1 += 1; *(u64*)(r6 + 0) = r1; " UNLOCK OUT, SPINS)

ACCEPTED
PROGRAM(locked_twice_in_turn, "syscall", SPIN LOCK UNLOCK LOCK UNLOCK OUT, SPINS)

ACCEPTED
PROGRAM(lock_beside_other_fields, "syscall", SPIN "r1 = 0; *(u32*)(r6 + 12) = r1; " OUT,
        LOOKS_UP(spins))

REJECTED("bpf_spin_lock cannot be accessed directly by load/store")
PROGRAM(lock_read, "syscall", SPIN "r0 = *(u32*)(r6 + 8); " OUT, LOOKS_UP(spins))

REJECTED("bpf_spin_lock cannot be accessed directly by load/store")
PROGRAM(lock_written, "syscall", SPIN "r1 = 0; *(u32*)(r6 + 8) = r1; " OUT, LOOKS_UP(spins))

REJECTED("bpf_spin_lock cannot be accessed directly by load/store")
PROGRAM(lock_read_with_its_neighbour, "syscall", SPIN "r0 = *(u64*)(r6 + 8); " OUT, LOOKS_UP(spins))

REJECTED("bpf_spin_lock cannot be accessed directly by load/store")
PROGRAM(lock_changed_by_an_atomic, "syscall", SPIN "r1 = 1; lock *(u32*)(r6 + 8) += r1; " OUT,
        LOOKS_UP(spins))

REJECTED("bpf_spin_lock cannot be accessed directly by load/store")
PROGRAM(lock_filled_by_a_helper, "syscall", SPIN "r1 = r6; r2 = 16; call %[get_current_comm]; " OUT,
        LOOKS_UP(spins), HELPER(get_current_comm))

REJECTED("bpf_spin_lock cannot be accessed directly by load/store")
PROGRAM(lock_reached_by_an_index, "syscall",
        SPIN "r1 = *(u64*)(r6 + 0); r1 &= 12; r6 += r1; r0 = *(u32*)(r6 + 0); " OUT,
        LOOKS_UP(spins))

REJECTED("function calls are not allowed while holding a lock")
PROGRAM(helper_under_a_lock, "syscall", SPIN LOCK "call %[ktime_get_ns]; " UNLOCK OUT, SPINS,
        HELPER(ktime_get_ns))

REJECTED("function calls are not allowed while holding a lock")
PROGRAM(two_locks, "syscall", SPIN LOCK LOCK UNLOCK UNLOCK OUT, SPINS)

REJECTED("bpf_spin_unlock without taking a lock")
PROGRAM(unlocked_first, "syscall", SPIN UNLOCK OUT, SPINS)

REJECTED("BPF_EXIT instruction in main prog cannot be used inside bpf_spin_lock-ed region")
PROGRAM(never_unlocked, "syscall", SPIN LOCK OUT, SPINS)

REJECTED("BPF_EXIT instruction in main prog cannot be used inside bpf_spin_lock-ed region")
PROGRAM(unlocked_on_one_path, "syscall",
        SPIN LOCK "r1 = *(u64*)(r6 + 0); if r1 == 0 goto out_%=; " UNLOCK OUT, SPINS)

REJECTED("bpf_spin_unlock of different lock")
PROGRAM(another_one_unlocked, "syscall",
        SPIN "r7 = r0; " ELEMENT(spins) "r6 = r0; " LOCK "r6 = r7; " UNLOCK OUT, SPINS)

REJECTED("off 0 doesn't point to 'struct bpf_spin_lock' that is at 8")
PROGRAM(beside_the_lock, "syscall", SPIN "r1 = r6; call %[spin_lock]; " UNLOCK OUT, SPINS)

REJECTED("R1 doesn't have constant offset. bpf_spin_lock has to be at the constant offset")
PROGRAM(lock_at_an_index, "syscall",
        SPIN "r2 = *(u64*)(r6 + 0); r2 &= 8; r1 = r6; r1 += r2; call %[spin_lock]; " UNLOCK OUT,
        SPINS)

REJECTED("map 'array' has no valid bpf_spin_lock")
PROGRAM(value_without_a_lock, "syscall", ELEMENT(array) "r1 = r0; call %[spin_lock]; " OUT,
        LOOKS_UP(array), HELPER(spin_lock))

REJECTED("R1 type=fp expected=map_value")
PROGRAM(lock_on_the_stack, "syscall",
        "r1 = 0; *(u64*)(r10 - 8) = r1; r1 = r10; r1 += -8; call %[spin_lock]; r0 = 0; exit;",
        HELPER(spin_lock))

REJECTED("R1 type=map_value_or_null expected=map_value")
PROGRAM(lock_of_an_unchecked_value, "syscall",
        LOOKUP(hash_of_spins) "r1 = r0; call %[spin_lock]; r0 = 0; exit;", LOOKS_UP(hash_of_spins),
        HELPER(spin_lock))

REJECTED("tracing progs cannot use bpf_spin_lock yet")
PROGRAM(spin_lock_in_an_event, "perf_event", SPIN OUT, LOOKS_UP(spins))

ACCEPTED
KERNEL_REJECTS("tracing progs cannot use bpf_spin_lock yet",
               "its locks could hang a handler, ours end by time")
PROGRAM(resilient_lock_in_an_event, "perf_event", ELEMENT(resilients) OUT, LOOKS_UP(resilients))

ACCEPTED
PROGRAM(loop_under_a_lock, "syscall",
        SPIN LOCK
        "r7 = 4; loop_%=: r1 = *(u64*)(r6 + 0); r1 += r7; *(u64*)(r6 + 0) = r1; r7 += -1; "
        "if r7 != 0 goto loop_%=; " UNLOCK OUT,
        SPINS)

FUNCTION(static, adds_one, "r0 = *(u64*)(r1 + 0); r0 += 1; *(u64*)(r1 + 0) = r0; r0 = 0; exit;")

ACCEPTED
PROGRAM(function_under_a_lock, "syscall", SPIN LOCK "r1 = r6; call adds_one; " UNLOCK OUT, SPINS)

// ---- Resilient locks ----------------------------------------------------------------------------

#define RESILIENT(name, index)                                                                     \
    __u32 name##_key = (index);                                                                    \
    struct resilient_value* name = bpf_map_lookup_elem(&resilients, &name##_key);                  \
    if (!name) {                                                                                   \
        return 0;                                                                                  \
    }

ACCEPTED
SEC("?syscall")
int resilient(void* context) {
    RESILIENT(a, 0)
    if (bpf_res_spin_lock(&a->lock)) {
        return 0;
    }
    ++a->count;
    bpf_res_spin_unlock(&a->lock);
    return 0;
}

ACCEPTED
SEC("?syscall")
int resilient_without_interrupts(void* context) {
    unsigned long flags;
    RESILIENT(a, 0)
    if (bpf_res_spin_lock_irqsave(&a->lock, &flags)) {
        return 0;
    }
    ++a->count;
    bpf_res_spin_unlock_irqrestore(&a->lock, &flags);
    return 0;
}

REJECTED("bpf_res_spin_unlock without taking a lock")
SEC("?syscall")
int result_not_looked_at(void* context) {
    RESILIENT(a, 0)
    bpf_res_spin_lock(&a->lock);
    bpf_res_spin_unlock(&a->lock);
    return 0;
}

REJECTED("BPF_EXIT instruction in main prog cannot be used inside bpf_spin_lock-ed region")
SEC("?syscall")
int unlocked_what_was_refused(void* context) {
    RESILIENT(a, 0)
    if (bpf_res_spin_lock(&a->lock)) {
        bpf_res_spin_unlock(&a->lock);
    }
    return 0;
}

REJECTED("BPF_EXIT instruction in main prog cannot be used inside bpf_spin_lock-ed region")
SEC("?syscall")
int resilient_never_unlocked(void* context) {
    RESILIENT(a, 0)
    return bpf_res_spin_lock(&a->lock);
}

ACCEPTED
SEC("?syscall")
int one_in_another(void* context) {
    RESILIENT(a, 0)
    RESILIENT(b, 1)
    if (bpf_res_spin_lock(&a->lock)) {
        return 0;
    }
    if (!bpf_res_spin_lock(&b->lock)) {
        bpf_res_spin_unlock(&b->lock);
    }
    bpf_res_spin_unlock(&a->lock);
    return 0;
}

REJECTED("bpf_res_spin_unlock cannot be out of order")
SEC("?syscall")
int out_of_order(void* context) {
    RESILIENT(a, 0)
    RESILIENT(b, 1)
    if (bpf_res_spin_lock(&a->lock)) {
        return 0;
    }
    if (bpf_res_spin_lock(&b->lock)) {
        bpf_res_spin_unlock(&a->lock);
        return 0;
    }
    bpf_res_spin_unlock(&a->lock);
    bpf_res_spin_unlock(&b->lock);
    return 0;
}

REJECTED("Acquiring the same lock again, AA deadlock detected")
SEC("?syscall")
int twice_the_same(void* context) {
    RESILIENT(a, 0)
    if (bpf_res_spin_lock(&a->lock)) {
        return 0;
    }
    if (!bpf_res_spin_lock(&a->lock)) {
        bpf_res_spin_unlock(&a->lock);
    }
    bpf_res_spin_unlock(&a->lock);
    return 0;
}

REJECTED("bpf_res_spin_unlock of different lock")
SEC("?syscall")
int interrupts_never_restored(void* context) {
    unsigned long flags;
    RESILIENT(a, 0)
    if (bpf_res_spin_lock_irqsave(&a->lock, &flags)) {
        return 0;
    }
    bpf_res_spin_unlock(&a->lock);
    return 0;
}

REJECTED("function calls are not allowed while holding a lock")
SEC("?syscall")
int helper_under_a_resilient_lock(void* context) {
    RESILIENT(a, 0)
    if (bpf_res_spin_lock(&a->lock)) {
        return 0;
    }
    a->count = bpf_ktime_get_ns();
    bpf_res_spin_unlock(&a->lock);
    return 0;
}

REJECTED("bpf_res_spin_lock cannot be accessed directly by load/store")
SEC("?syscall")
int resilient_lock_read(void* context) {
    RESILIENT(a, 0)
    return *(volatile __u32*)&a->lock;
}

REJECTED("map 'array' has no valid bpf_res_spin_lock")
SEC("?syscall")
int no_resilient_lock(void* context) {
    __u32 key = 0;
    struct words* value = bpf_map_lookup_elem(&array, &key);
    if (!value || bpf_res_spin_lock((struct bpf_res_spin_lock*)value)) {
        return 0;
    }
    bpf_res_spin_unlock((struct bpf_res_spin_lock*)value);
    return 0;
}
