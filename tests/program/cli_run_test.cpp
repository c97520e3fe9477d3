// SPDX-License-Identifier: Apache-2.0
//
// `taskwork run` from outside: exit statuses, streams, signals, the report.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <ostream>
#include <vector>

#include "tests/program/cli_command.hpp"

namespace taskwork::test {
namespace {

using nlohmann::json;
using ::testing::AnyOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

/// Says that it is there, then computes until it is ended.
constexpr char kForever[] = "echo ready; while :; do :; done";
/// Computes for about a second on this class of machine, at least some tenths on any.
constexpr char kSomeTime[] = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done";

std::vector<std::string> run_words(std::vector<std::string> options, const std::string& script) {
    std::vector<std::string> words = {"run"};
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), {object_path("hash_resume"), "--", "sh", "-c", script});
    return taskwork_words(words);
}

TEST(CliRun, exit_status_is_the_commands) {
    json report;
    EXPECT_EQ(run_with_report({}, "hash_resume", {"sh", "-c", "exit 0"}, &report).exit_status, 0);
    EXPECT_EQ(run_with_report({}, "hash_resume", {"sh", "-c", "exit 7"}, &report).exit_status, 7);
    EXPECT_EQ(report.at("exit_status"), 7);
    EXPECT_EQ(report.at("signal"), 0);
}

TEST(CliRun, a_command_ended_by_a_signal_is_128_and_the_signal) {
    json report;
    const Outcome outcome =
        run_with_report({}, "hash_resume", {"sh", "-c", "kill -KILL $$"}, &report);
    EXPECT_EQ(outcome.exit_status, 128 + SIGKILL);
    EXPECT_EQ(report.at("signal"), SIGKILL);
    expect_balance(report);
    EXPECT_THAT(outcome.error, HasSubstr("ended by signal 9"));
}

TEST(CliRun, streams_are_the_commands_own) {
    RunningCommand command(run_words({}, "read line; echo \"out $line\"; echo \"err $line\" >&2"),
                           "hello\n");
    const Outcome outcome = command.wait();
    EXPECT_EQ(outcome.out, "out hello\n");
    EXPECT_THAT(outcome.error, HasSubstr("err hello\n"));
    EXPECT_THAT(outcome.error, HasSubstr("taskwork: sh -c"));
}

TEST(CliRun, events_schedule_works_and_each_ends_exactly_once) {
    json report;
    const Outcome outcome = run_with_report({}, "hash_resume", {"sh", "-c", kSomeTime}, &report);
    ASSERT_EQ(outcome.exit_status, 0) << outcome.error;
    expect_balance(report);
    ASSERT_EQ(report.at("programs").size(), 1u);
    const json& program = report["programs"][0];
    EXPECT_EQ(program.at("name"), "on_event");
    EXPECT_GT(program.at("fired"), 20);
    EXPECT_EQ(program.at("faulted"), 0);
    EXPECT_EQ(program.at("schedules").at("ok"), report["counters"]["scheduled"]);
    // The program's own counts agree.
    const json& own = report.at("maps").at("hash_res.bss")[0].at("value");
    EXPECT_EQ(own.at("events"), program.at("fired"));
    EXPECT_EQ(own.at("scheduled"), report["counters"]["scheduled"]);
    const json& latency = report.at("latency_ns");
    EXPECT_EQ(latency.at("count"), report["counters"]["ran"]);
    EXPECT_GT(latency.at("p50"), 0);
    EXPECT_LE(latency.at("p50"), latency.at("p99"));
    EXPECT_LE(latency.at("p99"), latency.at("max"));
    EXPECT_EQ(report.at("command"), json({"sh", "-c", kSomeTime}));
    EXPECT_TRUE(report.at("held_back").is_array());
    EXPECT_EQ(report.at("maps_refused"), json::object());
    // What the callback copied from user memory.
    EXPECT_EQ(report["maps"]["values"][0]["value"]["text"], "sh");
    EXPECT_THAT(outcome.error, HasSubstr("map values (hash)"));
    EXPECT_THAT(outcome.error, HasSubstr("\"text\": \"sh\""));
}

