// SPDX-License-Identifier: Apache-2.0
//
// Native code in the processes of a domain, as they see it, and as perf finds it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "bpf/jit/processor.hpp"
#include "tests/program/cli_command.hpp"

namespace taskwork::test {
namespace {

using nlohmann::json;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

/// Without a process of its own: says how the arena is mapped in it.
constexpr const char* kShowMaps =
    "while read -r line; do case $line in *taskwork-arena*) echo \"$line\";; esac; done "
    "< /proc/self/maps; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";

constexpr const char* kExecutable = "r-xs [0-9a-f]+ .*taskwork-arena";
constexpr const char* kWritable = "rw-s [0-9a-f]+ .*taskwork-arena";

Outcome show_maps(json& report, const std::function<void()>& prepare = {}) {
    Outcome outcome = run_with_report({}, "hash_resume", {"sh", "-c", kShowMaps}, &report, prepare);
    EXPECT_EQ(outcome.exit_status, 0) << outcome.error;
    EXPECT_GT(report.at("counters").at("ran"), 0);
    return outcome;
}

struct Native : testing::Test {
    void SetUp() override {
        if (!bpf::jit::kProcessor.has_translator) {
            GTEST_SKIP() << "no translator for this processor";
        }
    }
};

/// The limit of the size of files lets the arena be, and nothing behind it.
void limit_files() {
    const rlim_t arena = rlim_t{1} << 30;
    const rlimit limit{arena + (rlim_t{1} << 20), arena + (rlim_t{1} << 20)};
    ::setrlimit(RLIMIT_FSIZE, &limit);
}

TEST_F(Native, code_is_mapped_executable_in_a_member_apart_from_what_it_may_write) {
    json report;
    const Outcome outcome = show_maps(report);
    EXPECT_THAT(outcome.out, ContainsRegex(kExecutable));
    EXPECT_THAT(outcome.out, ContainsRegex(kWritable));
    EXPECT_THAT(outcome.out, Not(ContainsRegex("rwx")));
}

TEST_F(Native, code_is_not_made_where_the_environment_says_so) {
    json report;
    const Outcome outcome = show_maps(report, [] { ::setenv("TASKWORK_JIT", "off", 1); });
    EXPECT_THAT(outcome.out, Not(ContainsRegex(kExecutable)));
    EXPECT_THAT(outcome.out, ContainsRegex(kWritable));
}

TEST_F(Native, code_that_has_no_place_is_done_without) {
    json report;
    const Outcome outcome = show_maps(report, limit_files);
    EXPECT_THAT(outcome.out, Not(ContainsRegex(kExecutable)));
    EXPECT_THAT(outcome.out, ContainsRegex(kWritable));
}

TEST_F(Native, code_has_names_for_perf_if_it_is_asked_for) {
    // The host writes them when it hears of the process; which shows them itself, then.
    const char* const show =
        "until [ -s /tmp/perf-$$.map ]; do :; done; "
        "while read -r line; do echo \"$line\"; done < /tmp/perf-$$.map; echo pid $$";
    RunningCommand command(
        taskwork_words({"run", object_path("hash_resume"), "--", "sh", "-c", show}), "",
        [] { ::setenv("TASKWORK_PERF_MAP", "1", 1); });
    const pid_t host = command.pid();
    const Outcome outcome = command.wait();
    EXPECT_EQ(outcome.exit_status, 0) << outcome.error;
    EXPECT_THAT(outcome.out, ContainsRegex("[0-9a-f]+ [0-9a-f]+ bpf_prog_on_event\n"));
    EXPECT_THAT(outcome.out, ContainsRegex("[0-9a-f]+ [0-9a-f]+ bpf_prog_on_event_copy_argument"));
    const std::size_t at = outcome.out.find("pid ");
    ASSERT_NE(at, std::string::npos);
    const auto remove_map = [](int pid) {
        return ::unlink(("/tmp/perf-" + std::to_string(pid) + ".map").c_str());
    };
    EXPECT_EQ(remove_map(std::atoi(outcome.out.c_str() + at + 4)), 0);
    EXPECT_EQ(remove_map(host), 0) << "the host's own";
}

TEST_F(Native, doctor_says_whether_programs_run_in_it_and_why_not) {
    EXPECT_THAT(taskwork({"doctor"}).out, HasSubstr("programs run as native code"));
    EXPECT_THAT(taskwork({"doctor"}, [] { ::setenv("TASKWORK_JIT", "off", 1); }).out,
                HasSubstr("TASKWORK_JIT=off: programs are interpreted"));
    EXPECT_THAT(taskwork({"doctor"}, limit_files).out,
                HasSubstr("files may have 1025 MiB only, and the arena with code has 1056: "
                          "programs are interpreted"));
}

TEST_F(Native, code_s_switches_refuse_words_that_they_do_not_know) {
    const std::string line = "TASKWORK_JIT=of: must be on (1) or off (0)";
    const auto misspell = [] { ::setenv("TASKWORK_JIT", "of", 1); };
    const Outcome outcome = taskwork({"run", object_path("hash_resume"), "--", "true"}, misspell);
    EXPECT_EQ(outcome.exit_status, 125);
    EXPECT_EQ(outcome.error, "taskwork: " + line + "\n");
    const Outcome doctor = taskwork({"doctor"}, misspell);
    EXPECT_EQ(doctor.exit_status, 1);
    EXPECT_THAT(doctor.out, HasSubstr("NO  environment       " + line));
}

}  // namespace
}  // namespace taskwork::test
