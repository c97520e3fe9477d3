// SPDX-License-Identifier: Apache-2.0
//
// Native code as perf and gdb see it: by name, and with the stack that has led to it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "bpf/jit/processor.hpp"
#include "tests/program/cli_command.hpp"

namespace taskwork::test {
namespace {

using ::testing::Contains;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

struct NativeNames : testing::Test {
    void SetUp() override {
        if (!bpf::jit::kProcessor.has_translator) {
            GTEST_SKIP() << "no translator for this processor";
        }
    }
};

Outcome run_tool(std::vector<std::string> words, const std::function<void()>& prepare = {}) {
    return RunningCommand(std::move(words), "", prepare).wait();
}

/// `taskwork run` of a program that spends much of the time in native code.
std::vector<std::string> spend_time(std::vector<std::string> command) {
    std::vector<std::string> words =
        taskwork_words({"run", "--freq", "997", object_path("native_names"), "--"});
    words.insert(words.end(), command.begin(), command.end());
    return words;
}
const std::vector<std::string> kLoop = {TASKWORK_TEST_PROGRAM_DIR "/life_compute", "1000"};

/// Those with its names: of the command and of the host.
void remove_maps() {
    for (const auto& entry : std::filesystem::directory_iterator("/tmp")) {
        if (!entry.path().filename().string().starts_with("perf-") || !entry.is_regular_file()) {
            continue;
        }
        std::ifstream map(entry.path());
        std::string line;
        if (std::getline(map, line) && line.find("bpf_prog_spend_time") != std::string::npos) {
            ::unlink(entry.path().c_str());
        }
    }
}

// ---- perf ---------------------------------------------------------------------------------------

TEST_F(NativeNames, are_shown_by_perf_which_walks_through_native_code_to_the_thread_s_beginning) {
    const TemporaryFolder folder;
    const std::string data = folder.file("data");
    const std::vector<std::string> record = {"perf",        "record", "-q",     "-g", "-e",
                                             "cpu-clock:u", "-c",     "100000", "-o", data};
    std::vector<std::string> words = record;
    words.emplace_back("true");
    if (const Outcome outcome = run_tool(words); outcome.exit_status != 0) {
        GTEST_SKIP() << "no perf here: " << outcome.error;
    }
    words = record;
    const std::vector<std::string> run = spend_time(kLoop);
    words.insert(words.end(), run.begin(), run.end());
    const Outcome recorded = run_tool(words, [] { ::setenv("TASKWORK_PERF_MAP", "1", 1); });
    ASSERT_EQ(recorded.exit_status, 0) << recorded.error;
    const Outcome outcome = run_tool({"perf", "script", "-i", data, "-F", "pid,ip,sym"});
    ASSERT_EQ(outcome.exit_status, 0) << outcome.error;
    unsigned inside = 0;
    unsigned whole = 0;
    std::string cut;
    std::istringstream samples(outcome.out);
    std::string sample;
    for (std::string line; std::getline(samples, line);) {
        if (!line.empty()) {
            sample += line + "\n";
            continue;
        }
        if (sample.find("bpf_prog_spend_time_one_round") != std::string::npos) {
            ++inside;
            const bool is_whole = sample.find("bpf_prog_spend_time\n") != std::string::npos &&
                                  sample.find("taskwork_enter_native") != std::string::npos &&
                                  sample.find("main\n") != std::string::npos;
            whole += is_whole ? 1 : 0;
            cut = is_whole ? cut : sample;
        }
        sample.clear();
    }
    remove_maps();
    EXPECT_GT(inside, 100u) << outcome.error;
    // Some are taken while a function begins or ends.
    EXPECT_GT(whole, inside * 3 / 4) << cut;
}

TEST_F(NativeNames, are_not_written_into_what_another_has_put_in_their_place) {
    // The host would wait for a reader of this pipe.
    const char* const script = "rm -f /tmp/perf-$$.map; mkfifo /tmp/perf-$$.map; exec \"$@\"";
    std::vector<std::string> words = {"sh", "-c", script, "sh"};
    const std::vector<std::string> run =
        taskwork_words({"run", object_path("hash_resume"), "--", "sh", "-c", "echo pid $$"});
    words.insert(words.end(), run.begin(), run.end());
    RunningCommand command(words, "", [] { ::setenv("TASKWORK_PERF_MAP", "1", 1); });
    const auto map_of = [](int pid) { return "/tmp/perf-" + std::to_string(pid) + ".map"; };
    const std::string map = map_of(command.pid());
    const Outcome outcome = command.wait();
    EXPECT_EQ(outcome.exit_status, 0) << outcome.error;
    struct stat status{};
    EXPECT_EQ(::stat(map.c_str(), &status), 0);
    EXPECT_TRUE(S_ISFIFO(status.st_mode));
    EXPECT_EQ(::unlink(map.c_str()), 0);
    const std::size_t at = outcome.out.find("pid ");
    ASSERT_NE(at, std::string::npos);
    ::unlink(map_of(std::atoi(outcome.out.c_str() + at + 4)).c_str());
}

TEST_F(NativeNames, are_said_to_be_missing_where_their_code_gets_no_segment) {
    const auto refuse = [] { refuse_call(SYS_shmget, EPERM); };
    const auto ask_and_refuse = [] {
        ::setenv("TASKWORK_PERF_MAP", "1", 1);
        refuse_call(SYS_shmget, EPERM);
    };
    const std::string line = "TASKWORK_PERF_MAP: perf finds no names of programs: no System V "
                             "segment for their code: Operation not permitted";
    nlohmann::json report;
    const Outcome asked = run_with_report({}, "native_names", {"true"}, &report, ask_and_refuse);
    remove_maps();
    EXPECT_EQ(asked.exit_status, 0);
    EXPECT_THAT(asked.error, HasSubstr("taskwork: " + line + "\n"));
    EXPECT_THAT(report.at("notes"), Contains(line));
    const Outcome not_asked = run_with_report({}, "native_names", {"true"}, &report, refuse);
    EXPECT_THAT(not_asked.error, Not(HasSubstr("TASKWORK_PERF_MAP")));
    EXPECT_THAT(report.at("notes"), Not(Contains(line)));

    const std::string missing = "--  names for perf    System V segment: Operation not permitted";
    EXPECT_THAT(taskwork({"doctor"}, refuse).out, HasSubstr(missing));
    EXPECT_THAT(taskwork({"doctor"}, [] { ::setenv("TASKWORK_JIT", "off", 1); }).out,
                HasSubstr("--  names for perf    programs are interpreted"));
    EXPECT_THAT(taskwork({"doctor"}).out, HasSubstr("ok  names for perf    native code has names"));
}

// ---- gdb ----------------------------------------------------------------------------------------

/// The backtrace that gdb prints where native code has called a helper.
Outcome backtrace_in_helper(const std::function<void()>& prepare) {
    return run_tool(spend_time({"gdb",
                                "-nx",
                                "-batch",
                                "-iex",
                                "set debuginfod enabled off",
                                "-ex",
                                "set breakpoint pending on",
                                "-ex",
                                "handle SIGURG nostop noprint pass",
                                "-ex",
                                "break map_update_elem",
                                "-ex",
                                "run",
                                "-ex",
                                "backtrace",
                                "-ex",
                                "kill",
                                "--args",
                                kLoop[0],
                                kLoop[1]}),
                    prepare);
}

TEST_F(NativeNames, are_shown_by_gdb_which_goes_through_native_code_to_main_if_that_is_asked_for) {
    if (const Outcome outcome = run_tool({"gdb", "-nx", "-batch", "-ex", "run", "--args", "true"});
        outcome.exit_status != 0 || outcome.out.find("exited normally") == std::string::npos) {
        GTEST_SKIP() << "no gdb here: " << outcome.error;
    }
    const Outcome asked = backtrace_in_helper([] { ::setenv("TASKWORK_UNWIND", "1", 1); });
    EXPECT_THAT(asked.out, ContainsRegex("#[0-9]+ .*map_update_elem")) << asked.error;
    EXPECT_THAT(asked.out, ContainsRegex("#[0-9]+ .* in bpf_prog_spend_time_one_round \\(\\)"));
    EXPECT_THAT(asked.out, ContainsRegex("#[0-9]+ .* in bpf_prog_spend_time \\(\\)"));
    EXPECT_THAT(asked.out, ContainsRegex("#[0-9]+ .*<signal handler called>"));
    EXPECT_THAT(asked.out, ContainsRegex("#[0-9]+ .*main "));
    const Outcome unasked = backtrace_in_helper({});
    EXPECT_THAT(unasked.out, ContainsRegex("#[0-9]+ .*map_update_elem")) << unasked.error;
    EXPECT_THAT(unasked.out, Not(HasSubstr("bpf_prog_")));
}

}  // namespace
}  // namespace taskwork::test
