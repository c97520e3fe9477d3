// SPDX-License-Identifier: Apache-2.0
//
// `taskwork run` under load: no deadlock, no leak, every schedule that returned 0 accounted for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <string>
#include <thread>

#include "tests/program/cli_command.hpp"

namespace taskwork::test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

std::string program_path(const std::string& name) {
    return std::string(TASKWORK_TEST_PROGRAM_DIR) + "/" + name;
}

/// Host and program agree on what became of every work.
void expect_accounted(const json& report, bool killed) {
    const json& counters = report.at("counters");
    const auto count = [&](const char* name) { return counters.at(name).get<std::uint64_t>(); };
    EXPECT_EQ(count("scheduled"), count("ran") + count("cancelled") + count("dropped")) << counters;
    EXPECT_EQ(count("in_flight"), 0U) << counters;
    // What the program itself has counted, in a global of its own. A kill may fall between the
    // schedule and the program's count, or the callback's: at most one on each of its threads.
    const json& own = report.at("maps").at(".data.counters").at(0).at("value").at("counters");
    const auto mine = own.at("scheduled").get<std::uint64_t>();
    const auto ran = own.at("ran").get<std::uint64_t>();
    if (killed) {
        EXPECT_LE(mine, count("scheduled"));
        EXPECT_LE(count("scheduled") - mine, 8U);
        EXPECT_LE(count("ran") > ran ? count("ran") - ran : ran - count("ran"), 8U);
    } else {
        EXPECT_EQ(mine, count("scheduled"));
        EXPECT_EQ(ran, count("ran"));
    }
    EXPECT_EQ(own.at("other_errors"), 0) << own;
    for (const json& program : report.at("programs")) {
        EXPECT_EQ(program.at("faulted"), 0) << program;
    }
}

// A minute at 4 kHz over a program that mallocs in a loop.
TEST(Stress, a_minute_of_events_on_top_of_malloc_loses_nothing_and_leaks_nothing) {
    json report;
    const Outcome outcome = run_with_report({"--freq", "4000"}, "balance",
                                            {program_path("malloc_loop"), "60", "2"}, &report);
    ASSERT_EQ(outcome.exit_status, 0) << outcome.out << outcome.error;
    unsigned long long operations = 0;
    unsigned long long damaged = 1;
    long grew = -1;
    ASSERT_EQ(std::sscanf(outcome.out.c_str(), "operations %llu damaged %llu grew %ld KiB",
                          &operations, &damaged, &grew),
              3)
        << outcome.out;
    EXPECT_EQ(damaged, 0U);
    EXPECT_LT(grew, 8 * 1024) << "resident memory in KiB over three quarters of the time";
    expect_accounted(report, false);
    const auto fired = report.at("programs").at(0).at("fired").get<std::uint64_t>();
    const double user = report.at("times_ns").at("user").get<double>() / 1e9;
    // Without perf events a timer stands in, at the rate of the tick: 100 a second or more.
    const bool timer = report.at("notes").dump().find("CPU timer") != std::string::npos;
    EXPECT_GT(static_cast<double>(fired), user * (timer ? 100 : 4000) * 0.8) << report["notes"];
    std::printf("fired %llu, %s", static_cast<unsigned long long>(fired),
                report.at("counters").dump().c_str());
    std::puts("");
}

/// COMMAND is malloc_loop itself, ended by SIGKILL. The report is in `*report`.
void kill_command(double seconds, json* report) {
    const TemporaryFolder folder;
    const std::string file = folder.file("report.json");
    // exec keeps the process: the shell's id is the program's.
    RunningCommand command(
        taskwork_words({"run", "--json=" + file, "--freq=9000", object_path("balance"), "--", "sh",
                        "-c", "echo \"id $$.\"; exec \"$0\" 30 3", program_path("malloc_loop")}));
    ASSERT_TRUE(command.wait_for_output("."));
    int id = 0;
    ASSERT_EQ(std::sscanf(command.output().c_str(), "id %d.", &id), 1);
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    ASSERT_EQ(::kill(id, SIGKILL), 0);
    const Outcome outcome = command.wait();
    EXPECT_EQ(outcome.exit_status, 128 + SIGKILL) << outcome.error;
    *report = json::parse(std::ifstream(file), nullptr, false);
    ASSERT_FALSE(report->is_discarded()) << outcome.error;
    EXPECT_EQ(report->at("signal"), SIGKILL);
}

/// COMMAND is a shell, which kills malloc_loop, a child of its own.
void kill_child(double seconds, json* report) {
    const std::string script = program_path("malloc_loop") + " 30 3 & sleep " +
                               std::to_string(seconds) + "; kill -KILL $!; wait $!; exit 0";
    const Outcome outcome =
        run_with_report({"--freq", "9000"}, "balance", {"sh", "-c", script}, report);
    ASSERT_EQ(outcome.exit_status, 0) << outcome.error;
}

// Killed at instants spread over its life, its threads in the middle of anything: the host reports
// normally, the counts balance.
TEST(Stress, commands_killed_at_any_time_leave_the_counts_balanced) {
    std::uint32_t random = 20251122;
    std::uint64_t fired = 0;
    for (int round = 0; round < 26; ++round) {
        json report;
        random = random * 1664525U + 1013904223U;
        const double seconds = 0.02 + (random >> 20) / 4096.0 * 0.4;
        (round % 2 == 0 ? kill_command : kill_child)(seconds, &report);
        if (!HasFatalFailure()) {
            expect_accounted(report, true);
            fired += report.at("counters").at("fired").get<std::uint64_t>();
        }
        if (HasFailure()) {
            FAIL() << "round " << round << ", killed after " << seconds << " s";
        }
    }
    EXPECT_GT(fired, 26U * 20) << "killed before anything was under way";
}

TEST(Stress, a_run_that_is_killed_leaves_its_command_to_its_end) {
    for (int round = 0; round < 5; ++round) {
        RunningCommand command(
            taskwork_words({"run", "--freq", "4000", object_path("balance"), "--", "sh", "-c",
                            "echo started; exec \"$0\" 1.5 2", program_path("malloc_loop")}));
        ASSERT_TRUE(command.wait_for_output("started"));
        // At instants spread over its life.
        std::this_thread::sleep_for(std::chrono::milliseconds(200 * round));
        ASSERT_EQ(::kill(command.pid(), SIGKILL), 0);
        ASSERT_TRUE(command.wait_for_output("damaged 0")) << "the command did not come to its end";
        EXPECT_EQ(command.wait().exit_status, -SIGKILL);
    }
}

}  // namespace
}  // namespace taskwork::test
