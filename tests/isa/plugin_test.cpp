// SPDX-License-Identifier: Apache-2.0
//
// taskwork-bpf-plugin as a conformance suite runs it.
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <iterator>

#include "tests/isa/cases.hpp"
#include "tests/isa/engine.hpp"
#include "tests/isa/text.hpp"
#include "tests/program/cli_command.hpp"

namespace taskwork::isa {
namespace {

using test::Outcome;

Outcome plugin(std::vector<std::string> words, const std::string& input) {
    // With wrong words it does not read its input.
    std::signal(SIGPIPE, SIG_IGN);
    words.insert(words.begin(), TASKWORK_TEST_PLUGIN);
    return test::RunningCommand(words, input).wait();
}

/// Expects an exit status and one line.
void expect_line(const Outcome& outcome, int status, const std::string& line) {
    EXPECT_EQ(outcome.exit_status, status);
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(outcome.error, "taskwork-bpf-plugin: " + line + "\n");
}

// r0 = 5; exit
constexpr const char* kFive = "b7 00 00 00 05 00 00 00 95 00 00 00 00 00 00 00";

class Plugin : public ::testing::TestWithParam<Engine> {};

TEST_P(Plugin, answers_every_fortieth_case) {
    if (const std::optional<std::string> absent = why_absent(GetParam())) {
        expect_line(plugin({std::string("--") + name_of(GetParam())}, kFive), 77, *absent);
        GTEST_SKIP() << *absent;
    }
    unsigned number = 0;
    for (const std::string& file : case_files()) {
        Result<std::vector<Case>> cases = read_cases(file);
        ASSERT_TRUE(cases.has_value()) << cases.error().text;
        for (const Case& one : *cases) {
            if (number++ % 40 != 0 ||
                (one.expected.kind == Expectation::Kind::fault && !checks_accesses(GetParam()))) {
                continue;
            }
            SCOPED_TRACE(one.place + ": " + one.name);
            const Outcome outcome = plugin(
                {hex_of(one.memory), std::string("--") + name_of(GetParam())}, hex_of(one.program));
            if (one.expected.kind == Expectation::Kind::result) {
                EXPECT_EQ(outcome.exit_status, 0) << outcome.error;
                EXPECT_EQ(std::strtoull(outcome.out.c_str(), nullptr, 16), one.expected.r0);
            } else {
                EXPECT_EQ(outcome.exit_status,
                          one.expected.kind == Expectation::Kind::refused ? 1 : 3);
                EXPECT_EQ(outcome.out, "");
                EXPECT_NE(outcome.error.find(one.expected.words), std::string::npos)
                    << outcome.error;
            }
        }
    }
}

TEST_P(Plugin, takes_the_first_code_of_an_elf_object) {
    if (const std::optional<std::string> absent = why_absent(GetParam())) {
        GTEST_SKIP() << *absent;
    }
    std::ifstream file(test::object_path("isa_sample"), std::ios::binary);
    const std::string object{std::istreambuf_iterator<char>(file),
                             std::istreambuf_iterator<char>()};
    const std::string hex = hex_of({object.begin(), object.end()});
    for (const std::string& input : {object, hex}) {
        const Outcome outcome = plugin({"01 02 30", "--elf"}, input);
        EXPECT_EQ(outcome.exit_status, 0) << outcome.error;
        EXPECT_EQ(outcome.out, "1033\n");
    }
    expect_line(plugin({}, object), 2, "program on standard input: an ELF object: say --elf");
}

INSTANTIATE_TEST_SUITE_P(, Plugin, ::testing::Values(Engine::interpret, Engine::jit),
                         [](const ::testing::TestParamInfo<Engine>& with) {
                             return std::string(name_of(with.param));
                         });

TEST(PluginWords, print_r0_in_hexadecimal) {
    const Outcome outcome = plugin({}, "b7000000ffffffff\n9500000000000000\n");
    EXPECT_EQ(outcome.exit_status, 0) << outcome.error;
    EXPECT_EQ(outcome.out, "ffffffffffffffff\n");
    EXPECT_EQ(outcome.error, "");
}

TEST(PluginWords, may_name_empty_memory) {
    EXPECT_EQ(plugin({"", "--interpret"}, kFive).out, "5\n");
}

TEST(PluginWords, that_are_wrong_get_one_line_and_status_2) {
    expect_line(plugin({"0"}, kFive), 2, "memory: an odd number of hexadecimal digits");
    expect_line(plugin({"0x"}, kFive), 2, "memory: '0x' is no hexadecimal byte");
    expect_line(plugin({}, ""), 2, "program on standard input: no bytes");
    expect_line(plugin({}, "mov r0, 5"), 2,
                "program on standard input: 'mo' is no hexadecimal byte");
    expect_line(plugin({"--elf"}, kFive), 2, "program on standard input: no ELF object");
    expect_line(plugin({"--elf"}, "7f 45 4c 46 02"), 2, "program on standard input: no ELF object");
    expect_line(plugin({"--interpret", "--jit"}, kFive), 2, "--interpret excludes --jit");
    expect_line(plugin({"--fast"}, kFive), 2, "The following argument was not expected: --fast");
}

TEST(PluginWords, refuse_a_program_with_status_1) {
    expect_line(plugin({}, "95 00 00 00"), 1, "4 bytes are no whole instructions");
    const Outcome outcome = plugin({}, "ff 00 00 00 00 00 00 00 95 00 00 00 00 00 00 00");
    EXPECT_EQ(outcome.exit_status, 1);
    EXPECT_NE(outcome.error.find("unknown opcode ff"), std::string::npos) << outcome.error;
}

TEST(PluginWords, end_a_program_with_status_3) {
    // r0 = *(u8 *)(r1 +1)
    expect_line(plugin({"00"}, "71 10 01 00 00 00 00 00 95 00 00 00 00 00 00 00"), 3,
                "instruction 0: load from memory that is not the program's");
}

}  // namespace
}  // namespace taskwork::isa
