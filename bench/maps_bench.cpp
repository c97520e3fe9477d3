// SPDX-License-Identifier: Apache-2.0
//
// What does an element operation of a map cost, called from C++ without a program around it, beside
// std::unordered_map under a mutex, which no handler could use, and beside the kernel's maps inside
// a program? docs/performance.md explains the rows.
//
// A guess beforehand: a lookup is a hash of 8 bytes and two cache lines, some 15 ns; a replacement
// claims, fills, links and retires an element with eight locked instructions, some 50; a deletion
// has nine, for it gives a ticket back as well. An LRU's insertion does one of each. A record of a
// ring is five.
#include "maps/subjects.hpp"
#include "report.hpp"

int main(int argc, char** argv) {
    using namespace taskwork::bench;
    return compare(argc, argv, [](Report& report) {
        start_domain();
        add_single(report);
        add_threads(report);
        add_rings(report);
        add_kernel(report);
    });
}
