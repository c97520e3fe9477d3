// SPDX-License-Identifier: Apache-2.0
//
// Children by fork, and by _Fork (which runs no fork hooks), each of which computes, forks again
// and has threads of its own.
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "burn.h"

static void* computes(void* unused) {
    burn_ms(20);
    return unused;
}

static int exit_status_of(pid_t pid) {
    int status = 0;
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

int main(int argc, char** argv) {
    const int bare = argc > 1 && strcmp(argv[1], "_Fork") == 0;
    burn_ms(20);
    int sum = 0;
    for (int child = 1; child <= 8; ++child) {
        const pid_t pid = bare ? _Fork() : fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            burn_ms(20);
            if (!bare) {  // after _Fork only async-signal-safe functions may be called
                pthread_t thread;
                CHECK(pthread_create(&thread, NULL, computes, NULL) == 0);
                CHECK(pthread_join(thread, NULL) == 0);
            }
            const pid_t grandchild = bare ? _Fork() : fork();
            if (grandchild == 0) {
                burn_ms(10);
                _exit(child);
            }
            _exit(child + exit_status_of(grandchild));
        }
        sum += exit_status_of(pid);
    }
    burn_ms(20);
    printf("sum %d\n", sum);
    return 0;
}
