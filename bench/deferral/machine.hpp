// SPDX-License-Identifier: Apache-2.0
//
// What the measurements share: a domain of the process itself, works, a second thread on a
// processor of its own.
#pragma once

#include <benchmark/benchmark.h>
#include <sys/types.h>

#include <atomic>
#include <functional>
#include <thread>

#include <taskwork/taskwork.hpp>

#include "report.hpp"
#include "sync/platform.hpp"

namespace taskwork::bench {

/// How long a thread that is about to block is given for it.
inline constexpr std::uint64_t kSettleNs = 40'000;

/// Each part registers its benchmarks and its lines. Context: task.
void add_local(Report& report);
void add_cross_thread(Report& report);
void add_throughput(Report& report);
void add_asio(Report& report);
void add_libuv(Report& report);
void add_kernel(Report& report);

/// Makes the process a domain of the library, with the calling thread registered. Exits with a
/// message on failure.
/// Context: task.
void start_domain();

/// What a callback changes: how often it has run.
struct alignas(64) Runs {
    std::atomic<std::uint64_t> count{0};
    /// Three instructions: what is measured is the way to it.
    void add() noexcept {
        count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    }
};

/// A work with what it runs, as a user has it.
struct alignas(64) Job {
    Work work;
    Runs runs;
    /// Context: any.
    std::errc schedule_anywhere(const Task& target, Mode mode) noexcept {
        return schedule(work, target, anywhere([this]() noexcept { runs.add(); }), mode);
    }
    /// Context: any.
    std::errc schedule_safe_point(const Task& target, Mode mode) noexcept {
        return schedule(work, target, at_safe_point([this]() noexcept { runs.add(); }), mode);
    }
};

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

/// A registered thread on the second processor that runs body(stop) until stop is set.
class Target {
public:
    /// `wake` is called after stop was set, to end a wait. Returns when the thread is a task.
    explicit Target(std::function<void(const std::atomic<bool>& stop)> body,
                    std::function<void()> wake = {});
    ~Target();
    Target(const Target&) = delete;
    Target& operator=(const Target&) = delete;
    [[nodiscard]] const Task& task() const { return task_; }
    [[nodiscard]] pid_t tid() const { return task_.thread_id(); }

private:
    Task task_;
    std::atomic<bool> ready_{false};
    std::atomic<bool> stop_{false};
    std::function<void()> wake_;
    std::thread thread_;
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
