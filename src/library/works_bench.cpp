// SPDX-License-Identifier: Apache-2.0
//
// What does the library cost in one thread? Back of the envelope: a safe point is a load (0.7 ns);
// onto oneself a schedule, its callback and the way back are about eight uncontended atomic
// read-modify-writes of 6 ns each; a refused schedule is a load or two.
#include <benchmark/benchmark.h>

#include <atomic>

#include <taskwork/taskwork.hpp>

namespace taskwork {
namespace {

void idle_safe_point(benchmark::State& state) {
    const Task me = this_task();
    for (auto _ : state) {
        safe_point();
        benchmark::ClobberMemory();
    }
}
BENCHMARK(idle_safe_point);

void load_and_branch(benchmark::State& state) {
    static std::atomic<std::uint64_t> word{0};
    for (auto _ : state) {
        if (word.load(std::memory_order_relaxed) != 0) {
            state.SkipWithError("nobody sets it");
        }
        benchmark::ClobberMemory();
    }
}
BENCHMARK(load_and_branch);

void schedule_and_run_here(benchmark::State& state) {
    const Task me = this_task();
    Work work;
    std::uint64_t runs = 0;
    for (auto _ : state) {
        if (schedule(work, me, anywhere([&runs]() noexcept { ++runs; })) != std::errc{}) {
            state.SkipWithError("refused");
        }
    }
    if (runs != static_cast<std::uint64_t>(state.iterations())) {
        state.SkipWithError("lost");
    }
}
BENCHMARK(schedule_and_run_here);

void schedule_and_run_at_a_safe_point(benchmark::State& state) {
    const Task me = this_task();
    Work work;
    std::uint64_t runs = 0;
    for (auto _ : state) {
        if (schedule(work, me, at_safe_point([&runs]() noexcept { ++runs; })) != std::errc{}) {
            state.SkipWithError("refused");
        }
        safe_point();
    }
    if (runs != static_cast<std::uint64_t>(state.iterations())) {
        state.SkipWithError("lost");
    }
}
BENCHMARK(schedule_and_run_at_a_safe_point);

void refused_while_scheduled(benchmark::State& state) {
    const Task me = this_task();
    Work work;
    benchmark::DoNotOptimize(schedule(work, me, at_safe_point([]() noexcept {})));
    for (auto _ : state) {
        if (schedule(work, me, at_safe_point([]() noexcept {})) == std::errc{}) {
            state.SkipWithError("accepted");
        }
    }
    safe_point();
}
BENCHMARK(refused_while_scheduled);

void uncontended_fetch_add(benchmark::State& state) {
    std::atomic<std::uint64_t> word{0};
    for (auto _ : state) {
        word.fetch_add(1, std::memory_order_seq_cst);
    }
    benchmark::DoNotOptimize(word.load());
}
BENCHMARK(uncontended_fetch_add);

}  // namespace
}  // namespace taskwork
