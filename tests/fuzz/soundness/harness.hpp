// SPDX-License-Identifier: Apache-2.0
//
// Harness: bytes in, verdict out. Makes a program of them, has it judged while the walk is
// recorded, and if it is accepted executes it on random memory in the checking interpreter, which
// checks each access, while a follower checks each register and slot.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "bpf/test_program.hpp"
#include "tests/fuzz/soundness/follower.hpp"
#include "tests/fuzz/soundness/generator.hpp"
#include "tests/fuzz/soundness/recording.hpp"
#include "tests/random.hpp"

namespace taskwork::fuzz {

class Harness {
public:
    /// Executions of each accepted program.
    static constexpr unsigned kExecutions = 32;

    /// Makes a domain in this process: one harness at a time.
    Harness();
    /// One input. Empty, or what is wrong and the program.
    std::string judge(std::span<const std::uint8_t> bytes);

    struct Counts {
        std::uint64_t programs = 0;
        std::uint64_t accepted = 0;
        std::uint64_t too_large = 0;  ///< Accepted, after a walk that is too long to be followed.
        std::uint64_t executions = 0;
        std::uint64_t cut_off = 0;  ///< Executions of more than Follower::kStepsMax instructions.
        std::uint64_t instructions = 0;
        std::uint64_t jumps_to_covering = 0;
        std::uint64_t loosened = 0;
    };
    Counts counts;
    /// Why the last program was refused; empty if it was accepted.
    std::string refusal;
    /// What the verifier said of it, by this level.
    std::uint32_t log_level = 0;
    std::string log;

private:
    bpf::Program* load(const Generated& program);
    void fill_memory();
    std::uint64_t word();
    void fill(void* to, std::size_t bytes);
    std::string execute(bpf::Program& program);
    [[nodiscard]] std::string listing(const std::string& what, const Generated& program) const;

    bpf::test::BpfDomain domain_;
    Recording recording_;
    Follower follower_{recording_};
    map::Map* values_;
    map::Map* hash_;
    map::Map* ring_;
    map::Map* direct_;
    map::Map* constants_;
    MapFds fds_;
    test::Random random_{1};
    std::vector<std::uint64_t> context_;
};

}  // namespace taskwork::fuzz
