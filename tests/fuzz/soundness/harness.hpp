// SPDX-License-Identifier: Apache-2.0
//
// Harness: bytes in, verdict out. Makes a program of them, has it judged while the walk is
// recorded, and if it is accepted executes it on random memory in the checking interpreter, which
// checks each access, while a follower checks each register and slot.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "tests/fuzz/soundness/constructs.hpp"
#include "tests/fuzz/soundness/follower.hpp"
#include "tests/fuzz/soundness/recording.hpp"
#include "tests/fuzz/soundness/world.hpp"

namespace taskwork::fuzz {

class Harness {
public:
    /// Executions of each accepted program.
    static constexpr unsigned kExecutions = 32;

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
        std::uint64_t works = 0;            ///< Callbacks of task work followed,
        std::uint64_t programs_called = 0;  ///< and tail calls that went somewhere.
        ConstructCounts constructs{};       ///< In accepted programs that were followed.
    };
    Counts counts;
    /// Programs whose walks are longer are refused.
    std::uint32_t insns_walked_max = bpf::verifier::kInsnsProcessedMax;
    /// Why the last program was refused; empty if it was accepted.
    std::string refusal;
    /// What the verifier said of it, by this level.
    std::uint32_t log_level = 0;
    std::string log;

private:
    bpf::Program* load(const Generated& program);
    void fill_memory();
    std::string execute(bpf::Program& program);

    World world_;
    Recording recording_;
    Follower follower_{recording_};
};

}  // namespace taskwork::fuzz