TEST(CliRun, values_of_every_kind_of_type_are_typed) {
    json report;
    const Outcome outcome = run_with_report({}, "typed_values", {"sh", "-c", kSomeTime}, &report);
    ASSERT_EQ(outcome.exit_status, 0) << outcome.error;
    ASSERT_EQ(report.at("maps").at("typed").size(), 1u);
    const json& element = report["maps"]["typed"][0];
    EXPECT_EQ(element.at("key"), json::parse(R"({"name":"first","number":-7})"));
    EXPECT_EQ(element.at("value"), json::parse(R"({
        "u8":200, "s8":-100, "u16":60000, "s16":-30000, "u32":4000000000, "s32":-2000000000,
        "u64":18446744073709551615, "s64":-9223372036854775808, "flag":true, "letter":120,
        "text":"a \"quoted\"\tline", "full":"12345678", "numbers":[1,-2,3], "grid":[[1,2],[3,4]],
        "colour":"GREEN", "nested":{"low":5,"high":-3,"wide":1000}, "anonymous":42,
        "either":{"bits":1065353216,"signed_bits":1065353216}, "pointer":"0x1000", "alias":12})"));
}

/// Expects that each program has fired at the default rate, if that is to be had.
void expect_full_rates(const json& report) {
    const double user = report.at("times_ns").at("user").get<double>() / 1e9;
    const double system = report.at("times_ns").at("system").get<double>() / 1e9;
    for (const json& program : report.at("programs")) {
        const auto fired = program.at("fired").get<double>();
        EXPECT_GT(fired, 20) << program;
        if (report.at("notes").empty()) {  // else it is not to be had, and the report says so
            EXPECT_GE(fired, 0.95 * 997 * user - 5) << program;
            EXPECT_LE(fired, 1.05 * 997 * (user + system) + 10) << program;
        }
    }
}

TEST(CliRun, two_programs_of_an_object_each_fire_at_the_full_rate) {
    json report;
    const Outcome outcome = run_with_report({}, "two_programs", {"sh", "-c", kSomeTime}, &report);
    ASSERT_EQ(outcome.exit_status, 0) << outcome.error;
    ASSERT_EQ(report.at("programs").size(), 2u);
    expect_full_rates(report);
    expect_balance(report);
}

TEST(CliRun, three_programs_of_an_object_each_fire_at_the_full_rate_and_apart) {
    json report;
    const Outcome outcome = run_with_report({}, "three_programs", {"sh", "-c", kSomeTime}, &report);
    ASSERT_EQ(outcome.exit_status, 0) << outcome.error;
    ASSERT_EQ(report.at("programs").size(), 3u);
    expect_full_rates(report);
    if (!report.at("notes").empty()) {
        GTEST_SKIP() << "by timers, which expire at the tick together: " << report["notes"];
    }
    // One program a signal, and the next one a third of the period later.
    std::vector<std::uint64_t> distances;
    json before;
    for (const json& element : report.at("maps").at("moments")) {
        const json& moment = element.at("value");
        if (moment.at("time_ns") == 0) {
            break;
        }
        if (!before.is_null()) {
            EXPECT_EQ(moment.at("program"), (before.at("program").get<int>() + 1) % 3);
            distances.push_back(moment["time_ns"].get<std::uint64_t>() -
                                before.at("time_ns").get<std::uint64_t>());
        }
        before = moment;
    }
    ASSERT_GT(distances.size(), 60u);
    std::sort(distances.begin(), distances.end());
    EXPECT_NEAR(static_cast<double>(distances[distances.size() / 2]), 1e9 / 997 / 3, 1e5);
}

TEST(CliRun, a_rate_that_so_many_programs_cannot_have_is_said) {
    json report;
    const Outcome outcome =
        run_with_report({"--period=5000"}, "three_programs", {"sh", "-c", "exit 0"}, &report);
    ASSERT_EQ(outcome.exit_status, 0) << outcome.error;
    ASSERT_EQ(report.at("notes").size(), 1u) << report["notes"];
    const std::string note = report["notes"][0];
    EXPECT_THAT(note,
                AnyOf(ContainsRegex("3 programs at 200000 events a second: the kernel gives a "
                                    "thread [0-9]+ in all, so each program reaches [0-9]+"),
                      HasSubstr("CPU timer")));
    EXPECT_THAT(report.at("event").get<std::string>(), Not(HasSubstr("5,000 ns")));
}

