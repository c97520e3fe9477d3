// SPDX-License-Identifier: Apache-2.0
//
// Judges programs of random bytes by running them in both engines. Ends with 1 at the first program
// of which they differ.
#include <cstdio>

#include "bpf/jit/code_region.hpp"
#include "tests/fuzz/engines/engines.hpp"
#include "tests/fuzz/soundness/seed_run.hpp"

namespace {

void print(const taskwork::fuzz::Engines::Counts& counts, double seconds) {
    const auto number = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
    std::printf("engines: %llu programs, %llu accepted, %llu executions in native code: %llu as in "
                "the interpreter, %llu but for what varies, %llu told by time; %llu cut off, %llu "
                "in the interpreter "
                "alone, %llu in native code alone, which counts 1 for %.2f to %.2f instructions; "
                "%.0f s\n",
                number(counts.programs), number(counts.accepted), number(counts.executions),
                number(counts.compared), number(counts.unrepeatable), number(counts.by_time),
                number(counts.cut_off), number(counts.cut_interpreter), number(counts.cut_native),
                counts.ratio_min, counts.ratio_max, seconds);
    std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
    using namespace taskwork;
    CLI::App app{"Runs programs of random bytes in native code and in the interpreter"};
    fuzz::SeedRun seeds;
    seeds.add_options(app);
    if (const int status = fuzz::parse(app, argc, argv); status >= 0) {
        return status;
    }
    fuzz::Engines engines;
    if (!bpf::jit::CodeRegion::usable()) {
        std::fprintf(stderr, "engines: programs do not run as native code here\n");
        return 2;
    }
    const bool is_same =
        seeds.run([&engines](std::span<const std::uint8_t> bytes) { return engines.judge(bytes); },
                  {engines.counts.accepted, engines.counts.executions},
                  [&engines](double seconds) { print(engines.counts, seconds); });
    return is_same ? 0 : 1;
}
