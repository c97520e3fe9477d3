// SPDX-License-Identifier: Apache-2.0
#include "cli/options.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <cstring>

namespace taskwork::cli {

namespace {

Options leave_with_error(std::string text) {
    Options options;
    options.text = std::move(text);
    options.text_is_error = true;
    options.exit_status = kExitFailed;
    return options;
}

/// A whole decimal number and nothing else: "1e3", "-1", "0x10" and "99999999999999999999" are
/// none.
std::optional<std::uint64_t> parse_number(const std::string& text) {
    std::uint64_t number = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || end != text.data() + text.size() || text.empty()) {
        return std::nullopt;
    }
    return number;
}

/// Seconds, decimals allowed, above 0 and at most a hundred years.
std::optional<std::uint64_t> parse_duration_ns(const std::string& text) {
    double seconds = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (error != std::errc{} || end != text.data() + text.size() || text.empty() ||
        !std::isfinite(seconds) || seconds <= 0 || seconds > 3.2e9) {
        return std::nullopt;
    }
    return static_cast<std::uint64_t>(seconds * 1e9);
}

/// What the words of `run` say, still as text.
struct RunWords {
    std::string event = "cpu-clock";
    std::string frequency;
    std::string period;
    std::string duration;
};

/// Turns the words into values. The error line, empty if all is well.
std::string take_words(const RunWords& words, RunOptions& run) {
    if (words.event == "cpu-clock") {
        run.attributes.source = event::Source::cpu_clock;
    } else if (words.event == "cpu-cycles") {
        run.attributes.source = event::Source::cpu_cycles;
    } else {
        return fmt::format("--event {}: must be cpu-clock or cpu-cycles", words.event);
    }
    if (!words.frequency.empty() && !words.period.empty()) {
        return "--freq and --period: only one of them may be given";
    }
    if (!words.period.empty()) {
        auto period = parse_number(words.period);
        if (!period || *period == 0 || *period > INT64_MAX) {
            return fmt::format("--period {}: must be a whole number above 0", words.period);
        }
        run.attributes.period = *period;
    } else {
        run.attributes.frequency = kFrequencyDefault;
        if (!words.frequency.empty()) {
            auto frequency = parse_number(words.frequency);
            if (!frequency || *frequency == 0 || *frequency > kFrequencyMax) {
                return fmt::format("--freq {}: must be a whole number from 1 to {}",
                                   words.frequency, kFrequencyMax);
            }
            run.attributes.frequency = *frequency;
        }
    }
    if (!words.duration.empty()) {
        run.duration_ns = parse_duration_ns(words.duration);
        if (!run.duration_ns) {
            return fmt::format("--duration {}: must be a number of seconds above 0",
                               words.duration);
        }
    }
    if (run.object.empty()) {
        return "run: OBJECT.bpf.o is missing";
    }
    if (run.command.empty()) {
        return "run: COMMAND is missing; it stands behind \"--\"";
    }
    return {};
}

std::string take_verify_words(const std::string& level, VerifyOptions& verify) {
    constexpr std::uint64_t level_max = 7;  // 1, 2: paths; 4: statistics
    if (!level.empty()) {
        const auto number = parse_number(level);
        if (!number || *number == 0 || *number > level_max) {
            return fmt::format("--log {}: must be 1 or 2 (more), or 4 (statistics) or their sum",
                               level);
        }
        verify.log_level = static_cast<std::uint32_t>(*number);
    }
    return verify.objects.empty() ? "verify: OBJECT.bpf.o is missing" : "";
}

}  // namespace

