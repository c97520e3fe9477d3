// SPDX-License-Identifier: Apache-2.0
//
//   engines [--seconds N] [--seed N] [--executions N]
//
// Judges programs of random bytes, from a seed on, until so many executions in native code were
// made or the time is up. Ends with 1 at the first program of which the engines differ.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/fuzz/engines/engines.hpp"
#include "tests/fuzz/soundness/seeds.hpp"

namespace {

using Clock = std::chrono::steady_clock;

void print(const taskwork::fuzz::Engines::Counts& counts, double seconds) {
    const auto number = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
    std::printf("engines: %llu programs, %llu accepted, %llu executions in native code: %llu as in "
                "the interpreter, %llu unrepeatable, %llu cut off; %.0f s\n",
                number(counts.programs), number(counts.accepted), number(counts.executions),
                number(counts.compared), number(counts.unrepeatable), number(counts.cut_off),
                seconds);
    std::fflush(stdout);
}

/// The program at hand, for the handler of the alarm.
volatile std::uint64_t seed_at_hand;
/// What no program takes.
constexpr unsigned kHangSeconds = 30;

void tell_of_hang(int) {
    char line[64];
    const int size = std::snprintf(line, sizeof line, "seed %llu: does not come to its end\n",
                                   static_cast<unsigned long long>(seed_at_hand));
    [[maybe_unused]] const ssize_t written =
        ::write(STDOUT_FILENO, line, static_cast<std::size_t>(size));
    ::_exit(1);
}

}  // namespace

int main(int argc, char** argv) {
    taskwork::fuzz::Engines engines;
    double seconds = 1e9;
    std::uint64_t seed = 1;
    std::uint64_t executions = UINT64_MAX;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (std::strcmp(argv[i], "--seconds") == 0) {
            seconds = std::atof(argv[i + 1]);
        } else if (std::strcmp(argv[i], "--seed") == 0) {
            seed = std::strtoull(argv[i + 1], nullptr, 0);
        } else if (std::strcmp(argv[i], "--executions") == 0) {
            executions = std::strtoull(argv[i + 1], nullptr, 0);
        }
    }
    const auto start = Clock::now();
    const auto elapsed = [&start] {
        return std::chrono::duration<double>(Clock::now() - start).count();
    };
    double told = 0;
    ::signal(SIGALRM, tell_of_hang);
    for (; elapsed() < seconds && engines.counts.executions < executions; ++seed) {
        seed_at_hand = seed;
        ::alarm(kHangSeconds);
        const std::string wrong = engines.judge(taskwork::fuzz::bytes_of_seed(seed));
        if (!wrong.empty()) {
            std::printf("seed %llu: %s", static_cast<unsigned long long>(seed), wrong.c_str());
            return 1;
        }
        if (elapsed() > told + 60) {
            told = elapsed();
            print(engines.counts, told);
        }
    }
    print(engines.counts, elapsed());
    return 0;
}
