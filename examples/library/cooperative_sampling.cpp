// SPDX-License-Identifier: Apache-2.0
//
// A profiler in the manner of JEP 518: the signal handler, which may have interrupted malloc, only
// records where the thread was; at its next safe point the thread itself does what takes memory and
// locks: here, it looks the function up and counts it in a map.
#include <dlfcn.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <map>
#include <string>

#include <taskwork/taskwork.hpp>

namespace {

std::map<std::string, int> profile;  // of the one thread that is sampled

taskwork::Task sampled;
// Several, so that a sample is not lost because the one before it waits for its safe point.
constinit taskwork::Work works[8];
volatile sig_atomic_t taken = 0;
volatile sig_atomic_t lost = 0;

/// At a safe point: anything goes.
void attribute(void* address) {
    Dl_info info{};
    const bool known = ::dladdr(address, &info) != 0 && info.dli_sname != nullptr;
    ++profile[known ? info.dli_sname : "unknown"];
}

/// In the signal handler: nothing goes but this.
void on_sample(int, siginfo_t*, void* ucontext) {
    const taskwork::HandlerScope scope(ucontext);
    const auto& registers = static_cast<ucontext_t*>(ucontext)->uc_mcontext.gregs;
    auto* address = reinterpret_cast<void*>(registers[REG_RIP]);
    for (taskwork::Work& work : works) {
        if (schedule(work, sampled,
                     taskwork::at_safe_point([address]() noexcept { attribute(address); }),
                     taskwork::Mode::resume) == std::errc{}) {
            taken = taken + 1;
            return;
        }
    }
    lost = lost + 1;
}

}  // namespace

extern "C" [[gnu::noinline]] double square_roots(int count) {
    double sum = 0;
    for (int index = 0; index < count; ++index) {
        sum += std::sqrt(index);
    }
    return sum;
}

extern "C" [[gnu::noinline]] std::size_t allocations(int count) {
    std::size_t sum = 0;
    for (int index = 0; index < count; ++index) {
        sum += std::string(static_cast<std::size_t>(100 + index % 1000), 'x').size();
    }
    return sum;
}

int main() {
    sampled = taskwork::this_task();
    struct sigaction action{};
    action.sa_sigaction = on_sample;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    ::sigaction(SIGPROF, &action, nullptr);
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGPROF;
    event._sigev_un._tid = ::gettid();
    timer_t timer{};
    ::timer_create(CLOCK_MONOTONIC, &event, &timer);
    const itimerspec every{{0, 1'000'000}, {0, 1'000'000}};
    ::timer_settime(timer, 0, &every, nullptr);

    double result = 0;
    while (taken < 300) {
        result += square_roots(20'000);
        taskwork::safe_point();
        result += static_cast<double>(allocations(2'000));
        taskwork::safe_point();
    }
    ::timer_delete(timer);
    taskwork::safe_point();

    int counted = 0;
    for (const auto& [name, count] : profile) {
        std::printf("%6d  %s\n", count, name.c_str());
        counted += count;
    }
    std::printf("%d samples, %d lost (result %g)\n", static_cast<int>(taken),
                static_cast<int>(lost), result);
    return counted == taken ? EXIT_SUCCESS : EXIT_FAILURE;
}
