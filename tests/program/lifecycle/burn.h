// SPDX-License-Identifier: Apache-2.0
//
// For programs that are sampled: computing for a given CPU time, which is what fires events.
#ifndef TASKWORK_TESTS_PROGRAM_LIFECYCLE_BURN_H
#define TASKWORK_TESTS_PROGRAM_LIFECYCLE_BURN_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline uint64_t thread_cpu_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/// The value depends on nothing but `rounds`, so a register or a word that an event has changed
/// shows in it.
static inline uint64_t compute(uint64_t rounds) {
    uint64_t value = 88172645463325252u;
    for (uint64_t round = 0; round < rounds; ++round) {
        value ^= value << 13;
        value ^= value >> 7;
        value ^= value << 17;
    }
    return value;
}

/// Computes for `ms` milliseconds of the calling thread's CPU time, and checks the results.
static inline void burn_ms(unsigned ms) {
    const uint64_t expected = compute(5000);
    const uint64_t end = thread_cpu_ns() + ms * UINT64_C(1000000);
    do {
        volatile uint64_t rounds = 5000;
        if (compute(rounds) != expected) {
            fputs("a computation went wrong\n", stderr);
            abort();
        }
    } while (thread_cpu_ns() < end);
}

/// Ends the program with a line if `condition` is false.
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#endif
