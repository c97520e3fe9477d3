// SPDX-License-Identifier: Apache-2.0
//
// Several threads on one map: with keys of their own, or all with the same. A sample is the time of
// one thread's batch, in which the others do theirs; with more threads than processors some wait
// for one, between batches rather than in them. The kernel's is a system call a batch.
#include <atomic>
#include <type_traits>
#include <vector>

#include "maps/batch.hpp"
#include "maps/crew.hpp"
#include "maps/kernel.hpp"
#include "maps/subjects.hpp"

namespace taskwork::bench {

namespace {

constexpr unsigned kThreadsMax = 4;
/// Spares for a batch of updates of all threads.
constexpr std::uint32_t kRoom = 1U << 16;
/// So few that hardly a thread loses its processor meanwhile.
constexpr std::uint64_t kChanges = 2'000;
static_assert(kThreadsMax <= Kernel::kLanes);

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

Kernel& roomy_kernel() {
    static auto* const kernel = new Kernel(kRoom, kThreadsMax * kSmall);
    return *kernel;
}

struct Job {
    Operation operation;
    const char* name;
    const char* program;  ///< Of the kernel's.
};
constexpr Job kJobs[] = {
    {Operation::lookup, "lookup", "run_look_up"},
    {Operation::update, "update", "run_update"},
    {Operation::erase_and_insert, "delete and insert", "run_erase_and_insert"}};

/// One thread's batch; whether all operations did what they were to.
template <class Subject>
bool batch(Subject& subject, const Job& job, Walk& walk, std::uint64_t times, unsigned) {
    return run(subject, job.operation, walk, times) == times;
}
bool batch(Kernel& kernel, const Job& job, Walk& walk, std::uint64_t times, unsigned thread) {
    return kernel
               .run(job.program, walk.first(), walk.count(), static_cast<std::uint32_t>(times),
                    thread)
               .done == times;
}
template <class Subject>
void settle(Subject& subject) {
    if constexpr (!std::is_same_v<Subject, Kernel>) {
        subject.settle();
    }
}
/// Of an operation, what does not count.
template <class Subject>
double loop_ns(Subject& subject, std::uint64_t times) {
    if constexpr (std::is_same_v<Subject, Kernel>) {
        const auto ns = subject.loop_ns(static_cast<std::uint32_t>(times));
        return static_cast<double>(ns) / static_cast<double>(times);
    }
    return 0;
}

template <class Subject>
void together(benchmark::State& state, Subject& subject, const Job& job, unsigned threads,
              bool is_shared) {
    const std::uint64_t times = job.operation == Operation::lookup ? kLongBatch : kChanges;
    std::vector<Walk> walks;
    for (unsigned i = 0; i < threads; ++i) {
        walks.emplace_back(is_shared ? 0 : i * kSmall, kSmall);
    }
    std::atomic<bool> failed{false};
    Crew crew(threads, [&](unsigned i) {
        if (!batch(subject, job, walks[i], times, i)) {
            failed = true;
        }
    });
    Samples samples;
    for (auto _ : state) {
        const double loop = loop_ns(subject, times);
        crew.round(state, samples, times, [&] { settle(subject); }, loop);
    }
    samples.finish(state);
    if (failed) {
        state.SkipWithError("an operation failed");
    }
}

template <class Subject>
void add(Report& report, const char* whose, Subject& (*subject)(), const Job& job, bool is_shared) {
    std::string alone;
    for (const unsigned threads : {1U, 2U, kThreadsMax}) {
        const std::string name = std::string(whose) + job.name +
                                 (is_shared ? ", shared keys, " : ", private keys, ") +
                                 std::to_string(threads) + (threads == 1 ? " thread" : " threads");
        benchmark::RegisterBenchmark(name.c_str(),
                                     [=, &job](benchmark::State& state) {
                                         together(state, subject(), job, threads, is_shared);
                                     })
            ->UseManualTime()
            ->Iterations(rounds());
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
    for (const Job& job : kJobs) {
        for (const bool is_shared : {false, true}) {
            add(report, kOurs, ours, job, is_shared);
            if (bench::kernel(kSmall).why_not().empty()) {
                add(report, kKernel, roomy_kernel, job, is_shared);
            }
            add(report, kMutex, locked, job, is_shared);
        }
    }
}

}  // namespace taskwork::bench
