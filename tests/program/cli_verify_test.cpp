// SPDX-License-Identifier: Apache-2.0
//
// `taskwork verify`: a line a program, exit statuses, JSON, and what is wrong with its input. What
// the verifier says of which program is tests/verifier.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "tests/program/cli_command.hpp"

namespace taskwork::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

Outcome verify(std::vector<std::string> words) {
    words.insert(words.begin(), "verify");
    return taskwork(std::move(words));
}

TEST(Verify, says_of_an_accepted_program_what_it_took) {
    const Outcome outcome = verify({"--prog", "shortest", object_path("verifier_structure")});
    EXPECT_EQ(outcome.exit_status, 0) << outcome.error;
    EXPECT_THAT(outcome.out, AllOf(StartsWith("accepted  shortest"), HasSubstr("perf_event"),
                                   HasSubstr(" insns, states "), HasSubstr(" us\n"),
                                   HasSubstr("1 program: 1 accepted, 0 rejected\n")));
    EXPECT_EQ(outcome.error, "");
}

TEST(Verify, ends_with_1_where_a_program_is_rejected_and_says_why) {
    const Outcome outcome = verify(
        {"--prog", "shortest", "--prog", "unknown_opcode", object_path("verifier_structure")});
    EXPECT_EQ(outcome.exit_status, 1) << outcome.error;
    EXPECT_THAT(outcome.out,
                AllOf(HasSubstr("accepted  shortest"), HasSubstr("rejected  unknown_opcode"),
                      HasSubstr("unknown opcode ff\n"),
                      HasSubstr("2 programs: 1 accepted, 1 rejected\n")));
}

TEST(Verify, with_expectations_ends_with_0_where_a_rejection_was_expected) {
    const Outcome outcome = verify({"--expect", "--prog", "shortest", "--prog", "unknown_opcode",
                                    object_path("verifier_structure")});
    EXPECT_EQ(outcome.exit_status, 0) << outcome.out;
    EXPECT_THAT(outcome.out,
                AllOf(HasSubstr("rejected  unknown_opcode"), Not(HasSubstr("NOT AS EXPECTED")),
                      HasSubstr("1 accepted, 1 rejected; all as expected\n")));
}

TEST(Verify, with_expectations_ends_with_1_where_an_expectation_is_not_met) {
    const Outcome outcome =
        verify({"--expect", "--prog", "wrongly_tagged", object_path("wrongly_tagged")});
    EXPECT_EQ(outcome.exit_status, 1) << outcome.out;
    EXPECT_THAT(outcome.out, AllOf(HasSubstr("NOT AS EXPECTED: accepted, failure was expected"),
                                   HasSubstr("; 1 not as expected\n")));
}

TEST(Verify, writes_one_json_document_with_a_member_for_each_program) {
    const std::string object = object_path("verifier_structure");
    const Outcome outcome =
        verify({"--expect", "--json=-", "--prog", "shortest", "--prog", "unknown_opcode", object});
    ASSERT_EQ(outcome.exit_status, 0) << outcome.error;
    EXPECT_THAT(outcome.error, HasSubstr("all as expected"));
    const nlohmann::json document = nlohmann::json::parse(outcome.out, nullptr, false);
    ASSERT_TRUE(document["programs"].is_array()) << outcome.out;
    ASSERT_EQ(document["programs"].size(), 2u);
    const nlohmann::json& good = document["programs"][0];
    EXPECT_EQ(good["object"], object);
    EXPECT_EQ(good["name"], "shortest");
    EXPECT_EQ(good["section"], "perf_event");
    EXPECT_EQ(good["verdict"], "accepted");
    EXPECT_EQ(good["expected"], "accepted");
    EXPECT_TRUE(good["reason"].is_null());
    for (const char* number : {"insns_processed", "states_peak", "states_total", "time_us"}) {
        EXPECT_TRUE(good[number].is_number_unsigned()) << number;
    }
    const nlohmann::json& bad = document["programs"][1];
    EXPECT_EQ(bad["verdict"], "rejected");
    EXPECT_EQ(bad["expected"], "rejected");
    EXPECT_THAT(bad["reason"].get<std::string>(), HasSubstr("unknown opcode ff"));
}

