// SPDX-License-Identifier: Apache-2.0
#include "cli/options.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <initializer_list>

namespace taskwork::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

Options parse(std::initializer_list<const char*> words) {
    std::vector<const char*> arguments{"taskwork"};
    arguments.insert(arguments.end(), words);
    return parse_options(static_cast<int>(arguments.size()), arguments.data());
}

void expect_error(const Options& options, const char* part) {
    EXPECT_EQ(options.action, Action::leave);
    EXPECT_TRUE(options.text_is_error);
    EXPECT_EQ(options.exit_status, 125);
    EXPECT_THAT(options.text, HasSubstr(part));
    EXPECT_THAT(options.text, Not(HasSubstr("\n")));
}

TEST(Options, run_samples_at_997_hz_of_cpu_clock_unless_told_otherwise) {
    Options options = parse({"run", "x.bpf.o", "--", "xz", "-T2"});
    ASSERT_EQ(options.action, Action::run) << options.text;
    EXPECT_EQ(options.run.attributes.source, event::Source::cpu_clock);
    EXPECT_EQ(options.run.attributes.frequency, 997u);
    EXPECT_EQ(options.run.attributes.period, 0u);
    EXPECT_EQ(options.run.object, "x.bpf.o");
    EXPECT_FALSE(options.run.duration_ns);
    EXPECT_FALSE(options.run.verbose);
    EXPECT_THAT(options.run.command, ElementsAre("xz", "-T2"));
}

TEST(Options, verify_takes_objects_and_prints_the_end_of_a_log_unless_told_otherwise) {
    Options options = parse({"verify", "a.bpf.o", "b.bpf.o"});
    ASSERT_EQ(options.action, Action::verify) << options.text;
    EXPECT_THAT(options.verify.objects, ElementsAre("a.bpf.o", "b.bpf.o"));
    EXPECT_THAT(options.verify.programs, ElementsAre());
    EXPECT_EQ(options.verify.log_level, 0u);
    EXPECT_FALSE(options.verify.expect);
    options = parse(
        {"verify", "--prog", "p", "a.bpf.o", "--prog=q", "--log", "2", "--expect", "--json=-"});
    ASSERT_EQ(options.action, Action::verify) << options.text;
    EXPECT_THAT(options.verify.objects, ElementsAre("a.bpf.o"));
    EXPECT_THAT(options.verify.programs, ElementsAre("p", "q"));
    EXPECT_EQ(options.verify.log_level, 2u);
    EXPECT_TRUE(options.verify.expect);
    EXPECT_EQ(options.verify.json_path, "-");
}

TEST(Options, verify_says_what_is_wrong_with_its_words) {
    expect_error(parse({"verify"}), "verify: OBJECT.bpf.o is missing");
    expect_error(parse({"verify", "--log", "8", "a.bpf.o"}), "--log 8: must be");
    expect_error(parse({"verify", "--log", "much", "a.bpf.o"}), "--log much: must be");
    expect_error(parse({"verify", "a.bpf.o", "--", "xz"}), "verify: takes no COMMAND");
    expect_error(parse({"verify", "--period", "5", "a.bpf.o"}), "--period");
}

TEST(Options, everything_behind_the_first_separator_belongs_to_the_command) {
    Options options = parse({"run", "x.bpf.o", "--", "env", "--json=f", "--", "-v", "--freq", "0"});
    ASSERT_EQ(options.action, Action::run) << options.text;
    EXPECT_THAT(options.run.command, ElementsAre("env", "--json=f", "--", "-v", "--freq", "0"));
    EXPECT_EQ(options.run.json_path, "");
}

TEST(Options, options_stand_before_or_behind_the_object) {
    Options options = parse({"run", "--event", "cpu-cycles", "--period=5000", "x.bpf.o", "-v",
                             "--duration", "1.5", "--json=-", "--", "true"});
    ASSERT_EQ(options.action, Action::run) << options.text;
    EXPECT_EQ(options.run.attributes.source, event::Source::cpu_cycles);
    EXPECT_EQ(options.run.attributes.period, 5000u);
    EXPECT_EQ(options.run.attributes.frequency, 0u);
    EXPECT_EQ(options.run.duration_ns, 1500000000u);
    EXPECT_EQ(options.run.json_path, "-");
    EXPECT_TRUE(options.run.verbose);
}

TEST(Options, a_frequency_from_1_to_10000_is_accepted_and_nothing_beside_it) {
    for (const char* good : {"1", "10000"}) {
        Options options = parse({"run", "--freq", good, "x.bpf.o", "--", "true"});
        EXPECT_EQ(options.action, Action::run) << options.text;
    }
    for (const char* bad : {"0", "10001", "-1", "1e3", "x", "99999999999999999999999", "0x10"}) {
        std::string argument = std::string("--freq=") + bad;
        expect_error(parse({"run", argument.c_str(), "x.bpf.o", "--", "true"}), "1 to 10000");
    }
}

TEST(Options, a_period_is_a_number_above_0_and_excludes_a_frequency) {
    expect_error(parse({"run", "--period=0", "x.bpf.o", "--", "true"}), "--period 0");
    expect_error(parse({"run", "--period=1e6", "x.bpf.o", "--", "true"}), "--period 1e6");
    expect_error(parse({"run", "--period=5", "--freq=5", "x.bpf.o", "--", "true"}), "only one");
}

TEST(Options, a_duration_is_seconds_above_0) {
    for (const char* bad : {"0", "-1", "nan", "inf", "1s", "1e30"}) {
        std::string argument = std::string("--duration=") + bad;
        expect_error(parse({"run", argument.c_str(), "x.bpf.o", "--", "true"}), "--duration");
    }
}

TEST(Options, what_is_missing_or_unknown_is_named) {
    expect_error(parse({"run", "--", "true"}), "OBJECT");
    expect_error(parse({"run", "x.bpf.o"}), "COMMAND");
    expect_error(parse({"run", "x.bpf.o", "--"}), "COMMAND");
    expect_error(parse({"run", "--event=page-faults", "x.bpf.o", "--", "true"}), "page-faults");
    expect_error(parse({"run", "--colour", "x.bpf.o", "--", "true"}), "--colour");
    expect_error(parse({"run", "x.bpf.o", "y.bpf.o", "--", "true"}), "y.bpf.o");
    expect_error(parse({"record"}), "record");
    expect_error(parse({""}), "no such command");
    expect_error(parse({}), "run, verify or doctor");
    expect_error(parse({"-x"}), "-x");
    expect_error(parse({"doctor", "--", "true"}), "COMMAND");
}

TEST(Options, version_and_help_succeed_on_standard_output) {
    Options version = parse({"--version"});
    EXPECT_EQ(version.action, Action::leave);
    EXPECT_FALSE(version.text_is_error);
    EXPECT_EQ(version.exit_status, 0);
    EXPECT_EQ(version.text, "taskwork " TASKWORK_VERSION "\n");

    Options help = parse({"run", "--help"});
    EXPECT_EQ(help.exit_status, 0);
    EXPECT_THAT(help.text, HasSubstr("--duration"));
    EXPECT_THAT(parse({"--help"}).text, HasSubstr("doctor"));
}

TEST(Options, doctor_takes_nothing) { EXPECT_EQ(parse({"doctor"}).action, Action::doctor); }

}  // namespace
}  // namespace taskwork::cli
