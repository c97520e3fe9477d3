// SPDX-License-Identifier: Apache-2.0
//
// Several threads on one map: with keys of their own, or all with the same. A sample is the time of
// one thread's batch, in which the others do theirs; with more threads than processors some wait
// for one, between batches rather than in them.
#include <atomic>
#include <type_traits>
#include <vector>

#include "maps/crew.hpp"
#include "maps/subjects.hpp"
#include "sync/platform.hpp"

namespace taskwork::bench {

namespace {

constexpr unsigned kThreadsMax = 4;
/// Spares for a batch of updates of all threads.
constexpr std::uint32_t kRoom = 1U << 16;
constexpr std::uint64_t kUpdates = 2'000;
constexpr std::uint64_t kOthers = 10'000;
constexpr int kRounds = 30;

template <class Subject>
Subject& filled(Subject& subject) {
    fill(subject, 0, kThreadsMax * kSmall);
    return subject;
}
Ours& ours() {
    static Ours subject(BPF_MAP_TYPE_HASH, kRoom);
    static Ours& full = filled(subject);
    return full;
}
Locked& locked() {
    static Locked subject;
    static Locked& full = filled(subject);
    return full;
}

template <class Subject>
void together(benchmark::State& state, Subject& subject, Operation operation, unsigned threads,
              bool is_shared) {
    const bool uses_spares = std::is_same_v<Subject, Ours> && operation != Operation::lookup;
    const std::uint64_t times = uses_spares ? kUpdates : kOthers;
    std::vector<Walk> walks;
    for (unsigned i = 0; i < threads; ++i) {
        walks.emplace_back(is_shared ? 0 : i * kSmall, kSmall);
    }
    std::atomic<bool> failed{false};
    Crew crew(threads, [&](unsigned i) {
        if (run(subject, operation, walks[i], times) != times) {
            failed = true;
        }
    });
    Samples samples;
    for (auto _ : state) {
        crew.round(state, samples, times, [&] { subject.settle(); });
    }
    samples.finish(state);
    if (failed) {
        state.SkipWithError("an operation failed");
    }
}

template <class Subject>
void add(Report& report, const char* whose, Subject& (*subject)(), Operation operation,
         bool is_shared) {
    std::string alone;
    for (const unsigned threads : {1U, 2U, kThreadsMax}) {
        const std::string name = std::string(whose) +
                                 (operation == Operation::lookup ? "lookup" : "update") +
                                 (is_shared ? ", shared keys, " : ", private keys, ") +
                                 std::to_string(threads) + (threads == 1 ? " thread" : " threads");
        benchmark::RegisterBenchmark(name.c_str(),
                                     [=](benchmark::State& state) {
                                         together(state, subject(), operation, threads, is_shared);
                                     })
            ->UseManualTime()
            ->Iterations(kRounds);
        // Ours, of private keys, is to be no worse than alone; a tenth is what the clock is good
        // for.
        const bool has_goal = whose == kOurs && !is_shared && threads != 1;
        report.row(
            {.name = name, .floor = alone, .ratio_max = has_goal ? 1.1 : 0, .is_rival = true});
        if (threads == 1) {
            alone = name;
        }
    }
}

}  // namespace

void add_threads(Report& report) {
    report.heading("threads: 1,000 keys for each, or 1,000 for all");
    for (const Operation operation : {Operation::lookup, Operation::update}) {
        for (const bool is_shared : {false, true}) {
            add(report, kOurs, ours, operation, is_shared);
            add(report, kMutex, locked, operation, is_shared);
        }
    }
}

}  // namespace taskwork::bench