TEST(Verify, without_expectations_knows_of_none) {
    const TemporaryFolder folder;
    const std::string file = folder.file("verdicts.json");
    const Outcome outcome =
        verify({"--json=" + file, "--prog", "shortest", object_path("verifier_structure")});
    ASSERT_EQ(outcome.exit_status, 0) << outcome.error;
    std::ifstream in(file);
    const nlohmann::json document = nlohmann::json::parse(in, nullptr, false);
    EXPECT_TRUE(document["programs"][0]["expected"].is_null());
}

TEST(Verify, of_several_objects_names_each) {
    const std::string first = object_path("verifier_structure");
    const std::string second = object_path("wrongly_tagged");
    const Outcome outcome =
        verify({"--prog", "shortest", "--prog", "wrongly_tagged", first, second});
    EXPECT_EQ(outcome.exit_status, 0) << outcome.error;
    EXPECT_THAT(outcome.out, AllOf(HasSubstr(first + "\n"), HasSubstr(second + "\n")));
}

TEST(Verify, ends_with_2_and_a_line_for_each_object_that_cannot_be_loaded) {
    const TemporaryFolder folder;
    const std::string text = folder.file("text.bpf.o");
    std::ofstream(text) << "no object\n";
    const Outcome outcome = verify(
        {"--prog", "shortest", text, "/nonexistent.bpf.o", object_path("verifier_structure")});
    EXPECT_EQ(outcome.exit_status, 2);
    EXPECT_EQ(outcome.error, "taskwork: " + text +
                                 ": not an ELF file\n"
                                 "taskwork: /nonexistent.bpf.o: No such file or directory\n");
    EXPECT_THAT(outcome.out, HasSubstr("accepted  shortest"));
}

TEST(Verify, tells_in_json_of_objects_that_cannot_be_loaded_beside_programs_of_others) {
    const TemporaryFolder folder;
    const std::string text = folder.file("text.bpf.o");
    std::ofstream(text) << "no object\n";
    const Outcome outcome =
        verify({"--json=-", "--prog", "shortest", text, object_path("verifier_structure")});
    EXPECT_EQ(outcome.exit_status, 2);
    const nlohmann::json document = nlohmann::json::parse(outcome.out, nullptr, false);
    ASSERT_EQ(document["programs"].size(), 1u) << outcome.out;
    EXPECT_EQ(document["programs"][0]["name"], "shortest");
    ASSERT_EQ(document["objects_not_loaded"].size(), 1u);
    EXPECT_EQ(document["objects_not_loaded"][0]["object"], text);
    EXPECT_EQ(document["objects_not_loaded"][0]["reason"], text + ": not an ELF file");
    EXPECT_EQ(document["programs_not_found"].size(), 0u);
}

TEST(Verify, writes_json_also_where_there_is_nothing_to_verify) {
    const TemporaryFolder folder;
    const auto document_of = [&](std::vector<std::string> words) {
        const std::string file = folder.file("verdicts.json");
        words.insert(words.begin(), "--json=" + file);
        EXPECT_EQ(verify(words).exit_status, 2);
        std::ifstream in(file);
        return nlohmann::json::parse(in, nullptr, false);
    };
    const nlohmann::json no_object = document_of({"/nonexistent.bpf.o"});
    EXPECT_EQ(no_object["programs"].size(), 0u);
    ASSERT_EQ(no_object["objects_not_loaded"].size(), 1u);
    EXPECT_EQ(no_object["objects_not_loaded"][0]["object"], "/nonexistent.bpf.o");
    const nlohmann::json no_program =
        document_of({"--prog", "nobody", object_path("verifier_structure")});
    EXPECT_EQ(no_program["programs"].size(), 0u);
    EXPECT_EQ(no_program["programs_not_found"], nlohmann::json::array({"nobody"}));
}

