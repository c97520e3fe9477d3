// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/soundness/seed_run.hpp"

#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>

#include "tests/fuzz/soundness/seeds.hpp"

namespace taskwork::fuzz {

namespace {

/// Of the program at hand, for the handler of the timer.
volatile std::uint64_t seed_at_hand;
constexpr double kTellSeconds = 60;

void tell_of_hang(int) {
    char line[64];
    const int size = std::snprintf(line, sizeof line, "seed %llu: does not come to its end\n",
                                   static_cast<unsigned long long>(seed_at_hand));
    [[maybe_unused]] const ssize_t written =
        ::write(STDOUT_FILENO, line, static_cast<std::size_t>(size));
    ::_exit(1);
}

/// On a busy machine a second is not much of processor time. 0: none.
void set_timer(unsigned seconds) {
    itimerval timer{};
    timer.it_value.tv_sec = seconds;
    ::setitimer(ITIMER_PROF, &timer, nullptr);
}

}  // namespace

void SeedRun::add_options(CLI::App& app) {
    app.add_option("--seconds", seconds, "end after so much time");
    app.add_option("--seed", seed, "begin with this one");
    app.add_option("--programs", programs, "end after so many that were accepted");
    app.add_option("--executions", executions, "end after so many");
}

bool SeedRun::run(const Judge& judge, Made made, const Tell& tell) const {
    using Clock = std::chrono::steady_clock;
    const auto start = Clock::now();
    const auto elapsed = [&start] {
        return std::chrono::duration<double>(Clock::now() - start).count();
    };
    ::signal(SIGPROF, tell_of_hang);
    double told = 0;
    const auto is_enough = [&] {
        return made.programs >= programs || made.executions >= executions || elapsed() >= seconds;
    };
    for (std::uint64_t at = seed; !is_enough(); ++at) {
        seed_at_hand = at;
        set_timer(hang_seconds);
        const std::string wrong = judge(bytes_of_seed(at));
        set_timer(0);
        if (!wrong.empty()) {
            std::printf("seed %llu: %s", static_cast<unsigned long long>(at), wrong.c_str());
            return false;
        }
        if (elapsed() > told + kTellSeconds) {
            told = elapsed();
            tell(told);
        }
    }
    tell(elapsed());
    return true;
}

int parse(CLI::App& app, int argc, char** argv) {
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error);
    }
    return -1;
}

}  // namespace taskwork::fuzz