Options parse_options(int argument_count, const char* const* arguments) {
    // What stands behind the first "--" is COMMAND's, whatever it looks like.
    std::vector<std::string> ours;
    RunOptions run;
    bool behind = false;
    for (int i = 1; i < argument_count; ++i) {
        if (!behind && std::strcmp(arguments[i], "--") == 0) {
            behind = true;
        } else {
            (behind ? run.command : ours).emplace_back(arguments[i]);
        }
    }

    if (!ours.empty() && ours[0] != "run" && ours[0] != "verify" && ours[0] != "doctor" &&
        !ours[0].starts_with('-')) {
        return leave_with_error(fmt::format("{}: no such command (see taskwork --help)", ours[0]));
    }

    CLI::App app("BPF task work in user space: runs a BPF object on an unmodified program.",
                 "taskwork");
    app.set_version_flag("--version", "taskwork " TASKWORK_VERSION);
    app.require_subcommand(0, 1);  // "-x" alone: it is -x that is wrong
    RunWords words;
    CLI::App* run_command = app.add_subcommand(
        "run", "Run COMMAND with the perf_event programs of OBJECT on all its threads");
    run_command->footer("COMMAND and its arguments stand behind: -- COMMAND [ARG...]");
    run_command->add_option("--event", words.event, "What is counted: cpu-clock or cpu-cycles")
        ->type_name("EVENT")
        ->capture_default_str();
    run_command->add_option("--freq", words.frequency, "Events a second, 1-10000 (997)")
        ->type_name("HZ");
    run_command
        ->add_option("--period", words.period, "Counts between events; for cpu-clock, nanoseconds")
        ->type_name("N");
    run_command->add_option("--duration", words.duration, "End sampling after S seconds")
        ->type_name("S");
    run_command->add_option("--json", run.json_path, "Write the report to FILE (-: stdout)")
        ->type_name("FILE");
    run_command->add_flag("-v,--verbose", run.verbose,
                          "Print the loader's messages and ring buffer records");
    run_command->add_option("OBJECT", run.object, "BPF object compiled by clang")
        ->type_name("FILE");
    VerifyOptions verify;
    std::string log_level;
    CLI::App* verify_command = app.add_subcommand(
        "verify", "Say of each program of OBJECT whether the verifier accepts it, and why not");
    verify_command->footer("Ends with 0: all accepted (--expect: all as expected); 1: some not; 2: "
                           "an object could not be loaded");
    verify_command->add_option("--prog", verify.programs, "Only the program with this name")
        ->type_name("NAME")
        ->allow_extra_args(false);
    verify_command
        ->add_option("--log", log_level, "Print the log: 1 paths, 2 more, 4 statistics, or a sum")
        ->type_name("LEVEL");
    verify_command->add_flag("--expect", verify.expect,
                             "Compare with what the object's declaration tags expect");
    verify_command->add_option("--json", verify.json_path, "Write the verdicts to FILE (-: stdout)")
        ->type_name("FILE");
    verify_command->add_option("OBJECT", verify.objects, "BPF objects compiled by clang")
        ->type_name("FILE...");
    CLI::App* doctor_command =
        app.add_subcommand("doctor", "Say what will work on this machine, and what to do about it");

    Options options;
    try {
        std::vector<std::string> reversed(ours.rbegin(), ours.rend());
        app.parse(reversed);
    } catch (const CLI::CallForHelp&) {
        CLI::App* topic = run_command->parsed()      ? run_command
                          : verify_command->parsed() ? verify_command
                                                     : &app;
        options.text = topic->help();
        return options;
    } catch (const CLI::CallForVersion& version) {
        options.text = std::string(version.what()) + "\n";
        return options;
    } catch (const CLI::ParseError& error) {
        std::string text = error.what();
        for (char& c : text) {
            c = c == '\n' ? ' ' : c;
        }
        return leave_with_error(text + " (see taskwork --help)");
    }
    if (doctor_command->parsed()) {
        if (behind) {
            return leave_with_error("doctor: takes no COMMAND");
        }
        options.action = Action::doctor;
        return options;
    }
    if (verify_command->parsed()) {
        std::string wrong =
            behind ? "verify: takes no COMMAND" : take_verify_words(log_level, verify);
        if (!wrong.empty()) {
            return leave_with_error(std::move(wrong));
        }
        options.action = Action::verify;
        options.verify = std::move(verify);
        return options;
    }
    if (!run_command->parsed()) {
        return leave_with_error(
            "a command is missing: run, verify or doctor (see taskwork --help)");
    }
    std::string wrong = take_words(words, run);
    if (!wrong.empty()) {
        return leave_with_error(std::move(wrong));
    }
    options.action = Action::run;
    options.run = std::move(run);
    return options;
}

}  // namespace taskwork::cli
