// SPDX-License-Identifier: Apache-2.0
//
// BesideKernel: bytes in, verdict out. Makes a program of them that the kernel may be shown
// (kernel_side.hpp), and if both verifiers accept it runs it in the interpreter, in native code and
// in the kernel on the same memory, drawn at random: result, registers and stack at the end, as
// the program leaves them in its context, values of maps and ring records must be the same.
//
// What depends on addresses, or on what lay in memory before, is each engine's own. The former our
// verifier tells of in its walk (walked.hpp), and they are not run. What further runs of ours do
// not repeat, with other leftovers in stack and ring, or the kernel's with other maps, is counted.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "tests/fuzz/engines/kernel_side.hpp"
#include "tests/fuzz/soundness/world.hpp"

namespace taskwork::fuzz {

class BesideKernel {
public:
    /// Memories that each accepted program is run on.
    static constexpr unsigned kMemories = 16;

    BesideKernel();
    /// One input. Empty, or how the engines differ and the program.
    std::string judge(std::span<const std::uint8_t> bytes);

    struct Counts {
        std::uint64_t programs = 0;
        std::uint64_t not_shown = 0;
        std::uint64_t accepted = 0;        ///< Here, of those that may be shown.
        std::uint64_t tell_addresses = 0;  ///< Of those; the others the kernel was given.
        std::uint64_t refused = 0;         ///< By the kernel.
        std::uint64_t executions = 0;
        std::uint64_t compared = 0;  ///< In all three engines, with one outcome.
        std::uint64_t unrepeatable = 0;
        std::uint64_t lacked_memory = 0;  ///< Here, for an update of the hash.
        std::uint64_t cut_off = 0;        ///< Too long for the kernel, which cannot be stopped.
        std::uint64_t not_run = 0;        ///< The kernel did not.
    };
    Counts counts;
    /// What the kernel refused though our verifier accepts it.
    struct Refusals {
        std::uint64_t count = 0;
        std::vector<std::string> programs;  ///< The first `kept_refusals`, with the kernel's log.
    };
    std::map<std::string, Refusals> refusals;  ///< By the reason, numbers as N.
    std::size_t kept_refusals = 0;

private:
    struct Outcome {
        std::uint64_t result = 0;
        std::uint64_t fault = 0;     ///< FaultKind
        bool lacked_memory = false;  ///< An update was refused: docs/differences.md.
        Memory memory;
        friend bool operator==(const Outcome&, const Outcome&) = default;
    };
    /// One program, on both sides.
    struct Case {
        std::span<const std::uint8_t> bytes;
        bpf::Program& ours;
        KernelSide::Loaded theirs;
    };

    void fill_memory(std::uint64_t seed, std::uint64_t leftovers);
    Memory take_memory();
    /// `start`: where what it is given goes.
    Outcome run(bpf::Program& program, std::uint64_t seed, bool interpret, std::uint64_t leftovers,
                Memory* start = nullptr);
    bool is_repeatable_here(const Case& of, std::uint64_t seed, const Outcome& first);
    bool is_repeatable_there(const Case& of, const Memory& start, const Outcome& first) const;
    std::string compare(const Case& of, std::uint64_t seed);
    void note_refusal(const KernelSide::Loaded& theirs, const Generated& here);

    World world_;
    std::array<std::uint64_t, 16> constants_;
    KernelSide kernel_;
};

}  // namespace taskwork::fuzz
