// SPDX-License-Identifier: Apache-2.0
//
// Programs that take away what a guest might have relied on.
//   close     every descriptor but the standard ones is closed, and the numbers are used again
//   block     all signals are blocked, in two threads
//   altstack  handlers on alternate stacks of 8 KiB, as language runtimes have them
//   altwaits  the same, and those handlers wait, naming SIGURG or admitting it
//   seccomp   read, write, exit and sigreturn are all that the kernel still answers; else it kills
//   sandbox   the same and poll, in which notifications arrive
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "burn.h"

static void close_everything(void) {
    burn_ms(50);
    CHECK(syscall(SYS_close_range, 3, ~0U, 0) == 0);
    int files[8];
    for (int index = 0; index < 8; ++index) {
        files[index] = memfd_create("mine", 0);
        CHECK(files[index] >= 3);
        CHECK(write(files[index], &index, sizeof(index)) == sizeof(index));
    }
    burn_ms(300);
    for (int index = 0; index < 8; ++index) {
        int found = -1;
        CHECK(pread(files[index], &found, sizeof(found), 0) == sizeof(found));
        CHECK(found == index);
    }
    puts("files kept");
}

static void* computes(void* unused) {
    burn_ms(200);
    return unused;
}

static void block_all(void) {
    sigset_t all;
    sigset_t seen;
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, NULL) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, computes, NULL) == 0);
    burn_ms(200);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &seen) == 0);
    CHECK(sigismember(&seen, SIGURG) == 1);
    CHECK(sigismember(&seen, SIGUSR1) == 1);
    puts("blocked");
}

enum { kAlternate = 8192, kTicks = 300 };
static volatile sig_atomic_t ticks;

static int waits;

static void wait_for_nothing(void) {
    const struct timespec soon = {0, 20000};
    sigset_t urgent;
    sigset_t
        ticking;  // The tick itself stays out: handlers that nest overrun the stack by themselves.
    sigemptyset(&urgent);
    sigaddset(&urgent, SIGURG);
    sigemptyset(&ticking);
    sigaddset(&ticking, SIGPROF);
    CHECK(sigtimedwait(&urgent, NULL, &soon) == -1);
    CHECK(ppoll(NULL, 0, &soon, &ticking) == 0);
    sigaddset(&ticking, SIGURG);
    CHECK(pselect(0, NULL, NULL, NULL, &soon, &ticking) == 0);
}

static void on_tick(int signal) {
    (void)signal;
    if (waits) {
        wait_for_nothing();
    }
    volatile char local[1024];
    memset((char*)local, (int)ticks, sizeof(local));
    compute(20000);
    CHECK(local[1000] == (char)ticks);
    ++ticks;
}

static void* on_small_stack(void* unused) {
    char* memory =
        mmap(NULL, 4096 + kAlternate, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    CHECK(mprotect(memory, 4096, PROT_NONE) == 0);  // an overrun kills at once
    const stack_t stack = {.ss_sp = memory + 4096, .ss_size = kAlternate};
    CHECK(sigaltstack(&stack, NULL) == 0);
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_handler = on_tick;
    action.sa_flags = SA_ONSTACK | SA_RESTART;
    CHECK(sigaction(SIGPROF, &action, NULL) == 0);
    const struct itimerval often = {{0, 1000}, {0, 1000}};
    CHECK(setitimer(ITIMER_PROF, &often, NULL) == 0);
    while (ticks < kTicks) {
        burn_ms(1);
    }
    const struct itimerval never = {{0, 0}, {0, 0}};
    CHECK(setitimer(ITIMER_PROF, &never, NULL) == 0);
    return unused;
}

static void alternate_stack(void) {
    on_small_stack(NULL);
    puts("ticks done");
}

#define ALLOW(number)                                                                              \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1),                                           \
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static void restrict_calls(void) {
    // The same work as burn_ms(400), which asks the time by system calls.
    const uint64_t begin = thread_cpu_ns();
    const uint64_t expected = compute(1000000);
    const uint64_t each = thread_cpu_ns() - begin;
    const uint64_t times = 1 + UINT64_C(400000000) / (each == 0 ? 1 : each);
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        ALLOW(SYS_read),
        ALLOW(SYS_write),
        ALLOW(SYS_exit),
        ALLOW(SYS_exit_group),
        ALLOW(SYS_rt_sigreturn),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    const struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};
    static char text[] = "restricted\n";
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
    for (uint64_t time = 0; time < times; ++time) {
        volatile uint64_t rounds = 1000000;
        if (compute(rounds) != expected) {
            _exit(1);
        }
    }
    if (write(STDOUT_FILENO, text, sizeof(text) - 1) != sizeof(text) - 1) {
        _exit(1);
    }
}

// From outside, for a process that may send nothing: as the worker tells of works.
static pid_t start_notifying(pid_t target) {
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        const union sigval mark = {.sival_ptr = (void*)0x7461736b776f726bL};
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (sigqueue(target, SIGURG, mark) == 0) {
            usleep(1000);
        }
        _exit(0);
    }
    return child;
}

static void wait_in_a_sandbox(void) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        ALLOW(SYS_read),
        ALLOW(SYS_write),
        ALLOW(SYS_poll),
        ALLOW(SYS_exit_group),
        ALLOW(SYS_rt_sigreturn),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    const struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};
    struct timespec begin;
    struct timespec end;
    static char text[] = "waited\n";
    burn_ms(100);
    start_notifying(getpid());
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
    // By the vDSO: no system call.
    if (clock_gettime(CLOCK_MONOTONIC, &begin) != 0 || poll(NULL, 0, 200) != 0 ||
        clock_gettime(CLOCK_MONOTONIC, &end) != 0) {
        _exit(1);
    }
    const int64_t waited_ns =
        (end.tv_sec - begin.tv_sec) * INT64_C(1000000000) + end.tv_nsec - begin.tv_nsec;
    if (waited_ns < 199000000 || write(STDOUT_FILENO, text, sizeof(text) - 1) != sizeof(text) - 1) {
        _exit(1);
    }
    _exit(0);
}

int main(int argc, char** argv) {
    CHECK(argc == 2);
    if (strcmp(argv[1], "close") == 0) {
        close_everything();
    } else if (strcmp(argv[1], "block") == 0) {
        block_all();
    } else if (strcmp(argv[1], "altstack") == 0) {
        alternate_stack();
    } else if (strcmp(argv[1], "altwaits") == 0) {
        waits = 1;
        alternate_stack();
    } else if (strcmp(argv[1], "sandbox") == 0) {
        wait_in_a_sandbox();
    } else if (strcmp(argv[1], "seccomp") == 0) {
        restrict_calls();
    } else {
        return 2;
    }
    return 0;
}
