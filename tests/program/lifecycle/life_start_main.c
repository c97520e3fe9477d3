// SPDX-License-Identifier: Apache-2.0
//
// New programs: by vfork and exec, by posix_spawn, and by exec alone, in the same process.
//   life_start vfork|spawn|exec [N]
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "burn.h"

extern char** environ;

int main(int argc, char** argv) {
    CHECK(argc > 1);
    const char* how = argv[1];
    const int generation = argc > 2 ? atoi(argv[2]) : 0;
    char next[16];
    snprintf(next, sizeof(next), "%d", generation + 1);
    char* arguments[] = {argv[0], argv[1], next, NULL};
    burn_ms(30);
    if (strcmp(how, "exec") == 0) {
        if (generation < 5) {
            execv("/proc/self/exe", arguments);
            return 1;
        }
        printf("generation %d\n", generation);
        return 0;
    }
    if (generation != 0) {
        return 40 + generation;
    }
    int sum = 0;
    for (int child = 0; child < 8; ++child) {
        pid_t pid = -1;
        if (strcmp(how, "vfork") == 0) {
            pid = vfork();
            if (pid == 0) {
                execv("/proc/self/exe", arguments);
                _exit(127);
            }
        } else {
            CHECK(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, arguments, environ) == 0);
        }
        CHECK(pid > 0);
        burn_ms(5);
        int status = 0;
        CHECK(waitpid(pid, &status, 0) == pid);
        CHECK(WIFEXITED(status));
        sum += WEXITSTATUS(status);
    }
    burn_ms(30);
    printf("sum %d\n", sum);
    return 0;
}
