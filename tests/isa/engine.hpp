// SPDX-License-Identifier: Apache-2.0
//
// Engines run programs of the instruction set alone, as conformance suites have them: R1 is the
// address of some memory, R2 its length, and six helpers of the suites stand in place of ours. Only
// the structure of a program is checked, and more is let through than the kernel's verifier does
// (bpf::InstructionSet::whole).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "bpf/test_program.hpp"

namespace taskwork::isa {

enum class Engine : std::uint8_t {
    interpret,
    jit,
    jit_baseline,  ///< Without what not every processor of the kind has.
};
inline constexpr Engine kEngines[] = {Engine::interpret, Engine::jit, Engine::jit_baseline};

/// "interpret", "jit", "jit_baseline".
const char* name_of(Engine engine);
/// For GoogleTest.
inline void PrintTo(Engine engine, std::ostream* out) { *out << name_of(engine); }
/// Why this build cannot run programs by it, in a line; nothing if it can.
std::optional<std::string> why_absent(Engine engine);
/// Whether it ends programs that do what they must not, instead of leaving that to a verifier.
bool checks_accesses(Engine engine);

struct Outcome {
    enum class Kind : std::uint8_t { result, refused, fault };
    Kind kind = Kind::result;
    std::uint64_t r0 = 0;
    std::string text;  ///< Why it was refused, or ended.
};

/// Runs programs in a domain of this process. One at a time.
class Runner {
public:
    static constexpr std::size_t kMemoryMax = std::size_t{1} << 20;

    /// `program`: the bytes of instructions. `memory`: at most kMemoryMax bytes; the program works
    /// on a copy. Context: task.
    Outcome run(Engine engine, const std::vector<std::uint8_t>& program,
                const std::vector<std::uint8_t>& memory);

private:
    /// Lends the memory to the program as the value of a map that it names: there it may do what
    /// programs do to memory, atomic operations too. Returns its address; 0 if it is empty.
    std::uint64_t lend(bpf::Program& program, const std::vector<std::uint8_t>& memory);
    static Outcome interpret(bpf::Program& program, std::uint64_t address, std::size_t size);
    static Outcome translate(const bpf::Program& program, bool extensions, std::uint64_t address,
                             std::size_t size);

    bpf::test::BpfDomain domain_;
    std::map<std::size_t, map::Map*> maps_;  ///< By size.
    unsigned programs_ = 0;
};

}  // namespace taskwork::isa
