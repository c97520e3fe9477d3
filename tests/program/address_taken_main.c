// SPDX-License-Identifier: Apache-2.0
//
// A program that has something at the arena's address before any library of it is initialised:
// functions of .preinit_array come before all constructors. It checks that this stays its own.
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>

static char* const kAddress = (char*)0x200000000000;
static char* mine;

static void take(int argc, char** argv, char** environment) {
    (void)argc;
    (void)argv;
    (void)environment;
    mine = mmap(kAddress, 4096, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (mine == kAddress) {
        mine[7] = 42;
    }
}

__attribute__((section(".preinit_array"), used)) static void (*const first)(int, char**,
                                                                            char**) = take;

int main(void) {
    if (mine != kAddress) {
        return 2;  // the test is none then
    }
    // Long enough for `run` to have a look at it.
    const clock_t end = clock() + CLOCKS_PER_SEC / 2;
    while (clock() < end) {
        if (((volatile char*)mine)[7] != 42) {
            return 1;
        }
    }
    puts("kept its own");
    return 0;
}
