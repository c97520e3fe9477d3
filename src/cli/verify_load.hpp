// SPDX-License-Identifier: Apache-2.0
//
// One program of an object through the verifier, loaded alone so that the rejection of one does not
// hide the others, and the verifier's log taken apart. Through libbpf's public interface only: what
// answers bpf(2) is the linker's choice, so tests ask the kernel by the same code.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace taskwork::cli {

/// What a verifier's log says, ours or the kernel's.
struct LogSummary {
    std::uint64_t insns_processed = 0;
    std::uint64_t states_peak = 0;
    std::uint64_t states_total = 0;
    std::uint64_t time_us = 0;  ///< 0: the log does not say.
    std::string reason;         ///< The last message; empty if there is none.
    /// From the source line of the last instruction to the last message, a few lines in all.
    std::vector<std::string> end;
};

/// "; text @ file:line": what a log quotes of the source. Context: task.
bool is_source_line(std::string_view line);

/// Context: task.
LogSummary summarize_log(std::string_view log);

struct ProgramVerdict {
    bool accepted = false;
    /// Else something before the verifier failed: a map, a kernel function that is not there.
    bool reached_verifier = true;
    std::string reason;  ///< One line; empty if accepted.
    std::string log;
    LogSummary summary;  ///< time_us is measured around the load if the log does not say.
    /// Kernel functions that the object must have and the kernel has not: the program is judged,
    /// but libbpf refuses the object as a whole.
    std::vector<std::string> absent_functions;
};

struct ProgramName {
    std::string name;
    std::string section;
    std::vector<std::string> tags;  ///< Declaration tags of its function, in the order of BTF.
};

/// The object's programs in its order. Errors, with the path: as open_object(); no program in it.
/// Context: task.
Result<std::vector<ProgramName>> programs_of(const std::vector<char>& bytes,
                                             const std::string& path);

/// Loads the program, and no other, of the object, and lets go of it. A kernel function that is not
/// there is like a weak one: who calls it is rejected, by its name. `log_level`: as bpf(2)'s; 0 is
/// no log. Context: task.
ProgramVerdict load_alone(const std::vector<char>& bytes, const std::string& path,
                          const std::string& program, std::uint32_t log_level);

}  // namespace taskwork::cli
