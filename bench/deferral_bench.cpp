// SPDX-License-Identifier: Apache-2.0
//
// What does deferred execution cost, beside what it cannot be cheaper than? Every measurement has a
// floor that is taken in the same run, repetitions of both mixed at random; the table at the end
// says what is reached. docs/performance.md explains the rows.
//
// A guess beforehand: a schedule onto oneself is a dozen atomics and two clock reads, 130 ns; onto
// a polling thread four cache lines cross, four times the ping-pong; onto others the signal is all.
#include "deferral/machine.hpp"
#include "report.hpp"

int main(int argc, char** argv) {
    using namespace taskwork::bench;
    return compare(argc, argv, [](Report& report) {
        start_domain();
        add_local(report);
        add_cross_thread(report);
        add_asio(report);
        add_libuv(report);
        add_throughput(report);
        add_kernel(report);
    });
}