TEST(CliRun, ring_buffer_records_are_counted_and_printed_typed_when_asked) {
    json report;
    Outcome outcome = run_with_report({}, "cli_records", {"sh", "-c", kSomeTime}, &report);
    ASSERT_EQ(outcome.exit_status, 0) << outcome.error;
    EXPECT_EQ(report.at("ring_buffers").at("samples").at("records"), 3);
    EXPECT_EQ(report["ring_buffers"]["samples"].at("bytes"), 3 * 24);
    EXPECT_EQ(report["ring_buffers"]["samples"].at("dropped"), 0);
    EXPECT_THAT(outcome.error, Not(HasSubstr("samples: {")));
    outcome = run_with_report({"-v"}, "cli_records", {"sh", "-c", kSomeTime}, &report);
    EXPECT_THAT(outcome.error, HasSubstr("samples: {\"number\":2,\"name\":\"sh\"}\n"));
}

TEST(CliRun, printk_goes_to_standard_error) {
    json report;
    const Outcome outcome = run_with_report({}, "cli_records", {"sh", "-c", kSomeTime}, &report);
    ASSERT_EQ(outcome.exit_status, 0) << outcome.error;
    EXPECT_THAT(outcome.error, HasSubstr("event 2 of sh\n"));
    EXPECT_EQ(outcome.out, "");
}

TEST(CliRun, json_goes_to_standard_output_when_asked) {
    const Outcome outcome =
        taskwork({"run", "--json=-", object_path("hash_resume"), "--", "sh", "-c", "exit 3"});
    EXPECT_EQ(outcome.exit_status, 3);
    const json report = json::parse(outcome.out);
    EXPECT_EQ(report.at("exit_status"), 3);
}

TEST(CliRun, duration_ends_sampling_and_not_the_command) {
    json report;
    const Outcome outcome =
        run_with_report({"--duration=0.1"}, "hash_resume",
                        {"sh", "-c", std::string(kSomeTime) + "; exit 5"}, &report);
    EXPECT_EQ(outcome.exit_status, 5);
    // Not more than the 0.1 s can hold, though the command took longer.
    EXPECT_LE(report.at("counters").at("fired"), 105);
    EXPECT_GT(report.at("times_ns").at("elapsed"), 100'000'000);
    expect_balance(report);
}

TEST(CliRun, period_is_in_nanoseconds_of_the_cpu_clock) {
    json report;
    const Outcome outcome =
        run_with_report({"--period=10000000"}, "hash_resume", {"sh", "-c", kSomeTime}, &report);
    ASSERT_EQ(outcome.exit_status, 0) << outcome.error;
    const double user = report.at("times_ns").at("user").get<double>() / 1e9;
    const double system = report.at("times_ns").at("system").get<double>() / 1e9;
    EXPECT_LE(report.at("counters").at("fired").get<double>(), (user + system) * 100 + 2);
    EXPECT_GE(report.at("counters").at("fired").get<double>(), user * 80 - 2);
}

TEST(CliRun, cycles_without_counters_fall_back_to_the_clock_and_say_so) {
    json report;
    const Outcome outcome =
        run_with_report({"--event=cpu-cycles"}, "hash_resume", {"sh", "-c", kSomeTime}, &report);
    ASSERT_EQ(outcome.exit_status, 0) << outcome.error;
    EXPECT_GT(report.at("counters").at("fired"), 0);
    if (report.at("event").get<std::string>().find("cpu-cycles") != std::string::npos) {
        EXPECT_EQ(report.at("notes").size(), 0u) << report.at("notes");
        GTEST_SKIP() << "this machine has hardware counters: nothing to fall back from";
    }
    ASSERT_EQ(report.at("notes").size(), 1u);
    const std::string note = report["notes"][0];
    EXPECT_THAT(note, AnyOf(HasSubstr("no hardware counter"), HasSubstr("not cycles")));
    EXPECT_THAT(outcome.error, HasSubstr(note));
}

void refuse_perf_events() { refuse_call(SYS_perf_event_open, EACCES); }

TEST(CliRun, without_perf_events_a_timer_stands_in_and_its_rate_is_said) {
    json report;
    // More than any kernel's tick, which is what the timer reaches.
    const Outcome outcome = run_with_report({"--freq=10000"}, "hash_resume",
                                            {"sh", "-c", std::string(kSomeTime) + "; exit 7"},
                                            &report, refuse_perf_events);
    ASSERT_EQ(outcome.exit_status, 7) << outcome.error;
    ASSERT_EQ(report.at("notes").size(), 1u) << report.at("notes");
    const std::string note = report["notes"][0];
    EXPECT_THAT(note, HasSubstr("perf_event_open: Permission denied"));
    EXPECT_THAT(note, ContainsRegex("which reaches [0-9]+ events a second of CPU time; 10000"));
    EXPECT_THAT(outcome.error, HasSubstr(note));
    EXPECT_GT(report.at("counters").at("fired"), 0);
    EXPECT_GT(report["counters"].at("ran"), 0);
    expect_balance(report);
    const auto& own = report.at("maps").at("hash_res.bss")[0].at("value");
    EXPECT_EQ(own.at("events"), report["counters"].at("fired"));
}

