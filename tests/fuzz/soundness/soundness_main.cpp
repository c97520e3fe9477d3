// SPDX-License-Identifier: Apache-2.0
//
// Judges programs of random bytes, from a seed on, until so many executions were made or the time
// is up; or the inputs in files, each with what the verifier says of it. Ends with 1 at the first
// violation; with --shorten its bytes, as few as it takes, are in soundness_violation then.
#include <cstdio>
#include <fstream>
#include <iterator>

#include "tests/fuzz/soundness/harness.hpp"
#include "tests/fuzz/soundness/seed_run.hpp"

namespace taskwork::fuzz {
namespace {

/// Fewer bytes, and smaller ones, of which something is wrong still.
std::vector<std::uint8_t> minimised(Harness& harness, std::vector<std::uint8_t> bytes) {
    const auto is_wrong = [&harness](const std::vector<std::uint8_t>& tried) {
        return !harness.judge(tried).empty();
    };
    for (bool better = true; better;) {
        better = false;
        for (std::size_t length = bytes.size() / 2 + 1; length > 0; length /= 2) {
            for (std::size_t at = 0; at + length <= bytes.size();) {
                std::vector<std::uint8_t> tried = bytes;
                tried.erase(tried.begin() + static_cast<std::ptrdiff_t>(at),
                            tried.begin() + static_cast<std::ptrdiff_t>(at + length));
                if (is_wrong(tried)) {
                    bytes = tried;
                    better = true;
                } else {
                    ++at;
                }
            }
        }
        for (std::uint8_t& byte : bytes) {
            const std::uint8_t before = byte;
            byte = 0;
            if (before != 0 && is_wrong(bytes)) {
                better = true;
            } else {
                byte = before;
            }
        }
    }
    return bytes;
}

unsigned long long number(std::uint64_t word) { return word; }

void print(const Harness& harness, double seconds) {
    const Harness::Counts& counts = harness.counts;
    std::printf(
        "soundness: %llu programs, %llu accepted (%.1f %%; %llu walks too long to be followed), "
        "%llu executions (%llu cut off) of %llu instructions, %llu pruned paths followed, "
        "%llu with a number that did not matter, %.0f s\n",
        number(counts.programs), number(counts.accepted),
        counts.programs == 0
            ? 0.0
            : 100.0 * static_cast<double>(counts.accepted) / static_cast<double>(counts.programs),
        number(counts.too_large), number(counts.executions), number(counts.cut_off),
        number(counts.instructions), number(counts.jumps_to_covering), number(counts.loosened),
        seconds);
    std::printf("followed: %llu task works, %llu tail calls; accepted and followed, with",
                number(counts.works), number(counts.programs_called));
    for (std::size_t i = 0; i < counts.constructs.size(); ++i) {
        std::printf("%s %s: %llu", i == 0 ? "" : ",", kConstructNames[i],
                    number(counts.constructs[i]));
    }
    std::printf("\n");
    std::fflush(stdout);
}

int judge_file(Harness& harness, const char* name) {
    std::ifstream file(name, std::ios::binary);
    const std::vector<std::uint8_t> bytes{std::istreambuf_iterator<char>(file), {}};
    harness.log_level = 2;
    const std::string wrong = harness.judge(bytes);
    std::printf("%s: %s\n%s", name, wrong.empty() ? "as walked" : wrong.c_str(),
                harness.log.c_str());
    return wrong.empty() ? 0 : 1;
}

int judge_seeds(Harness& harness, const SeedRun& seeds, bool shorten) {
    std::vector<std::uint8_t> at_hand;
    const bool is_sound = seeds.run(
        [&](std::span<const std::uint8_t> bytes) {
            at_hand.assign(bytes.begin(), bytes.end());
            return harness.judge(bytes);
        },
        {harness.counts.accepted, harness.counts.executions},
        [&harness](double seconds) { print(harness, seconds); });
    if (!is_sound && shorten) {
        const std::vector<std::uint8_t> few = minimised(harness, at_hand);
        std::printf("soundness_violation: %s", harness.judge(few).c_str());
        std::ofstream("soundness_violation", std::ios::binary)
            .write(reinterpret_cast<const char*>(few.data()),
                   static_cast<std::streamsize>(few.size()));
    }
    return is_sound ? 0 : 1;
}

}  // namespace
}  // namespace taskwork::fuzz

int main(int argc, char** argv) {
    using namespace taskwork::fuzz;
    CLI::App app{"Holds executions of accepted programs against what the verifier has walked"};
    SeedRun seeds;
    seeds.hang_seconds = 1800;  // A walk of a million instructions may have to be followed.
    seeds.add_options(app);
    bool shorten = false;
    app.add_flag("--shorten", shorten, "write what is left of the violation's bytes to a file");
    std::vector<std::string> files;
    app.add_option("file", files, "inputs, instead of random ones");
    if (const int status = parse(app, argc, argv); status >= 0) {
        return status;
    }
    Harness harness;
    int status = 0;
    for (const std::string& file : files) {
        status |= judge_file(harness, file.c_str());
    }
    return files.empty() ? judge_seeds(harness, seeds, shorten) : status;
}
