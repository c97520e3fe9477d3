// SPDX-License-Identifier: Apache-2.0
//
// Engines: bytes in, verdict out. Makes a program of them (tests/fuzz/soundness/generator.hpp), and
// if the verifier accepts it runs it in the interpreter and in native code on the same memory,
// drawn at random: result, values of maps, ring records, context and stack must be the same.
//
// What further runs in the interpreter do not repeat (the time, random numbers, addresses of
// elements) says nothing, and is counted.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tests/fuzz/soundness/world.hpp"

namespace taskwork::fuzz {

class Engines {
public:
    /// Memories that each accepted program is run on.
    static constexpr unsigned kMemories = 8;

    /// One input. Empty, or how the engines differ and the program.
    std::string judge(std::span<const std::uint8_t> bytes);

    struct Counts {
        std::uint64_t programs = 0;
        std::uint64_t accepted = 0;
        std::uint64_t executions = 0;  ///< In native code.
        std::uint64_t compared = 0;
        std::uint64_t unrepeatable = 0;
        std::uint64_t cut_off =
            0;  ///< By the limit of one of the engines, which count differently.
    };
    Counts counts;

private:
    enum class Engine : std::uint8_t { interpreter, native };
    /// All that an execution leaves.
    struct Outcome {
        std::uint64_t result = 0;
        std::uint64_t fault = 0;  ///< FaultKind
        std::vector<std::uint64_t> memory;
    };

    void fill_memory();
    std::vector<std::uint64_t> take_memory();
    /// `lower`: of so much more of the stack.
    Outcome run(bpf::Program& program, std::uint64_t seed, Engine engine, unsigned lower = 0);
    std::string compare(bpf::Program& program, std::uint64_t seed);

    World world_;
};

}  // namespace taskwork::fuzz
