// SPDX-License-Identifier: Apache-2.0
//
// The few program tests that `make check` runs: the whole way once, and one error.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/program/cli_command.hpp"

namespace taskwork::test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

TEST(Smoke, a_sampled_shell_runs_callbacks_that_read_its_command_line) {
    json report;
    const Outcome outcome =
        run_with_report({}, "hash_resume",
                        {"sh", "-c", "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done"}, &report);
    ASSERT_EQ(outcome.exit_status, 0) << outcome.error;
    const json& counters = report.at("counters");
    EXPECT_GT(counters.at("ran"), 0);
    EXPECT_EQ(counters.at("scheduled"), counters.at("ran").get<std::uint64_t>() +
                                            counters.at("cancelled").get<std::uint64_t>() +
                                            counters.at("dropped").get<std::uint64_t>());
    EXPECT_THAT(report.at("maps").dump(), HasSubstr("\"sh\"")) << "argv[0], read by the callback";
}

TEST(Smoke, doctor_says_that_run_works_here) {
    const Outcome outcome = taskwork({"doctor"});
    EXPECT_EQ(outcome.exit_status, 0) << outcome.out;
    EXPECT_THAT(outcome.out, HasSubstr("perf events"));
}

TEST(Smoke, an_object_that_is_missing_is_one_line_and_status_125) {
    const Outcome outcome = taskwork({"run", "/no/such.bpf.o", "--", "true"});
    EXPECT_EQ(outcome.exit_status, 125);
    EXPECT_EQ(outcome.error, "taskwork: /no/such.bpf.o: No such file or directory\n");
}

}  // namespace
}  // namespace taskwork::test
