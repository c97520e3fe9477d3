// SPDX-License-Identifier: Apache-2.0
//
// A process drops its privileges, by which it leaves the domain, while a thread of it stands at an
// instruction of the preload library's handler: at every one in turn, by the trap flag, each time
// in a child of its own. Until that thread is out of the handler the arena must stay.
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "burn.h"

enum { kTrapFlag = 0x100, kChildrenMax = 300 };

typedef void signal_handler(int, siginfo_t*, void*);

static signal_handler* handler; /* the preload library's */
static pid_t leaver;
static long stand_at; /* the step at which the thread is held */
static volatile long steps;
static atomic_int stands, has_left, is_through;

/* What the kernel says of the thread that leaves: it sleeps, waiting for us. */
static int leaver_sleeps(void) {
    char path[64];
    char text[16] = "";
    snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", (int)leaver);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
    close(fd);
    return atoi(text) == SYS_clock_nanosleep || atoi(text) == SYS_nanosleep;
}

static void step(int number, siginfo_t* info, void* context) {
    (void)number;
    (void)info;
    if (++steps != stand_at) {
        return;
    }
    ((ucontext_t*)context)->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)kTrapFlag;
    stands = 1;
    while (!has_left && !leaver_sleeps()) {
        sched_yield();
    }
}

/* The handler, called as the kernel would; through the kernel the trap flag would be gone in it. */
static void* serves(void* unused) {
    siginfo_t info;
    ucontext_t context;
    memset(&info, 0, sizeof(info));
    memset(&context, 0, sizeof(context));
    info.si_signo = SIGURG;
    info.si_code = SI_QUEUE;
    info.si_value.sival_ptr = (void*)0x7461736b776f726bL; /* a notification of works */
    context.uc_mcontext.gregs[REG_RSP] = (greg_t)__builtin_frame_address(0);
    __asm__ volatile("pushfq\n\torq $0x100, (%%rsp)\n\tpopfq" ::: "memory", "cc");
    handler(SIGURG, &info, &context);
    __asm__ volatile("pushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq" ::: "memory", "cc");
    is_through = 1;
    return unused;
}

static void leave_while_it_stands(void) {
    pthread_t thread;
    leaver = (pid_t)syscall(SYS_gettid);
    CHECK(pthread_create(&thread, NULL, serves, NULL) == 0);
    while (!stands && !is_through) {
        sched_yield();
    }
    CHECK(setgid(65534) == 0);
    has_left = 1;
    CHECK(pthread_join(thread, NULL) == 0);
    FILE* maps = fopen("/proc/self/maps", "re");
    CHECK(maps != NULL);
    char line[1024];
    while (fgets(line, sizeof(line), maps) != NULL) {
        CHECK(strstr(line, "taskwork-arena") == NULL);
    }
    fclose(maps);
}

/* The steps of the handler, where nobody leaves. */
static long count_steps(void) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, serves, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    return steps;
}

int main(void) {
    struct sigaction action;
    struct {
        void* handler;
        unsigned long flags;
        void* restorer;
        uint64_t mask;
    } installed;
    memset(&action, 0, sizeof(action));
    action.sa_sigaction = step;
    action.sa_flags = SA_SIGINFO;
    CHECK(sigaction(SIGTRAP, &action, NULL) == 0);
    CHECK(syscall(SYS_rt_sigaction, SIGURG, NULL, &installed, sizeof(uint64_t)) == 0);
    burn_ms(200);
    if (installed.handler == NULL) {
        puts("left at every step"); /* as a program without taskwork has nothing to leave */
        return 0;
    }
    memcpy(&handler, &installed.handler, sizeof(handler));
    const long total = count_steps();
    CHECK(total > 100);
    const long stride = total / kChildrenMax + 1;
    for (stand_at = 1; stand_at < total; stand_at += stride) {
        steps = 0;
        is_through = 0;
        fflush(NULL);
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            leave_while_it_stands();
            _exit(0);
        }
        int status = -1;
        CHECK(waitpid(child, &status, 0) == child);
        if (status != 0) {
            fprintf(stderr, "wait status %#x at step %ld of %ld\n", (unsigned)status, stand_at,
                    total);
            return 1;
        }
    }
    puts("left at every step");
    return 0;
}
