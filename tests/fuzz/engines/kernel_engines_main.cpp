// SPDX-License-Identifier: Apache-2.0
//
// Judges programs of random bytes by running them in both engines and in the kernel. Ends with 1 at
// the first program of which they differ; where the kernel cannot be the reference it says so.
#include <algorithm>
#include <cstdio>
#include <vector>

#include "bpf/jit/code_region.hpp"
#include "tests/fuzz/engines/beside_kernel.hpp"
#include "tests/fuzz/soundness/seed_run.hpp"

namespace {

void print(const taskwork::fuzz::BesideKernel& beside, double seconds) {
    const auto number = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
    const taskwork::fuzz::BesideKernel::Counts& counts = beside.counts;
    std::printf("kernel_engines: %llu programs, %llu accepted here; %llu not shown to the kernel, "
                "%llu that tell addresses, %llu refused there; %llu executions: %llu as in the "
                "kernel, %llu unrepeatable, %llu without memory, %llu cut off, %llu not run there; "
                "%.0f s\n",
                number(counts.programs), number(counts.accepted), number(counts.not_shown),
                number(counts.tell_addresses), number(counts.refused), number(counts.executions),
                number(counts.compared), number(counts.unrepeatable), number(counts.lacked_memory),
                number(counts.cut_off), number(counts.not_run), seconds);
    std::fflush(stdout);
}

void print_refusals(const taskwork::fuzz::BesideKernel& beside) {
    std::vector<std::pair<std::uint64_t, std::string>> most;
    for (const auto& [reason, same] : beside.refusals) {
        most.emplace_back(same.count, reason);
    }
    std::sort(most.rbegin(), most.rend());
    for (const auto& [count, reason] : most) {
        std::printf("%8llu refused there: %s\n", static_cast<unsigned long long>(count),
                    reason.c_str());
        for (const std::string& program : beside.refusals.at(reason).programs) {
            std::printf("%s\n", program.c_str());
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    using namespace taskwork;
    CLI::App app{"Runs programs of random bytes in native code, the interpreter and the kernel"};
    fuzz::SeedRun seeds;
    seeds.add_options(app);
    std::size_t show = 0;
    app.add_option("--show-refused", show, "so many programs of each reason of the kernel");
    if (const int status = fuzz::parse(app, argc, argv); status >= 0) {
        return status;
    }
    if (const std::string reason = fuzz::KernelSide::unavailable_because(); !reason.empty()) {
        std::fprintf(stderr, "kernel_engines: not here: %s\n", reason.c_str());
        return 0;
    }
    fuzz::BesideKernel beside;
    beside.kept_refusals = show;
    if (!bpf::jit::CodeRegion::usable()) {
        std::fprintf(stderr, "kernel_engines: programs do not run as native code here\n");
        return 2;
    }
    const bool is_same =
        seeds.run([&beside](std::span<const std::uint8_t> bytes) { return beside.judge(bytes); },
                  {beside.counts.accepted, beside.counts.executions},
                  [&beside](double seconds) { print(beside, seconds); });
    print_refusals(beside);
    return is_same ? 0 : 1;
}
