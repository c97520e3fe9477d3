// SPDX-License-Identifier: Apache-2.0
//
// The command line:
//
//   taskwork run [--event cpu-clock|cpu-cycles] [--freq HZ | --period N] [--duration S]
//                [--json=FILE] [-v] OBJECT.bpf.o -- COMMAND [ARG...]
//   taskwork verify [--prog NAME]... [--log LEVEL] [--expect] [--json=FILE] OBJECT.bpf.o...
//   taskwork doctor
//   taskwork --version
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "event/event.hpp"

namespace taskwork::cli {

inline constexpr std::uint64_t kFrequencyDefault = 997;
inline constexpr std::uint64_t kFrequencyMax = 10000;

/// env(1)'s status for a failure of its own.
inline constexpr int kExitFailed = 125;

struct RunOptions {
    event::EventAttributes attributes;  ///< Either a frequency or a period, the other is 0.
    std::optional<std::uint64_t> duration_ns;
    std::string json_path;  ///< Empty: no JSON report; "-": standard output.
    bool verbose = false;
    std::string object;
    std::vector<std::string> command;  ///< With its arguments; never empty.
};

struct VerifyOptions {
    std::vector<std::string> programs;  ///< Only those with these names; empty: all.
    std::uint32_t log_level = 0;        ///< What of the verifier's log is printed; 0: its end.
    bool expect = false;                ///< Hold the verdicts against the object's own tags.
    std::string json_path;              ///< As RunOptions.
    std::vector<std::string> objects;   ///< Never empty.
};

enum class Action { run, verify, doctor, leave };

struct Options {
    Action action = Action::leave;
    RunOptions run;
    VerifyOptions verify;
    /// With Action::leave: what to print, where, and the status to end with.
    std::string text;
    bool text_is_error = false;
    int exit_status = 0;
};

/// Reads the command line. What is wrong with it, and the text of --help and --version, come back
/// as Action::leave; an error's text is one line naming cause and argument. Context: task.
Options parse_options(int argument_count, const char* const* arguments);

}  // namespace taskwork::cli
