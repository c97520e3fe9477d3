// SPDX-License-Identifier: Apache-2.0
//
// What the measurements share: a domain of the process itself, works, a second thread on a
// processor of its own, samples.
#pragma once

#include <benchmark/benchmark.h>
#include <sys/types.h>

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "defer/task_work.hpp"
#include "deferral/report.hpp"

namespace taskwork::bench {

/// How long a thread that is about to block is given for it.
inline constexpr std::uint64_t kSettleNs = 40'000;

/// Makes the process a domain, with the calling thread a task. Exits with a message on failure.
/// Context: task.
void start_domain();

/// A work's owner, as a map value is, and how often its callback has run. The callback is two
/// instructions: what is measured is the way to it.
struct alignas(64) Value {
    defer::Slot slot;
    alignas(64) platform::Atomic<std::uint64_t> runs;
};
/// Context: task.
Value* new_values(unsigned count);

/// Context: any.
defer::ScheduleRequest request_for(Value& value, task::Task* target,
                                   task::Notify mode = task::Notify::signal);

/// Two different processors, for poster and target; false: there is only one.
/// Context: task.
bool two_processors(int& poster, int& target);
/// Context: task.
void pin_to(int processor);
/// Lets the calling thread run anywhere but on the target's processor.
/// Context: task.
void stay_off_target();

/// While it lives the calling thread runs on the first of two processors, and can be put back.
class Poster {
public:
    Poster();
    ~Poster();
    Poster(const Poster&) = delete;
    Poster& operator=(const Poster&) = delete;

private:
    cpu_set_t before_{};
};

/// A thread on the second processor, a task of the domain, that runs body(stop) until stop is set.
class Target {
public:
    /// `wake` is called after stop was set, to end a wait. Returns when the thread is a task.
    explicit Target(std::function<void(const std::atomic<bool>& stop)> body,
                    std::function<void()> wake = {});
    ~Target();
    Target(const Target&) = delete;
    Target& operator=(const Target&) = delete;
    [[nodiscard]] task::Task* task() const { return task_.load(); }
    [[nodiscard]] pid_t tid() const { return task()->tid; }

private:
    std::atomic<task::Task*> task_{nullptr};
    std::atomic<bool> stop_{false};
    std::function<void()> wake_;
    std::thread thread_;
};

/// Times of single operations, of which the median counts: others use the processors too.
class Samples {
public:
    /// `operations` took `ns`. Context: task.
    void add(benchmark::State& state, std::uint64_t ns, std::uint64_t operations = 1) {
        // Never 0: the number of iterations would grow without end.
        state.SetIterationTime(static_cast<double>(ns == 0 ? 1 : ns) * 1e-9);
        each_.push_back(static_cast<double>(ns) / static_cast<double>(operations));
    }
    /// Context: task.
    void finish(benchmark::State& state);

private:
    std::vector<double> each_;
};

/// Waits, without giving up the processor.
/// Context: task.
template <class Condition>
void spin_until(Condition condition) {
    while (!condition()) {
        __builtin_ia32_pause();
    }
}
/// Context: task.
inline void spin_for(std::uint64_t ns) {
    const std::uint64_t end = platform::now_ns() + ns;
    spin_until([&] { return platform::now_ns() >= end; });
}

}  // namespace taskwork::bench
