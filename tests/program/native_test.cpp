// SPDX-License-Identifier: Apache-2.0
//
// Native code in the processes of a domain, as they see it, and as perf finds it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

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

TEST(Native, code_is_mapped_executable_in_a_member_apart_from_what_it_may_write) {
    json report;
    const Outcome outcome = show_maps(report);
    EXPECT_THAT(outcome.out, ContainsRegex(kExecutable));
    EXPECT_THAT(outcome.out, ContainsRegex(kWritable));
    EXPECT_THAT(outcome.out, Not(ContainsRegex("rwx")));
}

TEST(Native, code_is_not_made_where_the_environment_says_so) {
    json report;
    const Outcome outcome = show_maps(report, [] { ::setenv("TASKWORK_JIT", "off", 1); });
    EXPECT_THAT(outcome.out, Not(ContainsRegex(kExecutable)));
    EXPECT_THAT(outcome.out, ContainsRegex(kWritable));
}

TEST(Native, code_that_has_no_place_is_done_without) {
    // The limit of the size of files lets the arena be, and nothing behind it.
    json report;
    const Outcome outcome = show_maps(report, [] {
        const rlim_t arena = rlim_t{1} << 30;
        const rlimit limit{arena + (rlim_t{1} << 20), arena + (rlim_t{1} << 20)};
        ::setrlimit(RLIMIT_FSIZE, &limit);
    });
    EXPECT_THAT(outcome.out, Not(ContainsRegex(kExecutable)));
    EXPECT_THAT(outcome.out, ContainsRegex(kWritable));
}

TEST(Native, code_has_names_for_perf_if_it_is_asked_for) {
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

TEST(Native, doctor_says_whether_programs_run_in_it) {
    EXPECT_THAT(taskwork({"doctor"}).out, HasSubstr("programs run as native code"));
    EXPECT_THAT(taskwork({"doctor"}, [] { ::setenv("TASKWORK_JIT", "off", 1); }).out,
                HasSubstr("TASKWORK_JIT=off: programs are interpreted"));
}

}  // namespace
}  // namespace taskwork::test
