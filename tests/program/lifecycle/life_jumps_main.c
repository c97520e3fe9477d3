// SPDX-License-Identifier: Apache-2.0
//
// The application leaves frames that events may have interrupted: by longjmp out of its own handler
// of SIGALRM, 200 times; by cancelling threads, deferred and asynchronously.
//   life_jumps longjmp|cancel
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "burn.h"

enum { kJumps = 200, kCancelled = 100 };

static sigjmp_buf back;

static void on_alarm(int signal) {
    (void)signal;
    siglongjmp(back, 1);
}

static void jump(void) {
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_handler = on_alarm;
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    volatile int jumps = 0;
    if (sigsetjmp(back, 1) != 0) {
        ++jumps;
    }
    if (jumps < kJumps) {
        const struct itimerval soon = {{0, 0}, {0, 1500 + jumps * 7}};
        CHECK(setitimer(ITIMER_REAL, &soon, NULL) == 0);
        for (;;) {
            compute(100);
        }
    }
    burn_ms(200);
    printf("jumps %d\n", jumps);
}

static void* computes_for_ever(void* asynchronous) {
    if (asynchronous != NULL) {
        pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    }
    for (;;) {
        compute(1000);
        if (asynchronous == NULL) {
            pthread_testcancel();
        }
    }
    return NULL;
}

static void cancel(void) {
    int cancelled = 0;
    for (int number = 0; number < kCancelled; ++number) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, computes_for_ever,
                             number % 2 == 0 ? NULL : &cancelled) == 0);
        usleep(3000);
        CHECK(pthread_cancel(thread) == 0);
        void* result = NULL;
        CHECK(pthread_join(thread, &result) == 0);
        cancelled += result == PTHREAD_CANCELED;
    }
    burn_ms(100);
    printf("cancelled %d\n", cancelled);
}

int main(int argc, char** argv) {
    CHECK(argc == 2);
    if (strcmp(argv[1], "longjmp") == 0) {
        jump();
    } else {
        cancel();
    }
    return 0;
}
