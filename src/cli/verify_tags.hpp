// SPDX-License-Identifier: Apache-2.0
//
// What an object expects of its own programs: BTF declaration tags on their functions, in the
// convention of the kernel's selftests, so that those objects say it to us as well.
//
//     comment:test_expect_success        accepted (also without any tag)
//     comment:test_expect_failure        rejected
//     comment:test_expect_msg=TEXT       the log has TEXT, behind what the tag before matched;
//                                        {{...}} in it is a POSIX extended regular expression;
//                                        in lines that quote the source only if it begins with ;
//     comment:test_expect_not_msg=TEXT   and not TEXT between the two around it
//     comment:test_log_level=N           N more bits of the log's level
//     comment:test_auxiliary             part of another test: not loaded alone
//
// Numbers keep the order, which BTF does not: in front of the text (`test_expect_msg=3=TEXT`), or
// in the newer spelling of all tags (`comment:3:test_expect_msg=TEXT`). Other tags of the
// convention (unprivileged runs, results, native code) say nothing about a privileged load and are
// passed over.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/verify_load.hpp"

namespace taskwork::cli {

struct ExpectedText {
    std::string text;
    bool absent = false;  ///< It must not be there.
};

struct Expectation {
    bool accepted = true;
    bool auxiliary = false;
    std::uint32_t log_level = 0;
    std::vector<ExpectedText> texts;  ///< In order.
};

/// Context: task.
Expectation expectation_of(const std::vector<std::string>& tags);

/// The first thing that is not as expected, in one line; empty if all is.
/// Context: task.
std::string difference(const Expectation& expectation, const ProgramVerdict& verdict);

}  // namespace taskwork::cli
