// SPDX-License-Identifier: Apache-2.0
//
// A thousand threads, born and dead while others compute: by return, by pthread_exit, detached.
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>

#include "burn.h"

enum { kThreads = 1000, kAtOnce = 8 };

static atomic_uint ended;
static sem_t room;

static void* lives(void* number) {
    burn_ms(1);
    atomic_fetch_add(&ended, 1);
    sem_post(&room);
    if ((uintptr_t)number % 3 == 1) {
        pthread_exit(number);
    }
    return number;
}

int main(void) {
    CHECK(sem_init(&room, 0, kAtOnce) == 0);
    pthread_t threads[kThreads];
    for (uintptr_t number = 0; number < kThreads; ++number) {
        while (sem_wait(&room) != 0) {
        }
        CHECK(pthread_create(&threads[number], NULL, lives, (void*)number) == 0);
        if (number % 3 == 2) {
            CHECK(pthread_detach(threads[number]) == 0);
        }
    }
    for (uintptr_t number = 0; number < kThreads; ++number) {
        if (number % 3 != 2) {
            void* result = NULL;
            CHECK(pthread_join(threads[number], &result) == 0);
            CHECK((uintptr_t)result == number);
        }
    }
    for (int left = kAtOnce; left > 0; --left) {
        while (sem_wait(&room) != 0) {
        }
    }
    printf("ended %u\n", atomic_load(&ended));
    return 0;
}
