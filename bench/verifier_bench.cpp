// SPDX-License-Identifier: Apache-2.0
//
// How long does it take to prove a program, and how much memory? Beside the kernel's verifier on
// the same bytes in the same run, which says itself how long it took. The examples, and families of
// programs of which some 100 to 100,000 instructions have to be processed. docs/performance.md
// explains the rows.
//
// A guess beforehand: an instruction that computes moves 200 bytes and narrows a number, 100 ns; a
// branch copies a state of some 1.5 KiB, 300; a state that is kept is compared with a few others.
// The kernel does the same with structures of the same size, and reserves memory for each.
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "cli/host.hpp"
#include "report.hpp"
#include "respondent.hpp"
#include "task/worker.hpp"
#include "verifier/load.hpp"
#include "verifier/memory.hpp"

namespace taskwork::bench {

namespace {

constexpr std::uint32_t kLarge = 100'000;

/// Loads of a repetition.
std::int64_t times(const Subject& subject) {
    const bool is_example = subject.processed == 0;
    return subject.processed >= kLarge ? 1 : is_example || subject.processed >= 10'000 ? 3 : 20;
}
/// Repetitions of the large ones, of which the kernel's may take half a minute.
constexpr int kRepetitions = 3;
constexpr int kRepetitionsOfKernel = 1;

std::string text_of(const Cost& cost, std::size_t bytes) {
    std::string text =
        std::to_string(cost.insns) + " insns, " + std::to_string(cost.states) + " states, ";
    if (bytes != 0) {
        text += std::to_string((bytes + 1023) / 1024) + " KiB, ";
    }
    return text + "load " + std::to_string((cost.load_ns + 500) / 1000) + " us";
}

/// One repetition of either side.
template <class Load>
void measure(benchmark::State& state, const Load& load) {
    Samples samples;
    Cost least;
    std::size_t bytes = 0;
    for (auto _ : state) {
        std::size_t bytes_now = 0;
        const Cost cost = load(bytes_now);
        if (!cost.error.empty()) {
            state.SkipWithError(cost.error.c_str());
            return;
        }
        // Never 0: it counts microseconds.
        samples.add(state, cost.verified_us == 0 ? 500 : cost.verified_us * 1000);
        if (least.load_ns == 0 || cost.load_ns < least.load_ns) {
            least = cost;
        }
        bytes = bytes_now;
    }
    samples.finish(state);
    state.SetLabel(text_of(least, bytes));
}

void add(const std::string& name, const Subject& subject, int repetitions,
         std::function<Cost(std::size_t& bytes)> load) {
    auto* made = benchmark::RegisterBenchmark(
        name.c_str(), [load = std::move(load)](benchmark::State& state) { measure(state, load); });
    made->UseManualTime()->Iterations(is_short() ? 1 : times(subject));
    if (subject.processed >= kLarge) {
        made->Repetitions(repetitions);
    }
}

void add_all(Report& report) {
    static const std::vector<Subject> all = subjects(is_short());
    static Respondent kernel(TASKWORK_BENCH_KERNEL);
    const auto started = cli::Host::start();
    if (!started) {
        std::fprintf(stderr, "verifier_bench: %s\n", started.error().text.c_str());
        std::exit(1);
    }
    report.in_microseconds();
    const bool has_kernel = kernel.is_ready("the kernel's verifier", report);
    for (std::size_t number = 0; number < all.size(); ++number) {
        const Subject& subject = all[number];
        const std::string rival = has_kernel ? "kernel: " + subject.name : "";
        report.row({.name = subject.name, .floor = rival, .ratio_max = 1, .is_rival = true});
        add(subject.name, subject, kRepetitions, [&subject](std::size_t& bytes) {
            const MemoryPeak peak;
            Cost cost = load(subject);
            bytes = peak.bytes();
            // Maps and programs that wait for a grace period would fill the domain.
            task::Worker::synchronize();
            return cost;
        });
        if (!rival.empty()) {
            add(rival, subject, kRepetitionsOfKernel,
                [number](std::size_t&) { return load(kernel, number); });
        }
    }
}

}  // namespace

}  // namespace taskwork::bench

int main(int argc, char** argv) {
    using namespace taskwork::bench;
    return compare(argc, argv, add_all);
}
