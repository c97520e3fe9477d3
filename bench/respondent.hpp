// SPDX-License-Identifier: Apache-2.0
//
// Respondent: a process beside a comparison that answers requests, a line each: what has to be
// measured in another process, because libbpf's calls go elsewhere in it.
#pragma once

#include <cstdio>
#include <string>

namespace taskwork::bench {

class Report;

class Respondent {
public:
    /// Starts the executable with the argument "short" or "whole", by is_short(). It first prints
    /// an empty line, or why there is nothing to ask here behind kAbsent, or what is wrong; and
    /// ends with its standard input. `environment`: NAME=value, in front of ours; nullptr: none.
    /// Context: task.
    explicit Respondent(const char* path, const char* environment = nullptr);
    ~Respondent();
    Respondent(const Respondent&) = delete;
    Respondent& operator=(const Respondent&) = delete;

    /// Whether it can be asked; if not, `report` says why: a part that is skipped, or an error.
    /// Context: task.
    [[nodiscard]] bool is_ready(const std::string& what, Report& report) const;
    /// Its answer to one line; both without the newline. False: it does not answer. Context: task.
    bool ask(const std::string& request, std::string& answer);

private:
    bool read_line(std::string& line);

    std::FILE* requests_ = nullptr;
    std::FILE* answers_ = nullptr;
    int pid_ = -1;
    std::string why_;
};

/// In front of the reason of one that is not to be measured on this machine.
inline constexpr const char* kAbsent = "not here: ";
/// What is said of one that does not answer.
inline constexpr const char* kNoAnswer = "its process does not answer";

}  // namespace taskwork::bench
