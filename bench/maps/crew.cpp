// SPDX-License-Identifier: Apache-2.0
#include "maps/crew.hpp"

#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "sync/platform.hpp"
#include "task/task.hpp"

namespace taskwork::bench {

namespace {

/// Some 100 us.
constexpr unsigned kSpins = 8192;
/// How often a round is tried until threads have run at the same time.
constexpr unsigned kTriesMax = 20;

}  // namespace

Crew::Crew(unsigned threads, std::function<void(unsigned)> batch)
    : batch_(std::move(batch)), spans_(threads) {
    for (unsigned i = 0; i < threads; ++i) {
        threads_.emplace_back([this, i] { work(i); });
    }
}

Crew::~Crew() {
    stop_.store(true);
    rounds_.fetch_add(1);
    rounds_.notify_all();
    for (std::thread& thread : threads_) {
        thread.join();
    }
}

void Crew::work(unsigned thread) {
    if (task::register_current(0, 0) != no_error) {
        std::fprintf(stderr, "maps_bench: registering a thread failed\n");
        std::exit(1);
    }
    for (std::uint32_t round = 1;; ++round) {
        rounds_.wait(round - 1);
        if (stop_.load()) {
            break;
        }
        // All are here before any begins: woken one by one they would work one by one.
        arrived_.fetch_add(1);
        // Who yields may be away for long.
        for (unsigned spins = 1; arrived_.load() < round * threads_.size(); ++spins) {
            __builtin_ia32_pause();
            if (spins % kSpins == 0) {
                sched_yield();
            }
        }
        spans_[thread].begin = platform::now_ns();
        batch_(thread);
        spans_[thread].end = platform::now_ns();
        finished_.fetch_add(1);
        finished_.notify_one();
    }
    task::exit_current();
}

bool Crew::overlapped() const {
    if (spans_.size() == 1 || spans_.size() > std::thread::hardware_concurrency()) {
        return true;
    }
    Span common = spans_[0];
    std::uint64_t longest = 0;
    for (const Span& span : spans_) {
        common = {std::max(common.begin, span.begin), std::min(common.end, span.end)};
        longest = std::max(longest, span.end - span.begin);
    }
    return common.end > common.begin && (common.end - common.begin) * 4 > longest * 3;
}

void Crew::round(benchmark::State& state, Samples& samples, std::uint64_t operations,
                 const std::function<void()>& prepare, double loop_ns) {
    const auto all = static_cast<std::uint32_t>(spans_.size());
    bool together = false;
    for (unsigned tries = 0; !together && tries < kTriesMax; ++tries) {
        prepare();
        const std::uint32_t round = rounds_.fetch_add(1) + 1;
        rounds_.notify_all();
        for (std::uint32_t done = finished_.load(); done != round * all; done = finished_.load()) {
            finished_.wait(done);
        }
        together = overlapped();
    }
    std::uint64_t sum = 0;
    for (const Span& span : spans_) {
        sum += span.end - span.begin;
    }
    if (together) {
        const double ns = static_cast<double>(sum) / static_cast<double>(all * operations);
        samples.add(std::max(ns - loop_ns, 0.0));
    }
    state.SetIterationTime(static_cast<double>(sum) * 1e-9 / all);
}

}  // namespace taskwork::bench
