// SPDX-License-Identifier: Apache-2.0
//
// Cases in plain text (cases/*.txt): a program, the memory it is given, and what is to come of it.
//
//     # Lines of comment.
//     == adds what the register holds         a name; no two of a file are the same
//     memory: 01 02 03                        optional; R1 is its address, R2 its length
//     r0 = *(u8 *)(r1 +0)                     the program (assembler.hpp)
//     r0 += r2
//     exit
//     => 0x4                                  R0 at the end
//
//     == divides                              several cases of one program: $x is replaced
//     r0 = $a ll                              throughout
//     r0 /= $b
//     exit
//     where a=7 b=2 => 3
//     where a=7 b=0 => refused: div by zero   the loader's words begin a part of its message
//
// Instead of a number may stand "refused: <words>", before it runs, and "fault: <words>", while it
// runs, of which only engines that check are asked.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace taskwork::isa {

struct Expectation {
    enum class Kind : std::uint8_t { result, refused, fault };
    Kind kind = Kind::result;
    std::uint64_t r0 = 0;
    std::string words;
};

struct Case {
    std::string name;   ///< With the values of its variables.
    std::string place;  ///< file:line of what is expected.
    std::vector<std::uint8_t> memory;
    std::vector<std::uint8_t> program;
    Expectation expected;
};

/// All files of cases: their names, without folder and ".txt", sorted.
std::vector<std::string> case_files();

/// The cases of such a file, in order. Errors: that of the file system; invalid_argument with place
/// and cause, also for a file without cases.
Result<std::vector<Case>> read_cases(const std::string& file);

}  // namespace taskwork::isa
