// SPDX-License-Identifier: Apache-2.0
//
// Arguments of global functions by their types and their tags: contexts under other names, tasks
// that are trusted and perhaps null.
#include "verifier.bpf.h"

#define TAG(text) __attribute__((btf_decl_tag("arg:" text)))
#define SELF ((struct task_struct*)bpf_get_current_task_btf())

// ---- Contexts -----------------------------------------------------------------------------------

typedef struct bpf_perf_event_data context_t;
typedef const context_t same_context_t;

__noinline int reads_its_context(context_t* context) { return (int)context->sample_period; }
__noinline int reads_a_constant_context(same_context_t* context) {
    return (int)context->sample_period;
}
__noinline int reads_registers(struct pt_regs* registers) {
    return registers ? (int)registers->rip : 0;
}

ACCEPTED
SEC("?perf_event")
int context_by_another_name(struct bpf_perf_event_data* event) { return reads_its_context(event); }

ACCEPTED
SEC("?perf_event")
int context_by_a_name_of_a_name(struct bpf_perf_event_data* event) {
    return reads_a_constant_context(event);
}

REJECTED("arg#0 expects pointer to ctx")
SEC("?perf_event")
int memory_as_context(void* event) {
    struct bpf_perf_event_data mine = {};
    return reads_its_context(&mine);
}

REJECTED("R1 type=ctx expected=fp")
SEC("?perf_event")
int context_as_registers(struct pt_regs* event) { return reads_registers(event); }

// ---- Tasks --------------------------------------------------------------------------------------

__noinline int takes_a_task(struct task_struct* task TAG("trusted")) { return task->pid; }
__noinline int takes_a_task_or_null(struct task_struct* task TAG("trusted") TAG("nullable")) {
    return task ? task->pid : 0;
}
__noinline int takes_null_for_a_task(struct task_struct* task TAG("trusted") TAG("nullable")) {
    return task->pid;
}
__noinline int acquires_what_it_takes(struct task_struct* task TAG("trusted")) {
    struct task_struct* kept = bpf_task_acquire(task);
    if (kept) {
        bpf_task_release(kept);
    }
    return 0;
}

struct task_struct___view {
    int pid;
} __attribute__((preserve_access_index));
__noinline int takes_a_view(struct task_struct___view* task TAG("trusted")) { return task ? 1 : 0; }

ACCEPTED
SEC("?perf_event")
int trusted_task(void* context) { return takes_a_task(SELF) + acquires_what_it_takes(SELF); }

ACCEPTED
SEC("?perf_event")
int trusted_task_by_a_view_of_it(void* context) { return takes_a_view((void*)SELF); }

ACCEPTED
SEC("?perf_event")
int trusted_task_or_null(void* context) {
    return takes_a_task_or_null(SELF) + takes_a_task_or_null(NULL);
}

REJECTED("R1 type=scalar expected=ptr_, trusted_ptr_, rcu_ptr_")
SEC("?perf_event")
int null_for_a_trusted_task(void* context) { return takes_a_task(NULL); }

REJECTED("R1 invalid mem access 'trusted_ptr_or_null_'")
SEC("?perf_event")
int trusted_task_that_may_be_null(void* context) { return takes_null_for_a_task(SELF); }

REJECTED("R1 type=fp expected=ptr_, trusted_ptr_, rcu_ptr_")
SEC("?perf_event")
int memory_for_a_trusted_task(void* context) {
    __u64 word = 0;
    return takes_a_task((void*)&word);
}

ACCEPTED
SEC("?syscall")
int referenced_task_is_trusted(void* context) {
    struct task_struct* task = bpf_task_from_pid(1);
    if (!task) {
        return 0;
    }
    int pid = takes_a_task(task);
    bpf_task_release(task);
    return pid;
}

REJECTED("R1 type=ptr_or_null_ expected=ptr_, trusted_ptr_, rcu_ptr_")
SEC("?syscall")
int found_task_that_was_not_checked(void* context) {
    struct task_struct* task = bpf_task_from_pid(1);
    int pid = takes_a_task(task);
    if (task) {
        bpf_task_release(task);
    }
    return pid;
}

