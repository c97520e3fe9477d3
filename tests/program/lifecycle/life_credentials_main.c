// SPDX-License-Identifier: Apache-2.0
//
// A daemon that drops its privileges while a second thread computes: nothing of what it shared with
// others before may be left in its address space.
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "burn.h"

static void* computes(void* unused) {
    burn_ms(300);
    return unused;
}

int main(void) {
    pthread_t thread;
    burn_ms(100);
    CHECK(pthread_create(&thread, NULL, computes, NULL) == 0);
    burn_ms(50);
    CHECK(setgid(65534) == 0);
    CHECK(setuid(65534) == 0);
    FILE* maps = fopen("/proc/self/maps", "re");
    CHECK(maps != NULL);
    char line[1024];
    while (fgets(line, sizeof(line), maps) != NULL) {
        CHECK(strstr(line, "taskwork-arena") == NULL);
    }
    fclose(maps);
    burn_ms(100);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(pthread_create(&thread, NULL, computes, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    printf("user %d\n", (int)getuid());
    return 0;
}
