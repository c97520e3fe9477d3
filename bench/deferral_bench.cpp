// SPDX-License-Identifier: Apache-2.0
//
// What does deferred execution cost, beside what it cannot be cheaper than? Every measurement has a
// floor that is taken in the same run, repetitions of both mixed at random; the table at the end
// says what is reached. docs/performance.md explains the rows.
//
// A guess beforehand: a schedule onto oneself is a dozen atomics and two clock reads, 130 ns; onto
// a polling thread four cache lines cross, four times the ping-pong; onto others the signal is all.
#include <benchmark/benchmark.h>
#include <sys/resource.h>

#include <string>
#include <vector>

#include "deferral/machine.hpp"
#include "deferral/report.hpp"

int main(int argc, char** argv) {
    using namespace taskwork::bench;
    // What a full run is, unless the command line says otherwise.
    std::vector<std::string> defaults = {"--benchmark_repetitions=9", "--benchmark_min_time=0.04",
                                         "--benchmark_enable_random_interleaving=true"};
    std::vector<char*> arguments = {argv[0]};
    for (std::string& argument : defaults) {
        arguments.push_back(argument.data());
    }
    arguments.insert(arguments.end(), argv + 1, argv + argc);
    int count = static_cast<int>(arguments.size());
    benchmark::Initialize(&count, arguments.data());
    if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) {
        return 1;
    }
    // Before the first thread, so that all have it: others use the processors too.
    const bool preferred = setpriority(PRIO_PROCESS, 0, -20) == 0;
    start_domain();
    Report report;
    report.note(preferred ? "measured with nice -20" : "measured without nice -20 (not permitted)");
    add_local(report);
    add_cross_thread(report);
    add_asio(report);
    add_libuv(report);
    add_throughput(report);
    add_kernel(report);
    benchmark::RunSpecifiedBenchmarks(&report);
    benchmark::Shutdown();
    return report.failed() ? 1 : 0;
}
