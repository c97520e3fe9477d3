// SPDX-License-Identifier: Apache-2.0
//
// Programs with locks, right ones and wrong ones; spin_locks.hpp says what becomes of each. One is
// loaded at a time.
#include <taskwork/bpf/task_work.bpf.h>

char LICENSE[] SEC("license") = "GPL";

struct spin_value {
    __u64 count;
    struct bpf_spin_lock lock;
    struct bpf_task_work work;
};
struct resilient_value {
    __u64 count;
    struct bpf_res_spin_lock lock;
    struct bpf_task_work work;
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 2);
    __type(key, __u32);
    __type(value, struct spin_value);
} spins SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 2);
    __type(key, __u32);
    __type(value, struct resilient_value);
} resilients SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} plain SEC(".maps");

/// The value of a key; leaves the program where there is none.
#define VALUE(type, name, map, index)                                                              \
    __u32 name##_key = (index);                                                                    \
    type* name = bpf_map_lookup_elem(&map, &name##_key);                                           \
    if (!name) {                                                                                   \
        return 100;                                                                                \
    }
#define SPIN(name, index) VALUE(struct spin_value, name, spins, index)
#define RESILIENT(name, index) VALUE(struct resilient_value, name, resilients, index)

static int later(struct bpf_map* map, void* key, void* data) {
    struct spin_value* value = data;
    bpf_spin_lock(&value->lock);
    ++value->count;
    bpf_spin_unlock(&value->lock);
    return 0;
}

// ---- Right --------------------------------------------------------------------------------------

SEC("?syscall")
int spin(void* context) {
    SPIN(a, 0)
    bpf_spin_lock(&a->lock);
    ++a->count;
    bpf_spin_unlock(&a->lock);
    return 1;
}

SEC("?syscall")
int resilient(void* context) {
    RESILIENT(a, 0)
    int error = bpf_res_spin_lock(&a->lock);
    if (error) {
        return error;
    }
    ++a->count;
    bpf_res_spin_unlock(&a->lock);
    return 1;
}

SEC("?syscall")
int resilient_irqsave(void* context) {
    RESILIENT(a, 0)
    unsigned long flags;
    int error = bpf_res_spin_lock_irqsave(&a->lock, &flags);
    if (error) {
        return error;
    }
    bpf_res_spin_unlock_irqrestore(&a->lock, &flags);
    return 1;
}

SEC("?syscall")
int nested(void* context) {
    RESILIENT(a, 0)
    RESILIENT(b, 1)
    int error = bpf_res_spin_lock(&a->lock);
    if (error) {
        return error;
    }
    error = bpf_res_spin_lock(&b->lock);
    if (!error) {
        bpf_res_spin_unlock(&b->lock);
    }
    bpf_res_spin_unlock(&a->lock);
    return error ? error : 1;
}

/// The same element by two look-ups, which verifiers do not see.
SEC("?syscall")
int again(void* context) {
    RESILIENT(a, 0)
    RESILIENT(b, 0)
    int error = bpf_res_spin_lock(&a->lock);
    if (error) {
        return 99;
    }
    error = bpf_res_spin_lock(&b->lock);
    if (!error) {
        bpf_res_spin_unlock(&b->lock);
    }
    bpf_res_spin_unlock(&a->lock);
    return error;
}

SEC("?syscall")
int resilient_in_spin(void* context) {
    SPIN(a, 0)
    RESILIENT(b, 0)
    bpf_spin_lock(&a->lock);
    int error = bpf_res_spin_lock(&b->lock);
    if (!error) {
        bpf_res_spin_unlock(&b->lock);
    }
    bpf_spin_unlock(&a->lock);
    return error ? error : 1;
}

static __noinline void lock_and_count(struct spin_value* value) {
    bpf_spin_lock(&value->lock);
    ++value->count;
}

SEC("?syscall")
int lock_in_function(void* context) {
    SPIN(a, 0)
    lock_and_count(a);
    bpf_spin_unlock(&a->lock);
    return 1;
}

SEC("?syscall")
int update_of_spin(void* context) {
    __u32 key = 0;
    struct spin_value value = {};
    return bpf_map_update_elem(&spins, &key, &value, BPF_F_LOCK);
}

SEC("?syscall")
int update_of_resilient(void* context) {
    __u32 key = 0;
    struct resilient_value value = {};
    return bpf_map_update_elem(&resilients, &key, &value, BPF_F_LOCK);
}

SEC("?syscall")
int schedule(void* context) {
    SPIN(a, 0)
    return taskwork_schedule_signal((struct task_struct*)bpf_get_current_task_btf(), &a->work,
                                    &spins, later);
}

// ---- Wrong --------------------------------------------------------------------------------------

SEC("?syscall")
int helper_under_spin(void* context) {
    SPIN(a, 0)
    bpf_spin_lock(&a->lock);
    a->count = bpf_ktime_get_ns();
    bpf_spin_unlock(&a->lock);
    return 1;
}

SEC("?syscall")
int helper_under_resilient(void* context) {
    RESILIENT(a, 0)
    if (bpf_res_spin_lock(&a->lock)) {
        return 1;
    }
    a->count = bpf_ktime_get_ns();
    bpf_res_spin_unlock(&a->lock);
    return 1;
}

SEC("?syscall")
int schedule_under_spin(void* context) {
    SPIN(a, 0)
    struct task_struct* task = (struct task_struct*)bpf_get_current_task_btf();
    bpf_spin_lock(&a->lock);
    taskwork_schedule_signal(task, &a->work, &spins, later);
    bpf_spin_unlock(&a->lock);
    return 1;
}

SEC("?syscall")
int two_spins(void* context) {
    SPIN(a, 0)
    SPIN(b, 1)
    bpf_spin_lock(&a->lock);
    bpf_spin_lock(&b->lock);
    bpf_spin_unlock(&b->lock);
    bpf_spin_unlock(&a->lock);
    return 1;
}

SEC("?syscall")
int spin_in_resilient(void* context) {
    RESILIENT(a, 0)
    SPIN(b, 0)
    if (bpf_res_spin_lock(&a->lock)) {
        return 1;
    }
    bpf_spin_lock(&b->lock);
    bpf_spin_unlock(&b->lock);
    bpf_res_spin_unlock(&a->lock);
    return 1;
}

SEC("?syscall")
int exit_in_spin(void* context) {
    SPIN(a, 0)
    bpf_spin_lock(&a->lock);
    return 1;
}

SEC("?syscall")
int exit_in_resilient(void* context) {
    RESILIENT(a, 0)
    if (bpf_res_spin_lock(&a->lock)) {
        return 1;
    }
    return 1;
}

SEC("?syscall")
int only_unlock(void* context) {
    SPIN(a, 0)
    bpf_spin_unlock(&a->lock);
    return 1;
}

SEC("?syscall")
int unlock_of_another(void* context) {
    SPIN(a, 0)
    SPIN(b, 1)
    bpf_spin_lock(&a->lock);
    bpf_spin_unlock(&b->lock);
    return 1;
}

SEC("?syscall")
int out_of_order(void* context) {
    RESILIENT(a, 0)
    RESILIENT(b, 1)
    if (bpf_res_spin_lock(&a->lock)) {
        return 1;
    }
    if (bpf_res_spin_lock(&b->lock)) {
        bpf_res_spin_unlock(&a->lock);
        return 1;
    }
    bpf_res_spin_unlock(&a->lock);
    bpf_res_spin_unlock(&b->lock);
    return 1;
}

SEC("?syscall")
int irqsave_and_unlock(void* context) {
    RESILIENT(a, 0)
    unsigned long flags;
    if (bpf_res_spin_lock_irqsave(&a->lock, &flags)) {
        return 1;
    }
    bpf_res_spin_unlock(&a->lock);
    return 1;
}

SEC("?syscall")
int not_the_lock(void* context) {
    SPIN(a, 0)
    bpf_spin_lock((struct bpf_spin_lock*)&a->count);
    bpf_spin_unlock((struct bpf_spin_lock*)&a->count);
    return 1;
}

SEC("?syscall")
int no_lock(void* context) {
    VALUE(__u64, a, plain, 0)
    bpf_spin_lock((struct bpf_spin_lock*)a);
    bpf_spin_unlock((struct bpf_spin_lock*)a);
    return 1;
}

SEC("?syscall")
int spin_of_resilient(void* context) {
    RESILIENT(a, 0)
    bpf_spin_lock((struct bpf_spin_lock*)&a->lock);
    bpf_spin_unlock((struct bpf_spin_lock*)&a->lock);
    return 1;
}

SEC("?syscall")
int resilient_of_spin(void* context) {
    SPIN(a, 0)
    if (bpf_res_spin_lock((struct bpf_res_spin_lock*)&a->lock)) {
        return 1;
    }
    bpf_res_spin_unlock((struct bpf_res_spin_lock*)&a->lock);
    return 1;
}

SEC("?syscall")
int read_of_lock(void* context) {
    SPIN(a, 0)
    return *(volatile __u32*)&a->lock;
}

SEC("?perf_event")
int spin_in_event(void* context) {
    SPIN(a, 0)
    ++a->count;
    return 1;
}

SEC("?perf_event")
int resilient_in_event(void* context) {
    RESILIENT(a, 0)
    ++a->count;
    return 1;
}
