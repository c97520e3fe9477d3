// SPDX-License-Identifier: Apache-2.0
//
// Computes for so many milliseconds of CPU time.   life_compute MS
#include "burn.h"

int main(int argc, char** argv) {
    CHECK(argc == 2);
    puts("begun");
    fflush(stdout);
    burn_ms((unsigned)atoi(argv[1]));
    puts("done");
    return 0;
}