class CliRunSignal : public ::testing::TestWithParam<int> {};

TEST_P(CliRunSignal, to_run_ends_the_command_by_the_same_and_the_report_is_printed) {
    RunningCommand command(run_words({}, kForever));
    ASSERT_TRUE(command.wait_for_output("ready"));
    ASSERT_EQ(::kill(command.pid(), GetParam()), 0);
    const Outcome outcome = command.wait();
    EXPECT_EQ(outcome.exit_status, 128 + GetParam());
    EXPECT_THAT(outcome.error, HasSubstr("ended by signal " + std::to_string(GetParam())));
    EXPECT_THAT(outcome.error, HasSubstr("program on_event"));
}

INSTANTIATE_TEST_SUITE_P(All, CliRunSignal, ::testing::Values(SIGINT, SIGTERM, SIGHUP, SIGQUIT));

/// Counts SIGINTs: from the first on it computes for some tenths of a second, in which a second one
/// would be counted, and prints the count.
const std::string kCountInterrupts =
    "n=0; trap 'n=$((n+1))' INT; echo ready; while [ $n -eq 0 ]; do :; done; " +
    std::string(kSomeTime) + "; echo \"interrupts: $n.\"; exit 9";

TEST(CliRun, sigint_to_run_alone_reaches_a_command_that_handles_it_once) {
    RunningCommand command(run_words({}, kCountInterrupts));
    ASSERT_TRUE(command.wait_for_output("ready"));
    ASSERT_EQ(::kill(command.pid(), SIGINT), 0);
    const Outcome outcome = command.wait();
    EXPECT_EQ(outcome.exit_status, 9);
    EXPECT_THAT(outcome.out, HasSubstr("interrupts: 1."));
}

/// Runs the words on a terminal of their own; each time that it shows `cue`, types `input`. What
/// the terminal has shown; the exit status in `*status`.
std::string on_a_terminal(std::vector<std::string> words, int* status, const std::string& cue = "",
                          const std::string& input = "") {
    std::vector<char*> arguments;
    for (std::string& word : words) {
        arguments.push_back(word.data());
    }
    arguments.push_back(nullptr);
    int terminal = -1;
    const pid_t pid = ::forkpty(&terminal, nullptr, nullptr, nullptr);
    if (pid == 0) {
        ::execv(arguments[0], arguments.data());
        ::_exit(127);
    }
    std::string text;
    std::size_t seen = 0;
    char buffer[4096];
    for (ssize_t got = 0; (got = ::read(terminal, buffer, sizeof buffer)) > 0;) {
        text.append(buffer, static_cast<std::size_t>(got));
        for (std::size_t at = 0;
             !cue.empty() && (at = text.find(cue, seen)) != std::string::npos;) {
            seen = at + cue.size();
            EXPECT_EQ(::write(terminal, input.data(), input.size()),
                      static_cast<ssize_t>(input.size()));
        }
    }
    ::close(terminal);
    int wait_status = 0;
    ::waitpid(pid, &wait_status, 0);
    *status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -WTERMSIG(wait_status);
    return text;
}

// The terminal's SIGINT reaches the whole group: the command has it already when run gets it. A
// second one may merge with the first while that is pending, so there are several rounds.
TEST(CliRun, interrupts_from_the_terminal_reach_the_command_once_each) {
    int status = -1;
    const std::string text = on_a_terminal(
        run_words({}, "n=0; trap 'n=$((n+1))' INT; for round in 1 2 3 4 5 6 7 8 9 10; do "
                      "before=$n; echo ready; while [ $n -eq $before ]; do :; done; "
                      "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; done; "
                      "echo \"interrupts: $n.\"; exit 9"),
        &status, "ready", "\x03");
    EXPECT_EQ(status, 9) << text;
    EXPECT_THAT(text, HasSubstr("interrupts: 10."));
}

