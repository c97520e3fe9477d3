// SPDX-License-Identifier: Apache-2.0
//
// A program that uses the library as it is meant to be used, with threads that compute, allocate,
// wait and end, and a SIGURG handler of its own. Prints what it did, and "ok". With an argument: a
// plug-in with a copy of the library of its own works on the same threads at the same time.
#include <dlfcn.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include <taskwork/taskwork.hpp>

namespace {

using taskwork::Mode;
using taskwork::Task;
using taskwork::Work;

volatile sig_atomic_t urgent = 0;

[[noreturn]] void fail(const char* what) {
    std::printf("failed: %s\n", what);
    std::exit(1);
}

void check(bool condition, const char* what) {
    if (!condition) {
        fail(what);
    }
}

template <class Condition>
void wait_until(Condition condition, const char* what) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition()) {
        check(std::chrono::steady_clock::now() < end, what);
        std::this_thread::yield();
    }
}

struct Worker {
    std::atomic<bool> ready{false};
    std::atomic<bool> over{false};
    std::atomic<bool> wanted{true};  ///< Works are scheduled onto it, one after the other.
    Task task;
    std::thread thread;
};

/// Computes, allocates and waits, with safe points in between.
void work_on(Worker& me, bool waits, int (*register_plugin)()) {
    me.task = taskwork::this_task();
    if (register_plugin != nullptr) {
        check(register_plugin() == 0, "the plug-in's copy registers the thread too");
    }
    me.ready = true;
    std::vector<std::string> kept(100);
    std::size_t turn = 0;
    while (!me.over) {
        taskwork::safe_point();
        if (waits) {
            const timespec timeout{20, 0};
            if (taskwork::ppoll(nullptr, 0, &timeout) == 0 && me.wanted) {
                fail("a wait was not interrupted");
            }
        } else {
            ++turn;
            kept[turn % kept.size()] = std::string(turn % 3000, 'x');
        }
    }
}

}  // namespace

int main(int count, char** arguments) {
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    struct sigaction action{};
    action.sa_handler = [](int) { urgent = urgent + 1; };
    ::sigaction(SIGURG, &action, nullptr);
    check(taskwork::init() == std::errc{}, "init");

    int (*register_plugin)() = nullptr;
    int (*plugin_rounds)(int, int) = nullptr;
    if (count > 1) {
        void* plugin = ::dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
        check(plugin != nullptr, "the plug-in loads");
        register_plugin = reinterpret_cast<int (*)()>(::dlsym(plugin, "plugin_register"));
        plugin_rounds = reinterpret_cast<int (*)(int, int)>(::dlsym(plugin, "plugin_rounds"));
        check(register_plugin() == 0, "the plug-in's copy makes a domain");
    }

    Worker computing;
    computing.thread = std::thread([&] { work_on(computing, false, register_plugin); });
    Worker waiting;
    waiting.thread = std::thread([&] { work_on(waiting, true, nullptr); });
    wait_until([&] { return computing.ready && waiting.ready; }, "threads start");

    std::atomic<int> from_plugin{0};
    std::thread other;
    if (plugin_rounds != nullptr) {
        other = std::thread([&] {
            check(register_plugin() == 0, "another thread of the plug-in's");
            from_plugin = plugin_rounds(computing.task.thread_id(), 3000);
        });
    }
    Work works[2];
    std::atomic<int> runs{0};
    constexpr int kRounds = 1000;
    int raised = 0;
    for (int round = 0; round < kRounds; ++round) {
        const auto run = [&runs]() noexcept { ++runs; };
        check(schedule(works[0], computing.task, taskwork::anywhere(run), Mode::signal) ==
                  std::errc{},
              "schedule onto the computing thread");
        check(schedule(works[1], waiting.task, taskwork::at_safe_point(run), Mode::signal) ==
                  std::errc{},
              "schedule onto the waiting thread");
        wait_until([&] { return runs == 2 * (round + 1); }, "both ran");
        wait_until(
            [&] {
                return works[0].state() == Work::State::idle &&
                       works[1].state() == Work::State::idle;
            },
            "both are idle");
        if (round % 100 == 0) {
            const int before = urgent;
            ++raised;
            ::raise(SIGURG);
            // Foreign ones coalesce with ours, as standard signals do; none is pending here.
            wait_until([&] { return urgent != before; }, "a foreign SIGURG arrives");
        }
    }
    // The plug-in's rounds go on, on a busy machine for longer than a wait.
    waiting.wanted = false;
    if (other.joinable()) {
        other.join();
        check(from_plugin == 3000, "the plug-in's works all ran");
    }
    computing.over = true;
    waiting.over = true;
    Work last;
    check(schedule(last, waiting.task, taskwork::at_safe_point([]() noexcept {})) == std::errc{},
          "wake the waiting thread");
    computing.thread.join();
    waiting.thread.join();
    const taskwork::Counters sum = taskwork::counters();
    check(urgent == raised, "the program's handler sees its own signals alone");
    check(sum.scheduled == sum.ran && sum.in_flight == 0, "the counters balance");
    std::printf("%llu ran, %d urgent\nok\n", static_cast<unsigned long long>(sum.ran),
                static_cast<int>(urgent));
    return 0;
}
