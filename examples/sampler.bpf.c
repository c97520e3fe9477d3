// SPDX-License-Identifier: Apache-2.0
//
// A sampling profiler that knows whom it profiles.
//
//     taskwork run sampler.bpf.o -- xz -T2 -k big.tar
//
// Each event interrupts a thread anywhere, malloc included, where nothing may be waited for: the
// program only counts the address. Once per process it also schedules task work, and the callback,
// in the interrupted thread but now allowed to fault and to sleep, reads the command line and one
// environment string from the memory of the process.
//
// Results: `leaves` (thread and address -> samples), `stacks` (the same by whole call chain, if
// wanted), `threads` and `processes`.

#include <stdbool.h>

#include <taskwork/bpf/task_work.bpf.h>

// Offered under GPL-2.0 as well, since the kernel lets nothing else call kernel functions.
char LICENSE[] SEC("license") = "GPL";

#define COMMAND_LINE_MAX 256
#define ENVIRONMENT_MAX 256
#define VARIABLE_NAME_MAX 32
#define ENVIRONMENT_STRINGS_MAX 1024
#define STACK_DEPTH_MAX 30

#ifndef RECORD_STACKS
#define RECORD_STACKS false
#endif

// Constants that a loader may set before the load.

/// Whether to count whole user stacks. They are walked by frame pointers: in code that was compiled
/// without, only the first address of each is of any use.
const volatile bool record_stacks = RECORD_STACKS;
/// The environment variable to look for.
const volatile char variable_name[VARIABLE_NAME_MAX] = "PATH";

struct leaf_key {
    __u32 tgid;
    __u32 tid;
    __u64 address;
};

struct stack_key {
    __u32 tgid;
    __u32 tid;
    __u64 addresses[STACK_DEPTH_MAX];  // innermost first, 0 behind the last
};

struct thread {
    __u32 tgid;
    char name[16];
    __u64 samples;
};

struct process {
    struct bpf_task_work work;
    /// Where the arguments were that command_line was read from: an exec puts new ones elsewhere,
    /// so a difference from the task's own means that the strings are to be read (again).
    __u64 arguments_at;
    __u64 scheduled_at_ns;
    __u64 latency_ns;                     // from the last schedule to its callback
    __u32 reads;                          // callbacks that ran
    __s32 error;                          // of the last read: 0 or a negative errno
    char command_line[COMMAND_LINE_MAX];  // arguments, separated by spaces
    char environment[ENVIRONMENT_MAX];    // NAME=VALUE, empty if the variable is not set
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 65536);
    __type(key, struct leaf_key);
    __type(value, __u64);
} leaves SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 8192);
    __type(key, struct stack_key);
    __type(value, __u64);
} stacks SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 4096);
    __type(key, __u32);  // thread id
    __type(value, struct thread);
} threads SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 1024);
    __type(key, __u32);  // process id
    __type(value, struct process);
} processes SEC(".maps");

__u64 samples;
__u64 samples_lost;       // a map was full
__u64 schedules;          // that returned 0
__u64 schedule_failures;  // that did not

/// One more in a map of counters, in any context.
static __always_inline void count(void* map, const void* key) {
    __u64* counter = bpf_map_lookup_elem(map, key);
    if (!counter) {
        __u64 zero = 0;
        // Loses against another thread, or against an event on top of this one, without harm.
        bpf_map_update_elem(map, key, &zero, BPF_NOEXIST);
        counter = bpf_map_lookup_elem(map, key);
        if (!counter) {
            __sync_fetch_and_add(&samples_lost, 1);
            return;
        }
    }
    __sync_fetch_and_add(counter, 1);
}

// ---- Task work: in the interrupted thread, may fault and sleep ----------------------------------

static void read_command_line(struct process* process, const struct mm_struct* mm) {
    __u64 start = mm->arg_start;
    __u64 size = mm->arg_end - start;
    if (size > COMMAND_LINE_MAX) {
        size = COMMAND_LINE_MAX;
    }
    process->error = (__s32)bpf_copy_from_user(process->command_line, (__u32)size, (void*)start);
    if (process->error) {
        process->command_line[0] = '\0';
        return;
    }
    // Not the NUL behind the last argument: that one ends the string.
    for (__u32 i = 0; i < COMMAND_LINE_MAX - 1; ++i) {
        if (i + 1 < size && process->command_line[i] == '\0') {
            process->command_line[i] = ' ';
        }
    }
    process->command_line[COMMAND_LINE_MAX - 1] = '\0';
}

struct environment_search {
    struct process* process;
    __u64 at;
    __u64 end;
    bool inside;  // of a string longer than our buffer: this piece does not begin one
};

