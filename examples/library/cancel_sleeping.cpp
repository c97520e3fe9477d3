// SPDX-License-Identifier: Apache-2.0
//
// Work for a thread that sleeps, and its cancellation. Nothing that is scheduled in resume mode
// wakes the sleeper, so its owner can still take it back; what refers to something that dies is
// cancelled with cancel_and_wait().
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include <taskwork/taskwork.hpp>

namespace {

void check(bool condition, const char* what) {
    std::printf("%s: %s\n", condition ? "ok" : "failed", what);
    if (!condition) {
        std::exit(EXIT_FAILURE);
    }
}

}  // namespace

int main() {
    taskwork::init();
    const int alarm = ::eventfd(0, EFD_CLOEXEC);
    taskwork::Task sleeper;
    std::atomic<bool> ready{false};
    std::thread thread([&] {
        sleeper = taskwork::this_task();
        ready = true;
        std::uint64_t rings = 0;
        // The read is restarted after signals: only the alarm ends it.
        [[maybe_unused]] const auto got = ::read(alarm, &rings, sizeof(rings));
        taskwork::safe_point();
    });
    while (!ready) {
        std::this_thread::yield();
    }

    // Three works, whose callables refer to something that their owner has.
    auto names = std::make_unique<std::string>();
    taskwork::Work first;
    taskwork::Work second;
    const auto append = [at = names.get()](char letter) {
        return taskwork::at_safe_point([at, letter]() noexcept { at->push_back(letter); });
    };
    check(schedule(first, sleeper, append('a'), taskwork::Mode::resume) == std::errc{},
          "scheduled onto a thread that sleeps");
    {
        taskwork::Work third;
        check(schedule(third, sleeper, append('b'), taskwork::Mode::resume) == std::errc{},
              "another");
    }  // Destroyed: cancelled.
    check(schedule(second, sleeper, append('c'), taskwork::Mode::resume) == std::errc{},
          "and another");
    check(first.state() == taskwork::Work::State::scheduled, "it sleeps on, undisturbed");

    check(second.cancel(), "cancelled in time: its callback will not start");
    check(!second.cancel(), "only once");
    check(second.state() == taskwork::Work::State::idle, "and it can be scheduled again");
    check(schedule(second, sleeper, append('d'), taskwork::Mode::resume) == std::errc{},
          "which is done");

    // Whether the sleeper is just about to run it or not: afterwards nobody uses `names`.
    check(second.cancel_and_wait() == std::errc{}, "cancelled, and waited for");

    const std::uint64_t one = 1;
    check(::write(alarm, &one, sizeof(one)) == sizeof(one), "the alarm rings");
    thread.join();
    check(*names == "a", "the one that nobody cancelled has run");
    names.reset();

    const taskwork::Counters sum = taskwork::counters();
    check(sum.scheduled == 4 && sum.ran == 1 && sum.cancelled == 3 && sum.in_flight == 0,
          "four schedules: one ran, three were cancelled");
    ::close(alarm);
    return EXIT_SUCCESS;
}