#define MAY_BE_NULL "what was walked to may be null here, and a trusted task is read unasked"

REJECTED("R1 type=rcu_ptr_ expected=ptr_, trusted_ptr_, rcu_ptr_")
KERNEL_ACCEPTS(MAY_BE_NULL)
SEC("?perf_event")
int parent_for_a_trusted_task(void* context) { return takes_a_task(SELF->real_parent); }

REJECTED("R1 type=ptr_ expected=ptr_, trusted_ptr_, rcu_ptr_")
KERNEL_SAYS("R1 type=untrusted_ptr_ expected=ptr_, trusted_ptr_, rcu_ptr_", "names of trust")
SEC("?syscall")
int walked_task_for_a_trusted_one(void* context) { return takes_a_task(SELF->real_parent); }

REJECTED("R1 is of type task_struct but task_struct is expected")
SEC("?perf_event")
int inside_of_a_task_for_a_trusted_one(void* context) {
    return takes_a_task((void*)&SELF->real_parent);
}

REJECTED("R1 is of type task_struct but mm_struct is expected")
SEC("?perf_event")
int task_for_a_trusted_mm(void* context);
__noinline int takes_an_mm(struct mm_struct* mm TAG("trusted")) { return mm ? 1 : 0; }
int task_for_a_trusted_mm(void* context) { return takes_an_mm((void*)SELF); }

// ---- Tags that do not fit -----------------------------------------------------------------------

struct ours {
    int number;
};
__noinline int takes_ours(struct ours* ours TAG("trusted")) { return ours ? 1 : 0; }
__noinline int trusted_and_never_null(struct task_struct* task TAG("trusted") TAG("nonnull")) {
    return task ? 1 : 0;
}
__noinline int memory_or_null(struct ours* ours TAG("nullable")) { return ours ? 1 : 0; }
__noinline int tagged_number(int number TAG("trusted")) {
    UNKNOWN(number);
    return number;
}
__noinline int unknown_tag(struct ours* ours TAG("whatever")) { return ours ? 1 : 0; }
__noinline int takes_a_struct(struct ours ours) {
    UNKNOWN(ours.number);
    return ours.number;
}
__noinline int takes_anything(void* anything) {
    UNKNOWN(anything);
    return anything != NULL;
}
__noinline int takes_untrusted(struct task_struct* task TAG("untrusted")) { return task->pid; }

REJECTED("arg#0 reference type('STRUCT ours') has no matches")
SEC("?perf_event")
int trusted_struct_that_there_is_not(void* context) { return takes_ours((void*)SELF); }

REJECTED("arg#0 has invalid combination of tags")
SEC("?perf_event")
int trusted_with_nonnull(void* context) { return trusted_and_never_null(SELF); }

REJECTED("arg#0 has invalid combination of tags")
SEC("?perf_event")
int nullable_alone(void* context) {
    struct ours ours = {};
    return memory_or_null(&ours);
}

REJECTED("arg#0 has pointer tag, but is not a pointer type")
SEC("?perf_event")
int tag_of_a_number(void* context) { return tagged_number(1); }

REJECTED("arg#0 has unsupported set of tags")
SEC("?perf_event")
int tag_that_there_is_not(void* context) {
    struct ours ours = {};
    return unknown_tag(&ours);
}

REJECTED("Arg#0 type STRUCT in takes_a_struct() is not supported yet.")
SEC("?perf_event")
int struct_by_value(void* context) {
    struct ours ours = {1};
    return takes_a_struct(ours);
}

REJECTED("arg#0 reference type('UNKNOWN ') size cannot be determined: -22")
SEC("?perf_event")
int pointer_to_nothing(void* context) { return takes_anything(NULL); }

REJECTED("arg#0 is untrusted: such arguments are not supported")
KERNEL_ACCEPTS("it reads what they point to by loads that may fail; ours ask for null only")
SEC("?perf_event")
int untrusted_task(void* context) { return takes_untrusted(SELF->real_parent); }