static bool is_wanted(const char* string) {
    for (__u32 i = 0; i < VARIABLE_NAME_MAX; ++i) {
        char wanted = variable_name[i];
        if (wanted == '\0') {
            return i > 0 && string[i] == '=';
        }
        if (string[i] != wanted) {
            return false;
        }
    }
    return false;
}

/// Looks at one string of the environment; stops (1) at the end or when it is the wanted one.
static long next_environment_string(__u64 index, struct environment_search* search) {
    struct process* process = search->process;
    if (search->at >= search->end) {
        return 1;
    }
    int size = bpf_copy_from_user_str(process->environment, ENVIRONMENT_MAX, (void*)search->at, 0);
    if (size <= 0) {
        process->error = size;
        return 1;
    }
    if (!search->inside && is_wanted(process->environment)) {
        search->end = 0;  // found: the string stays where it is
        return 1;
    }
    // A full buffer may hold a part only. Going on at its terminator finds the rest of the string,
    // or an empty rest if the string just fitted.
    search->inside = size == ENVIRONMENT_MAX;
    search->at += search->inside ? size - 1 : size;
    return 0;
}

static void read_environment(struct process* process, const struct mm_struct* mm) {
    struct environment_search search = {
        .process = process, .at = mm->env_start, .end = mm->env_end, .inside = false};
    bpf_loop(ENVIRONMENT_STRINGS_MAX, next_environment_string, &search, 0);
    if (search.end != 0) {
        process->environment[0] = '\0';
    }
}

static int describe_process(struct bpf_map* map, void* key, void* value) {
    struct process* process = value;
    struct mm_struct* mm = bpf_get_current_task_btf()->mm;

    process->latency_ns = bpf_ktime_get_ns() - process->scheduled_at_ns;
    process->reads += 1;
    __u64 arguments_at = mm->arg_start;
    read_command_line(process, mm);
    if (!process->error) {
        read_environment(process, mm);
    }
    process->arguments_at = arguments_at;  // last: on an error, too, one try is enough
    return 0;
}

// ---- The event: on top of anything, waits for nobody --------------------------------------------

static __always_inline void count_thread(__u32 tgid, __u32 tid) {
    struct thread* thread = bpf_map_lookup_elem(&threads, &tid);
    if (!thread) {
        struct thread new_thread = {.tgid = tgid};
        bpf_get_current_comm(new_thread.name, sizeof(new_thread.name));
        bpf_map_update_elem(&threads, &tid, &new_thread, BPF_NOEXIST);
        thread = bpf_map_lookup_elem(&threads, &tid);
        if (!thread) {
            __sync_fetch_and_add(&samples_lost, 1);
            return;
        }
    }
    if (thread->samples % 64 == 1) {
        // Threads are born with their parent's name and get their own later.
        bpf_get_current_comm(thread->name, sizeof(thread->name));
    }
    __sync_fetch_and_add(&thread->samples, 1);
}

/// The value of a new process is too large for the 512 bytes of a BPF stack.
static const struct process new_process;

static __always_inline void schedule_description(__u32 tgid) {
    struct task_struct* task = bpf_get_current_task_btf();
    struct mm_struct* mm = task->mm;
    if (!mm || mm->arg_start == 0) {
        return;
    }
    struct process* process = bpf_map_lookup_elem(&processes, &tgid);
    if (!process) {
        bpf_map_update_elem(&processes, &tgid, &new_process, BPF_NOEXIST);
        process = bpf_map_lookup_elem(&processes, &tgid);
        if (!process) {
            __sync_fetch_and_add(&samples_lost, 1);
            return;
        }
    }
    if (process->arguments_at == mm->arg_start) {
        return;
    }
    __u64 now = bpf_ktime_get_ns();
    int error = taskwork_schedule_signal(task, &process->work, &processes, describe_process);
    if (error) {
        __sync_fetch_and_add(&schedule_failures, 1);  // the next event tries again
        return;
    }
    process->scheduled_at_ns = now;
    __sync_fetch_and_add(&schedules, 1);
}

SEC("perf_event")
int sample(struct bpf_perf_event_data* context) {
    __u64 id = bpf_get_current_pid_tgid();
    struct leaf_key leaf = {.tgid = id >> 32, .tid = (__u32)id, .address = context->regs.rip};

    __sync_fetch_and_add(&samples, 1);
    count(&leaves, &leaf);
    count_thread(leaf.tgid, leaf.tid);
    if (record_stacks) {
        struct stack_key stack = {.tgid = leaf.tgid, .tid = leaf.tid};
        bpf_get_stack(context, stack.addresses, sizeof(stack.addresses), BPF_F_USER_STACK);
        count(&stacks, &stack);
    }
    schedule_description(leaf.tgid);
    return 0;
}
