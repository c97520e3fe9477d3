// SPDX-License-Identifier: Apache-2.0
//
// Engines: bytes in, verdict out. Makes a program of them (tests/fuzz/soundness/generator.hpp), and
// if the verifier accepts it runs it in the interpreter and in native code on the same memory,
// drawn at random: result, registers, values of maps, ring records, context and stack must be the
// same.
//
// What further runs in the interpreter do not repeat (the time, random numbers, addresses of
// elements) says nothing, word by word: only where no run in the interpreter comes to what native
// code does, again and again, is there a difference. Not where paths depend on the time: how it
// goes on, down to its lowest bit, depends on how fast an engine is.
//
// The limit of an execution ends it where each engine has counted to it. If it ends one alone, that
// one runs again with a higher limit, to the end that the other came to.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tests/fuzz/soundness/world.hpp"

namespace taskwork::fuzz {

class Engines {
public:
    /// Memories that each accepted program is run on: another program says more than a third one.
    static constexpr unsigned kMemories = 2;
    /// Instructions of an execution. For the engine that alone was ended by that: what native code
    /// does not count is no more than the verifier walks, with what helpers count, or some 16 times
    /// as much; and what it counts without running it is no more than the rest of a function.
    static constexpr std::int64_t kBudget = 100'000;
    static constexpr std::int64_t kBudgetInterpreted = 32'000'000;
    static constexpr std::int64_t kBudgetNative = 2 * kBudget;

    /// Few programs take most of the time that the verifier takes for all, and are loops as others
    /// are: one in so many may be walked as far as the verifier goes.
    static constexpr std::uint32_t kInsnsWalkedMax = 4096;
    static constexpr std::uint64_t kWalkedWholeEach = 64;

    /// One input. Empty, or how the engines differ and the program.
    std::string judge(std::span<const std::uint8_t> bytes);

    struct Counts {
        std::uint64_t programs = 0;
        std::uint64_t accepted = 0;
        std::uint64_t executions = 0;  ///< In native code.
        std::uint64_t compared = 0;
        std::uint64_t unrepeatable = 0;  ///< Compared, but for words that vary.
        std::uint64_t by_time = 0;       ///< Not judged.
        std::uint64_t cut_off = 0;       ///< By the limit, in both engines; or by may_goto in one.
        std::uint64_t cut_interpreter = 0;  ///< In the interpreter alone, and compared.
        std::uint64_t cut_native = 0;
        /// Of executions of at least kCountedMin instructions in the interpreter that native code
        /// counts: these to what that counts.
        double ratio_min = 0;
        double ratio_max = 0;
    };
    static constexpr std::int64_t kCountedMin = 10'000;
    Counts counts;

private:
    enum class Engine : std::uint8_t { interpreter, native };
    /// All that an execution leaves: the result, the fault, the memory, each in the same place each
    /// time.
    struct Outcome {
        bool too_long = false;
        std::int64_t used = 0;  ///< Of the budget.
        std::vector<std::uint64_t> words;
    };

    void fill_memory();
    void take_memory(std::vector<std::uint64_t>& words);
    /// `lower`: so many times 16 bytes further down the stack.
    Outcome run(bpf::Program& program, std::uint64_t seed, Engine engine, std::int64_t budget,
                unsigned lower = 0);
    std::string compare(bpf::Program& program, std::uint64_t seed);
    void note_ratio(const Outcome& interpreted, const Outcome& native);

    World world_;
};

}  // namespace taskwork::fuzz