/// libbpf 1.1 follows the name of a type without asking where it is, and died of it.
TEST(Verify, ends_with_2_and_a_line_for_a_damaged_object) {
    std::ifstream whole(object_path("verifier_structure"), std::ios::binary);
    std::string bytes{std::istreambuf_iterator<char>(whole), {}};
    const std::size_t types = bytes.find(std::string("\x9f\xeb\x01\0\x18\0\0\0", 8));
    ASSERT_NE(types, std::string::npos);
    bytes.replace(types + 24, 4, "\x7f\x7f\x7f\x7f");  // the first type's name
    const TemporaryFolder folder;
    const std::string damaged = folder.file("damaged.bpf.o");
    std::ofstream(damaged, std::ios::binary) << bytes;
    const std::string line = "taskwork: " + damaged +
                             ": a damaged object: .BTF: type 1 has a name outside of the section\n";
    const Outcome outcome = verify({damaged});
    EXPECT_EQ(outcome.exit_status, 2);
    EXPECT_EQ(outcome.error, line);
    EXPECT_EQ(outcome.out, "");
    const Outcome run = taskwork({"run", damaged, "--", "true"});
    EXPECT_EQ(run.exit_status, 125);
    EXPECT_EQ(run.error, line);
}

TEST(Verify, ends_with_2_where_a_map_cannot_be_made) {
    const Outcome outcome = verify({object_path("fail_unknown_map_user_ringbuf")});
    EXPECT_EQ(outcome.exit_status, 2);
    EXPECT_THAT(outcome.out, AllOf(HasSubstr("rejected "), HasSubstr("not loaded: "),
                                   HasSubstr("(user_ringbuf)")));
}

TEST(Verify, names_the_weak_kernel_function_that_is_not_there) {
    const Outcome outcome = verify({object_path("fail_absent_kfuncs")});
    EXPECT_EQ(outcome.exit_status, 1) << outcome.error;
    EXPECT_THAT(outcome.out,
                AllOf(HasSubstr("rejected  calls_first"), HasSubstr("rejected  calls_second"),
                      HasSubstr("  calling kernel function bpf_taskwork_test_first_absent is not "
                                "allowed\n"),
                      HasSubstr("  calling kernel function bpf_taskwork_test_second_absent is not "
                                "allowed\n"),
                      HasSubstr("accepted  asks_first"), Not(HasSubstr("unknown"))));
    EXPECT_EQ(outcome.error, "");
}

TEST(Verify, judges_the_programs_that_do_not_call_a_kernel_function_that_is_not_there) {
    const std::string object = object_path("fail_absent_kfunc_of_one");
    const Outcome outcome = verify({"--log", "1", object});
    EXPECT_EQ(outcome.exit_status, 1) << outcome.error;
    EXPECT_THAT(
        outcome.out,
        AllOf(HasSubstr("rejected  with_it"), HasSubstr("accepted  without_it"),
              HasSubstr("(85) call bpf_taskwork_test_no_such_kfunc\n"),
              HasSubstr("calling kernel function bpf_taskwork_test_no_such_kfunc is not allowed")));
    EXPECT_EQ(outcome.error, "taskwork: " + object +
                                 ": cannot be loaded as a whole: there is no kernel function "
                                 "bpf_taskwork_test_no_such_kfunc\n");
}

TEST(Verify, names_a_program_that_no_object_has) {
    const std::string object = object_path("verifier_structure");
    const Outcome outcome = verify({"--prog", "nobody", object});
    EXPECT_EQ(outcome.exit_status, 2);
    EXPECT_EQ(outcome.error, "taskwork: --prog nobody: no such program in " + object + "\n");
    EXPECT_EQ(outcome.out, "");
}

TEST(Verify, says_before_it_begins_that_a_report_cannot_be_written) {
    const Outcome outcome =
        verify({"--json=/nonexistent/x.json", object_path("verifier_structure")});
    EXPECT_EQ(outcome.exit_status, 125);
    EXPECT_THAT(outcome.error, StartsWith("taskwork: --json=/nonexistent/x.json: "));
    EXPECT_EQ(outcome.out, "");
}

TEST(Verify, prints_the_whole_log_where_that_is_asked_for) {
    const Outcome outcome =
        verify({"--log", "2", "--prog", "unknown_opcode", object_path("verifier_structure")});
    EXPECT_EQ(outcome.exit_status, 1);
    EXPECT_THAT(outcome.out, HasSubstr("unknown opcode ff\n"));
}

}  // namespace
}  // namespace taskwork::test