TEST(CliRun, the_command_runs_to_its_end_when_run_is_killed) {
    RunningCommand command(
        run_words({}, "echo ready; read line; " + std::string(kSomeTime) + "; echo finished"), "");
    ASSERT_TRUE(command.wait_for_output("ready"));
    ASSERT_EQ(::kill(command.pid(), SIGKILL), 0);
    EXPECT_TRUE(command.wait_for_output("finished"));
    EXPECT_EQ(command.wait().exit_status, -SIGKILL);
}

TEST(CliRun, run_itself_takes_little_cpu_time) {
    const auto cpu_seconds = [] {
        rusage usage{};
        ::getrusage(RUSAGE_CHILDREN, &usage);
        return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    };
    const double before = cpu_seconds();
    json report;
    ASSERT_EQ(run_with_report({}, "hash_resume", {"sleep", "2"}, &report).exit_status, 0);
    // Loading included, also in a debug build; a loop that spins takes 2.
    EXPECT_LT(cpu_seconds() - before, 0.7);
}

/// Signals of a process that prints its /proc/self/status: blocked and ignored ones, as bits.
struct SignalState {
    std::uint64_t blocked = ~0ULL;
    std::uint64_t ignored = ~0ULL;

    explicit SignalState(const std::string& status) {
        const auto field = [&](const char* name) {
            const std::size_t at = status.find(name);
            return at == std::string::npos ? ~0ULL
                                           : std::stoull(status.substr(at + 7), nullptr, 16);
        };
        // libc's own two: its posix_spawn leaves them ignored, and nobody else gets to see them.
        constexpr std::uint64_t kOfLibc = (1ULL << (32 - 1)) | (1ULL << (33 - 1));
        blocked = field("SigBlk:") & ~kOfLibc;
        ignored = field("SigIgn:") & ~kOfLibc;
    }
    bool operator==(const SignalState&) const = default;
};

void PrintTo(const SignalState& state, std::ostream* out) {
    *out << std::hex << "blocked " << state.blocked << " ignored " << state.ignored;
}

TEST(CliRun, signals_of_the_command_are_as_they_were) {
    // What run blocks and takes for itself is not handed on; what its parent left is.
    const std::vector<std::string> words = {"cat", "/proc/self/status"};
    const auto plain = [&](const std::function<void()>& prepare) {
        return SignalState(RunningCommand(words, "", prepare).wait().out);
    };
    const auto sampled = [&](const std::function<void()>& prepare) {
        json report;
        return SignalState(run_with_report({}, "hash_resume", words, &report, prepare).out);
    };
    const auto prepare = [] {
        ::signal(SIGUSR1, SIG_IGN);
        ::signal(SIGHUP, SIG_IGN);
        sigset_t blocked;
        ::sigemptyset(&blocked);
        ::sigaddset(&blocked, SIGUSR2);
        ::sigaddset(&blocked, SIGTERM);
        ::sigprocmask(SIG_SETMASK, &blocked, nullptr);
    };
    EXPECT_EQ(sampled({}), plain({}));
    const SignalState prepared = plain(prepare);
    EXPECT_EQ(prepared.blocked, (1U << (SIGUSR2 - 1)) | (1U << (SIGTERM - 1)));
    EXPECT_EQ(prepared.ignored & 0x201, (1U << (SIGUSR1 - 1)) | (1U << (SIGHUP - 1)));
    EXPECT_EQ(sampled(prepare), prepared);
}

TEST(CliRun, a_process_without_its_environment_is_listed_as_not_entered) {
    json report;
    const Outcome outcome = run_with_report(
        {}, "hash_resume", {"env", "-i", "sh", "-c", std::string(kSomeTime) + "; exit 4"}, &report);
    EXPECT_EQ(outcome.exit_status, 4);
    ASSERT_EQ(report.at("not_entered").size(), 1u) << report.at("not_entered");
    EXPECT_THAT(report["not_entered"][0].at("reason").get<std::string>(), HasSubstr("environment"));
    EXPECT_EQ(report.at("counters").at("not_entered"), 1);
    EXPECT_THAT(outcome.error, HasSubstr("not entered: 1 process"));
}

