// SPDX-License-Identifier: Apache-2.0
//
// SeedRun: programs of random bytes, one seed after the other, until so many were accepted, so many
// executions made, or the time is up; what the fuzzers that judge generated programs have in
// common.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

namespace taskwork::fuzz {

struct SeedRun {
    double seconds = 1e9;
    std::uint64_t seed = 1;
    std::uint64_t programs = UINT64_MAX;  ///< Accepted ones.
    std::uint64_t executions = UINT64_MAX;
    /// Of processor time, what no program takes: one that does ends the process, with 1.
    unsigned hang_seconds = 30;

    /// --seconds, --seed, --programs, --executions.
    void add_options(CLI::App& app);

    /// Empty, or what is wrong with the program of these bytes.
    using Judge = std::function<std::string(std::span<const std::uint8_t> bytes)>;
    /// Says how far it is, after so many seconds.
    using Tell = std::function<void(double seconds)>;
    /// So far, counted by the judge.
    struct Made {
        const std::uint64_t& programs;  ///< Accepted ones.
        const std::uint64_t& executions;
    };
    /// Ends at the first program of which something is wrong, and says what and of which seed.
    /// Every minute, and at the end, `tell` is called. Returns whether nothing was wrong.
    bool run(const Judge& judge, Made made, const Tell& tell) const;
};

/// Options in `app`. Returns the exit status for those that are wrong; -1: none is.
int parse(CLI::App& app, int argc, char** argv);

}  // namespace taskwork::fuzz
