// SPDX-License-Identifier: Apache-2.0
//
//   soundness [--seconds N] [--seed N] [--executions N] [--shorten]
//   soundness FILE...
//
// Judges programs of random bytes, from a seed on, until so many executions were made or the time
// is up; or the inputs in the files, each with what the verifier says of it. Ends with 1 at the
// first violation; with --shorten its bytes, as few as it takes, are in soundness_violation then.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

#include "tests/fuzz/soundness/harness.hpp"
#include "tests/fuzz/soundness/seeds.hpp"

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

int judge_seeds(Harness& harness, double seconds, std::uint64_t seed, std::uint64_t executions,
                bool shorten) {
    using Clock = std::chrono::steady_clock;
    const auto start = Clock::now();
    const auto elapsed = [&start] {
        return std::chrono::duration<double>(Clock::now() - start).count();
    };
    double told = 0;
    for (; elapsed() < seconds && harness.counts.executions < executions; ++seed) {
        const std::vector<std::uint8_t> bytes = bytes_of_seed(seed);
        if (const std::string wrong = harness.judge(bytes); !wrong.empty()) {
            std::printf("seed %llu: %s", number(seed), wrong.c_str());
            if (shorten) {
                const std::vector<std::uint8_t> few = minimised(harness, bytes);
                std::printf("soundness_violation: %s", harness.judge(few).c_str());
                std::ofstream("soundness_violation", std::ios::binary)
                    .write(reinterpret_cast<const char*>(few.data()),
                           static_cast<std::streamsize>(few.size()));
            }
            return 1;
        }
        if (elapsed() > told + 60) {
            told = elapsed();
            print(harness, told);
        }
    }
    print(harness, elapsed());
    return 0;
}

}  // namespace
}  // namespace taskwork::fuzz

int main(int argc, char** argv) {
    taskwork::fuzz::Harness harness;
    double seconds = 1e9;
    std::uint64_t seed = 1;
    std::uint64_t executions = UINT64_MAX;
    bool shorten = false;
    bool files = false;
    int status = 0;
    for (int i = 1; i < argc; ++i) {
        const auto is = [argument = argv[i]](const char* name) {
            return std::strcmp(argument, name) == 0;
        };
        const bool has_value = i + 1 < argc;
        if (is("--seconds") && has_value) {
            seconds = std::atof(argv[++i]);
        } else if (is("--seed") && has_value) {
            seed = std::strtoull(argv[++i], nullptr, 0);
        } else if (is("--executions") && has_value) {
            executions = std::strtoull(argv[++i], nullptr, 0);
        } else if (is("--shorten")) {
            shorten = true;
        } else {
            files = true;
            status |= taskwork::fuzz::judge_file(harness, argv[i]);
        }
    }
    return files ? status
                 : taskwork::fuzz::judge_seeds(harness, seconds, seed, executions, shorten);
}
