// SPDX-License-Identifier: Apache-2.0
//
// World: what generated programs are loaded into and run on, of whoever judges them: a domain, the
// maps that they name, a context, and random numbers that repeat with the input.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "bpf/test_program.hpp"
#include "tests/fuzz/soundness/generator.hpp"
#include "tests/random.hpp"

namespace taskwork::fuzz {

class World {
public:
    static constexpr std::uint32_t kHashKeys = 8;
    static constexpr std::size_t kPerfEventBytes = 184;
    /// As far as the verifier lets a syscall program reach.
    static constexpr std::size_t kSyscallBytes = std::size_t{1} << 16;

    /// Makes a domain in this process: one world at a time.
    World();

    /// A number of any magnitude.
    std::uint64_t word();
    /// `bytes`: a multiple of 8.
    void fill(void* to, std::size_t bytes);
    /// Takes what is in the ring. In a section.
    void empty_ring();
    /// Empties the ring; `fill` is given what records will be made of, in two halves. In a section.
    void fill_ring(const std::function<void(void* bytes, std::size_t size)>& fill);
    /// The values of the arrays, but for the constant one.
    void fill_arrays();
    /// The element of a key, filled in place where it is: a replacement may find no memory.
    void fill_element(std::uint32_t key);
    /// The values of the arrays, and the hash: half of its keys have elements.
    void fill_maps();

    [[nodiscard]] bpf::LoadSpec spec_of(const Generated& program);
    /// Waits while there is no room but by programs that were put. `before`: of each attempt.
    Result<bpf::Program*>
    load(const bpf::LoadSpec& spec, std::string& log, const std::function<void()>& before = [] {});
    /// Where its tail calls find it, until `no_program_in_reach`.
    void put_in_reach(bpf::Program& program);
    void no_program_in_reach();
    /// Runs it once in this thread, on the context; in native code, or in the interpreter.
    /// `budget`: Execution::budget.
    struct Run {
        std::uint64_t result;
        std::uint64_t fault;  ///< FaultKind
        std::int64_t left;    ///< Of the budget.
    };
    Run run(bpf::Program& program, bool interpret, std::int64_t budget = 0);
    /// Of the context that programs of its type have.
    static std::size_t context_bytes(const bpf::Program& program) {
        return program.type == BPF_PROG_TYPE_SYSCALL ? kSyscallBytes : kPerfEventBytes;
    }
    /// Where the frames of an execution lie.
    static std::byte* stack() {
        return task::current()->bpf_stack[static_cast<unsigned>(Level::task)];
    }

    bpf::test::BpfDomain domain;
    /// An array of 2 values that end in something that is no memory of programs'.
    map::Map& special_array(std::int32_t map::SpecialFields::* field);
    map::Map* const values;
    map::Map* const hash;
    map::Map* const ring;
    map::Map* const direct;
    map::Map* const constants;
    map::Map* const spin;
    map::Map* const resilient;
    map::Map* const works;
    map::Map* const programs;
    MapFds fds;
    std::vector<std::uint64_t> context;
    test::Random random{1};
};

/// The same for the same input.
std::uint64_t seed_of(std::span<const std::uint8_t> bytes);
/// What is wrong, and the program's instructions.
std::string listing(const std::string& what, const Generated& program);

}  // namespace taskwork::fuzz
