/* SPDX-License-Identifier: Apache-2.0
 *
 * For programs that run under the preload library's interposition with a test agent in the place of
 * ours (test_agent.cpp): "ours" is SIGURG with SI_QUEUE and OUR_MARK.
 */
#ifndef TASKWORK_INTERPOSE_COMMON_H
#define TASKWORK_INTERPOSE_COMMON_H

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define OUR_MARK 0x6f757273

/* Counters of the test agent, which is preloaded, not linked. */
struct test_agent {
    atomic_long* served; /* signals of ours that its hook has seen */
    atomic_long* threads_started;
    atomic_long* threads_exiting;
    atomic_long* forked_children;
    atomic_long* faults_recovered;
    const char* _Atomic* reads;   /* what its hook reads when it serves one of ours */
    void (*_Atomic* calls)(void); /* what it calls then */
    int (*probe)(const char*);    /* reads a byte: 0, or -1 if that faulted */
};

static struct test_agent test_agent;

static inline void* agent_symbol(const char* name) {
    void* symbol = dlsym(RTLD_DEFAULT, name);
    if (symbol == NULL) {
        fprintf(stderr, "the test agent is not preloaded: %s\n", name);
        exit(3);
    }
    return symbol;
}

__attribute__((constructor)) static void find_agent(void) {
    test_agent.served = agent_symbol("test_agent_served");
    test_agent.threads_started = agent_symbol("test_agent_threads_started");
    test_agent.threads_exiting = agent_symbol("test_agent_threads_exiting");
    test_agent.forked_children = agent_symbol("test_agent_forked_children");
    test_agent.faults_recovered = agent_symbol("test_agent_faults_recovered");
    test_agent.reads = agent_symbol("test_agent_reads");
    test_agent.calls = agent_symbol("test_agent_calls");
    test_agent.probe = (int (*)(const char*))agent_symbol("test_agent_probe");
}

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: failed: %s (errno %d)\n", __FILE__, __LINE__, #condition,      \
                    errno);                                                                        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static inline long long now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static inline int send_ours(pid_t tid) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_signo = SIGURG;
    info.si_code = SI_QUEUE;
    info.si_value.sival_int = OUR_MARK;
    return (int)syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, SIGURG, &info);
}

static inline int send_foreign(pid_t tid) {
    return (int)syscall(SYS_tgkill, getpid(), tid, SIGURG);
}

/* Passes the time without the calls under test. */
static inline void pass_ns(long ns) {
    struct timespec time = {0, ns};
    syscall(SYS_nanosleep, &time, NULL);
}

struct flood {
    pthread_t thread;
    pid_t target;
    atomic_int stop;
    atomic_int quiet; /* 1: asked for, 2: it is */
};

static inline void* flood_main(void* argument) {
    struct flood* flood = argument;
    while (!flood->stop) {
        if (flood->quiet) {
            flood->quiet = 2;
        } else {
            send_ours(flood->target);
        }
        pass_ns(200000);
    }
    return NULL;
}

/* Sends ours to the calling thread until flood_end. */
static inline void flood_begin(struct flood* flood) {
    flood->target = (pid_t)syscall(SYS_gettid);
    flood->stop = 0;
    flood->quiet = 0;
    CHECK(pthread_create(&flood->thread, NULL, flood_main, flood) == 0);
}

static inline void flood_end(struct flood* flood) {
    flood->stop = 1;
    CHECK(pthread_join(flood->thread, NULL) == 0);
}

/* Waits until `count` more of ours have been served. */
static inline void await_served(long count) {
    const long until = *test_agent.served + count;
    while (*test_agent.served < until) {
        pass_ns(100000);
    }
}

/* Holds the flood back, until `quiet` is set to 0. */
static inline void flood_hold(struct flood* flood) {
    flood->quiet = 1;
    while (flood->quiet != 2) {
        pass_ns(100000);
    }
}

/* Waits until a thread sleeps in one of the waits under test. */
static inline void await_wait(pid_t tid) {
    char path[64], text[16];
    int number;
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", (int)tid);
    do {
        FILE* file = fopen(path, "r");
        CHECK(file != NULL && fgets(text, sizeof text, file) != NULL);
        fclose(file);
        number = atoi(text); /* or "running" */
    } while (number != SYS_poll && number != SYS_ppoll && number != SYS_pselect6 &&
             number != SYS_rt_sigsuspend && number != SYS_rt_sigtimedwait && number != SYS_pause &&
             number != SYS_clock_nanosleep);
}

struct test_case {
    const char* name;
    void (*run)(void);
};

static inline int run_case(const struct test_case* cases, int argc, char** argv) {
    for (; argc == 2 && cases->name != NULL; ++cases) {
        if (strcmp(cases->name, argv[1]) == 0) {
            cases->run();
            return 0;
        }
    }
    fprintf(stderr, "no such case\n");
    return 2;
}

#endif