TEST(CliRun, a_program_that_has_the_arena_s_address_runs_on_and_says_so_in_one_line) {
    json report;
    const Outcome outcome =
        run_with_report({}, "hash_resume", {TASKWORK_TEST_PROGRAM_DIR "/address_taken"}, &report);
    EXPECT_EQ(outcome.exit_status, 0);
    EXPECT_EQ(outcome.out, "kept its own\n");
    const std::string line = "cannot join: the arena's address 0x200000000000 is taken";
    ASSERT_THAT(outcome.error, HasSubstr(line));
    // That line comes before the report, alone and once.
    EXPECT_EQ(outcome.error.find(line), outcome.error.rfind(line));
    EXPECT_EQ(outcome.error.find('\n'), outcome.error.find("it runs unsampled\n") + 17);
    ASSERT_EQ(report.at("not_entered").size(), 1u) << report.at("not_entered");
    EXPECT_EQ(report["not_entered"][0].at("reason"),
              "the arena's address is taken by memory of its own");
    EXPECT_EQ(report.at("counters").at("fired"), 0);
}

TEST(CliRun, a_static_child_is_listed_however_short_it_lived) {
    json report;
    const Outcome outcome = run_with_report(
        {}, "hash_resume", {"sh", "-c", "/sbin/ldconfig -p >/dev/null; true; exit 6"}, &report);
    EXPECT_EQ(outcome.exit_status, 6);
    if (taskwork({"doctor"}).out.find("ok  perf events") == std::string::npos) {
        GTEST_SKIP() << "without perf events the kernel does not tell of short lives";
    }
    ASSERT_EQ(report.at("not_entered").size(), 1u) << report.at("not_entered");
    EXPECT_EQ(report["not_entered"][0].at("reason"), "statically linked");
    EXPECT_THAT(report["not_entered"][0].at("command").get<std::string>(), HasSubstr("ldconfig"));
}

TEST(CliRun, children_are_entered) {
    json report;
    const Outcome outcome = run_with_report(
        {}, "hash_resume",
        {"sh", "-c", "sh -c '" + std::string(kSomeTime) + "' & sh -c '" + kSomeTime + "'; wait"},
        &report);
    ASSERT_EQ(outcome.exit_status, 0) << outcome.error;
    EXPECT_GE(report.at("processes").size(), 3u);
    EXPECT_GE(report.at("maps").at("values").size(), 2u);
    EXPECT_EQ(report.at("not_entered").size(), 0u) << report.at("not_entered");
    expect_balance(report);
}

TEST(CliRun, a_terminal_shows_a_status_line) {
    int status = -1;
    const std::string text = on_a_terminal(
        taskwork_words({"run", object_path("hash_resume"), "--", "sleep", "1.3"}), &status);
    EXPECT_EQ(status, 0);
    EXPECT_THAT(text, HasSubstr("taskwork: 1 s, "));
    EXPECT_THAT(text, HasSubstr("program on_event"));
}

TEST(CliDoctor, says_what_works_a_line_each) {
    const Outcome outcome = taskwork({"doctor"});
    EXPECT_EQ(outcome.exit_status, 0) << outcome.out;
    for (const char* name : {"perf events", "cpu cycles", "executable memfd", "arena address",
                             "membarrier", "process_vm_readv", "preload library", "kernel's own"}) {
        EXPECT_THAT(outcome.out, HasSubstr(name));
    }
    EXPECT_THAT(outcome.out, HasSubstr("will work here"));
}

TEST(CliDoctor, says_what_is_missing_without_perf_events) {
    const Outcome outcome = taskwork({"doctor"}, refuse_perf_events);
    EXPECT_THAT(outcome.out, HasSubstr("CPU timers stand in"));
    EXPECT_THAT(outcome.out, HasSubstr("resume mode's kick interrupts system calls"));
}

TEST(CliRun, core_dumps_of_the_command_leave_the_arena_out) {
    json report;
    const Outcome outcome = run_with_report(
        {}, "hash_resume",
        {"sh", "-c", "grep -A25 taskwork-arena /proc/self/smaps | grep -m1 VmFlags"}, &report);
    EXPECT_THAT(outcome.out, HasSubstr(" dd"));
}

TEST(CliDoctor, says_no_where_run_cannot_work) {
    const Outcome outcome =
        taskwork({"doctor"}, [] { ::setenv("TASKWORK_AGENT", "/nowhere/agent.so", 1); });
    EXPECT_EQ(outcome.exit_status, 1);
    EXPECT_THAT(outcome.out, HasSubstr("NO  preload library"));
    EXPECT_THAT(outcome.out, HasSubstr("remedy: "));
}

TEST(CliVersion, is_printed) {
    const Outcome outcome = taskwork({"--version"});
    EXPECT_EQ(outcome.exit_status, 0);
    EXPECT_EQ(outcome.out, "taskwork " TASKWORK_VERSION "\n");
}

}  // namespace
}  // namespace taskwork::test
