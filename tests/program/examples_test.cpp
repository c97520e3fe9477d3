// SPDX-License-Identifier: Apache-2.0
//
// The example objects on the example program: what they find out is what was there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/program/cli_command.hpp"

namespace taskwork::test {
namespace {

using nlohmann::json;

const std::string kProgram = TASKWORK_TEST_EXAMPLE_DIR "/stacks";
/// Some tenths of a second of CPU time on each of four threads.
const std::vector<std::string> kCommand = {kProgram, "--units", "5000", "--threads", "4"};

std::uint64_t number(const json& value) { return value.get<std::uint64_t>(); }

/// Runs the example's object on the program, whose output is to be that of an unsampled run.
json report_of(const std::string& object) {
    json report;
    const Outcome outcome = run_with_report({}, object, kCommand, &report);
    EXPECT_EQ(outcome.exit_status, 0) << outcome.error;
    EXPECT_EQ(outcome.out, RunningCommand(kCommand).wait().out);
    EXPECT_THAT(report.at("command"), json(kCommand));
    const json& program = report.at("programs").at(0);
    EXPECT_GT(number(program.at("fired")), 100U);
    EXPECT_EQ(program.at("faulted"), 0) << program;
    EXPECT_GE(number(report.at("counters").at("ran")), 1U);
    expect_balance(report);
    return report;
}

/// The object's own variables.
const json& variables(const json& report) {
    for (const auto& [name, elements] : report.at("maps").items()) {
        if (name.ends_with(".bss")) {
            return elements.at(0).at("value");
        }
    }
    throw std::runtime_error("the object has no .bss");
}

/// What `text` is in a char array of `size`.
std::string in_array(const std::string& text, std::size_t size) { return text.substr(0, size - 1); }

/// Samples by thread, in a map whose keys name the thread.
std::map<std::uint32_t, std::uint64_t> by_thread(const json& elements) {
    std::map<std::uint32_t, std::uint64_t> sums;
    for (const json& element : elements) {
        sums[element.at("key").at("tid").get<std::uint32_t>()] += number(element.at("value"));
    }
    return sums;
}

void expect_process_and_threads(const json& report) {
    ASSERT_EQ(report.at("maps").at("processes").size(), 1U);
    const json& process = report["maps"]["processes"][0];
    EXPECT_EQ(process.at("key"), report.at("processes").at(0).at("pid"));
    std::string words;
    for (const std::string& word : kCommand) {
        words += (words.empty() ? "" : " ") + word;
    }
    EXPECT_EQ(process.at("value").at("command_line"), in_array(words, 256));
    EXPECT_EQ(process["value"].at("environment"),
              in_array(std::string("PATH=") + std::getenv("PATH"), 256));
    EXPECT_EQ(process["value"].at("error"), 0);

    EXPECT_EQ(variables(report).at("samples_lost"), 0);
    EXPECT_EQ(variables(report).at("samples"), report.at("programs")[0].at("runs"));
    std::map<std::uint32_t, std::uint64_t> samples;
    std::uint64_t sum = 0;
    for (const json& thread : report["maps"].at("threads")) {
        samples[thread.at("key").get<std::uint32_t>()] = number(thread.at("value").at("samples"));
        sum += number(thread["value"]["samples"]);
    }
    EXPECT_GE(samples.size(), 4U) << "four threads compute";
    EXPECT_EQ(by_thread(report["maps"].at("leaves")), samples);
    EXPECT_EQ(sum, number(variables(report).at("samples")));
}

TEST(Examples, the_sampler_knows_whom_it_samples_and_loses_no_sample) {
    ASSERT_NE(std::getenv("PATH"), nullptr);
    expect_process_and_threads(report_of("sampler"));
}

TEST(Examples, the_stack_sampler_counts_whole_stacks) {
    ASSERT_NE(std::getenv("PATH"), nullptr);
    const json report = report_of("stack_sampler");
    expect_process_and_threads(report);
    const json& stacks = report.at("maps").at("stacks");
    EXPECT_EQ(by_thread(stacks), by_thread(report["maps"].at("leaves")));
    std::uint64_t all = 0;
    std::uint64_t deep = 0;
    for (const json& stack : stacks) {
        const json& addresses = stack.at("key").at("addresses");
        const auto depth = std::count_if(addresses.begin(), addresses.end(),
                                         [](const json& address) { return address != 0; });
        EXPECT_GE(depth, 1) << stack;
        all += number(stack.at("value"));
        deep += depth >= 5 ? number(stack["value"]) : 0;
    }
    // Not all: a function's first and last instructions have no frame, nor does all of libc.
    EXPECT_GT(2 * deep, all) << deep << " of " << all;
}

/// Elements that count the runs of their callbacks, each of which has copied the first argument.
void expect_argument_in(const json& report, const std::string& map, std::size_t text_size,
                        std::size_t at_least) {
    std::uint64_t runs = 0;
    std::size_t used = 0;
    for (const json& element : report.at("maps").at(map)) {
        const json& value = element.at("value");
        runs += number(value.at("runs"));
        if (value["runs"] == 0) {
            continue;
        }
        ++used;
        const std::string text = in_array(kProgram, text_size);
        EXPECT_EQ(value.at("text"), text);
        EXPECT_EQ(value.at("copied"), text.size() + 1);
    }
    EXPECT_GE(used, at_least);
    EXPECT_EQ(runs, number(report.at("counters").at("ran")));
    const json& own = variables(report);
    EXPECT_EQ(own.at("events"), report.at("programs")[0].at("runs"));
    EXPECT_EQ(own.at("scheduled"), report["counters"].at("scheduled"));
    EXPECT_EQ(number(own["scheduled"]) + number(own.at("busy")), number(own["events"]));
}

TEST(Examples, array_signal_copies_the_first_argument_into_each_threads_slot) {
    // Four slots, unless others have taken thread ids in between, so that threads share one.
    const json report = report_of("array_signal");
    expect_argument_in(report, "slots", 60, 1);
}

TEST(Examples, hash_resume_copies_the_first_argument_into_each_threads_value) {
    const json report = report_of("hash_resume");
    expect_argument_in(report, "values", 64, 4);
}

}  // namespace
}  // namespace taskwork::test
