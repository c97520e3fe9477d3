// SPDX-License-Identifier: Apache-2.0
//
// What does it cost to execute a program: natively, interpreted, as C++, and in the kernel? The
// same object in the same run; each program says itself how long it took. docs/performance.md
// explains the rows.
//
// A guess beforehand: arithmetic as in C++, 0.4 ns an operation, for it is the same instructions;
// 2 to 3 ns a call of a helper, of which the kernel needs one for its return thunk; the interpreter
// 2 ns an instruction. An execution pays for two clocks and a section, 60 ns.
#include <functional>
#include <string>

#include "execution/native.hpp"
#include "execution/rows.hpp"
#include "execution/side.hpp"
#include "report.hpp"
#include "respondent.hpp"

namespace taskwork::bench {

namespace {

/// Two measurements of the same differ by a twentieth here, a ratio of them by a tenth.
constexpr double kSame = 1.05;

void add(const std::string& name, std::function<double(std::string& error)> measure) {
    benchmark::RegisterBenchmark(name.c_str(),
                                 [measure = std::move(measure)](benchmark::State& state) {
                                     Samples samples;
                                     for (auto _ : state) {
                                         std::string error;
                                         const double ns = measure(error);
                                         if (!error.empty() || ns <= 0) {
                                             state.SkipWithError(error.c_str());
                                             return;
                                         }
                                         state.SetIterationTime(ns * 1e-9);
                                         samples.add(ns);
                                     }
                                     samples.finish(state);
                                 })
        ->UseManualTime()
        ->Iterations(is_short() ? 1 : 3);
}

void add_all(Report& report) {
    static Respondent ours(TASKWORK_BENCH_OURS);
    static Respondent interpreted(TASKWORK_BENCH_OURS, "TASKWORK_JIT=off");
    static Respondent kernel(TASKWORK_BENCH_KERNEL);
    const bool has_ours = ours.is_ready("ours", report);
    const bool has_interpreted = interpreted.is_ready("interpreted", report);
    const bool has_kernel = kernel.is_ready("the kernel's engine", report);
    if (!has_ours || !has_interpreted) {
        return;
    }
    start_native();
    for (std::size_t number = 0; number < std::size(kSubjects); ++number) {
        const Subject& row = kSubjects[number];
        const auto add_side = [&](const std::string& whose, Respondent& side, unsigned threads) {
            const std::string name =
                whose + ": " + row.name +
                (threads == 1 ? std::string() : ", " + std::to_string(threads) + " threads");
            add(name, [&side, number, threads](std::string& error) {
                return measure(side, number, threads, error);
            });
            return name;
        };
        const std::string own = add_side("ours", ours, 1);
        const std::string rival = has_kernel ? add_side("kernel", kernel, 1) : "";
        report.row({.name = own,
                    .floor = rival,
                    .ratio_max = has_kernel && row.program != kLoad ? kSame : 0,
                    .ns_max = row.ns_max,
                    .is_rival = true});
        if (has_native(row)) {
            const std::string twin = std::string("C++: ") + row.name;
            add(twin, [&row](std::string& error) {
                return measure_native(row, is_short() ? 2 : 61, error);
            });
            report.row({.name = own, .floor = twin, .is_rival = true});
        }
        report.row(
            {.name = add_side("interpreted", interpreted, 1), .floor = own, .is_rival = true});
        for (const unsigned threads : {2U, 3U, 4U}) {
            if (row.in_threads) {
                // Of private keys.
                report.row({.name = add_side("ours", ours, threads),
                            .floor = own,
                            .ratio_max = kSame * kSame,
                            .is_rival = true});
            }
        }
    }
}

}  // namespace

}  // namespace taskwork::bench

int main(int argc, char** argv) {
    using namespace taskwork::bench;
    return compare(argc, argv, add_all);
}
