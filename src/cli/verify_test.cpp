// SPDX-License-Identifier: Apache-2.0
//
// Logs taken apart, and tags held against them. tests/program/cli_verify_test.cpp has the command.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/verify_load.hpp"
#include "cli/verify_tags.hpp"

namespace taskwork::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kRejected =
    "func#0 @0\n"
    "0: R1=ctx() R10=fp0\n"
    "; int* value = bpf_map_lookup_elem(&map, &key); @ x.bpf.c:12\n"
    "0: (85) call bpf_map_lookup_elem#1     ; R0_w=map_value_or_null()\n"
    "; return *value; @ x.bpf.c:13\n"
    "1: (61) r0 = *(u32 *)(r0 +0)\n"
    "R0 invalid mem access 'map_value_or_null'\n"
    "verification time 21 usec\n"
    "stack depth 4\n"
    "processed 7 insns (limit 1000000) max_states_per_insn 1 total_states 3 peak_states 2 "
    "mark_read 1\n";

TEST(LogSummary, has_statistics_reason_and_the_end_with_its_source_line) {
    const LogSummary summary = summarize_log(kRejected);
    EXPECT_EQ(summary.insns_processed, 7u);
    EXPECT_EQ(summary.states_total, 3u);
    EXPECT_EQ(summary.states_peak, 2u);
    EXPECT_EQ(summary.time_us, 21u);
    EXPECT_EQ(summary.reason, "R0 invalid mem access 'map_value_or_null'");
    EXPECT_THAT(summary.end,
                ElementsAre("; return *value; @ x.bpf.c:13", "1: (61) r0 = *(u32 *)(r0 +0)",
                            "R0 invalid mem access 'map_value_or_null'"));
}

TEST(LogSummary, of_a_long_end_keeps_the_source_line_and_the_last_lines) {
    std::string log = "; for (;;) @ x.bpf.c:1\n";
    for (int i = 0; i < 50; ++i) {
        log += std::to_string(i) + ": (05) goto pc-1\n";
    }
    log += "infinite loop detected at insn 1\n";
    const LogSummary summary = summarize_log(log);
    EXPECT_EQ(summary.end.size(), 8u);
    EXPECT_EQ(summary.end[0], "; for (;;) @ x.bpf.c:1");
    EXPECT_EQ(summary.end[1], "...");
    EXPECT_EQ(summary.end.back(), "infinite loop detected at insn 1");
}

TEST(LogSummary, of_nothing_is_nothing) {
    const LogSummary summary = summarize_log("");
    EXPECT_EQ(summary.reason, "");
    EXPECT_THAT(summary.end, IsEmpty());
    EXPECT_EQ(summary.insns_processed, 0u);
}

ProgramVerdict rejected_with(const std::string& log) {
    ProgramVerdict verdict;
    verdict.log = log;
    verdict.summary = summarize_log(log);
    verdict.reason = verdict.summary.reason;
    return verdict;
}

ProgramVerdict accepted() {
    ProgramVerdict verdict;
    verdict.accepted = true;
    return verdict;
}

TEST(Tags, of_none_expect_success) {
    const Expectation expectation = expectation_of({});
    EXPECT_TRUE(expectation.accepted);
    EXPECT_EQ(difference(expectation, accepted()), "");
    EXPECT_THAT(difference(expectation, rejected_with(kRejected)),
                HasSubstr("rejected, success was expected: R0 invalid mem access"));
}

TEST(Tags, of_failure_are_read_in_the_old_spelling) {
    const Expectation expectation =
        expectation_of({"comment:test_expect_failure",
                        "comment:test_expect_msg=R0 invalid mem access 'map_value_or_null'"});
    EXPECT_FALSE(expectation.accepted);
    EXPECT_EQ(difference(expectation, rejected_with(kRejected)), "");
    EXPECT_EQ(difference(expectation, accepted()), "accepted, failure was expected");
}

TEST(Tags, are_put_in_order_by_a_number_in_the_text) {
    const Expectation expectation =
        expectation_of({"comment:test_expect_msg=10=R0 invalid", "comment:test_expect_failure",
                        "comment:test_expect_msg=9=; return *value"});
    ASSERT_EQ(expectation.texts.size(), 2u);
    EXPECT_EQ(expectation.texts[0].text, "; return *value");
    EXPECT_EQ(difference(expectation, rejected_with(kRejected)), "");
}

TEST(Tags, are_put_in_order_by_a_number_in_front) {
    const Expectation expectation =
        expectation_of({"comment:3:test_expect_msg=R0 invalid", "comment:1:test_expect_failure",
                        "comment:2:test_expect_msg=; return *value", "comment:4:test_log_level=2"});
    EXPECT_FALSE(expectation.accepted);
    EXPECT_EQ(expectation.texts[0].text, "; return *value");
    EXPECT_EQ(expectation.log_level, 2u);
}

TEST(Tags, want_their_texts_one_behind_the_other) {
    const Expectation expectation =
        expectation_of({"comment:1:test_expect_failure", "comment:2:test_expect_msg=R0 invalid",
                        "comment:3:test_expect_msg=; return *value"});
    EXPECT_THAT(difference(expectation, rejected_with(kRejected)),
                HasSubstr("the log does not say \"; return *value\""));
}

TEST(Tags, do_not_find_themselves_in_a_quotation_of_the_source) {
    const std::string log =
        "; TAG(\"comment:2:test_expect_msg=THIS IS NOWHERE\") int e(void) { @ x.bpf.c:6\n"
        "0: (95) exit\n"
        "R0 !read_ok\n";
    const auto expecting = [](const std::string& tag) {
        return expectation_of({"comment:1:test_expect_failure", "comment:2:test_expect_" + tag});
    };
    EXPECT_THAT(difference(expecting("msg=THIS IS NOWHERE"), rejected_with(log)),
                HasSubstr("the log does not say \"THIS IS NOWHERE\""));
    EXPECT_NE(difference(expecting("msg={{THIS.*NOWHERE}}"), rejected_with(log)), "");
    EXPECT_EQ(difference(expecting("not_msg=THIS IS NOWHERE"), rejected_with(log)), "");
    EXPECT_EQ(difference(expecting("msg=R0 !read_ok"), rejected_with(log)), "");
    EXPECT_EQ(difference(expecting("msg=; TAG("), rejected_with(log)), "") << "asked for";
}

TEST(Tags, hold_regular_expressions_between_double_braces) {
    const auto expecting = [](const std::string& text) {
        return expectation_of({"comment:test_expect_failure", "comment:test_expect_msg=" + text});
    };
    EXPECT_EQ(difference(expecting("r0 = *(u{{[0-9]+}} *)(r0 +0)"), rejected_with(kRejected)), "");
    EXPECT_EQ(difference(expecting("{{^R[0-9] invalid}} mem"), rejected_with(kRejected)), "");
    EXPECT_NE(difference(expecting("r0 = *(u{{[a-z]+}} *)(r0 +0)"), rejected_with(kRejected)), "");
    EXPECT_NE(difference(expecting("{{(}}"), rejected_with(kRejected)), "") << "no expression";
}

TEST(Tags, forbid_texts_between_those_around_them) {
    const auto expecting = [](const std::string& absent) {
        return expectation_of(
            {"comment:1:test_expect_failure", "comment:2:test_expect_msg=; return *value",
             "comment:3:test_expect_not_msg=" + absent, "comment:4:test_expect_msg=R0 invalid"});
    };
    EXPECT_EQ(difference(expecting("bpf_map_lookup_elem"), rejected_with(kRejected)), "");
    EXPECT_EQ(difference(expecting("r0 = *(u32 *)"), rejected_with(kRejected)),
              "the log says \"r0 = *(u32 *)\"");
}

TEST(Tags, of_unprivileged_runs_and_of_others_say_nothing) {
    const Expectation expectation = expectation_of(
        {"comment:test_expect_failure_unpriv", "comment:test_expect_msg_unpriv=R0 leaks",
         "comment:test_retval=7", "taskwork:kernel accepts, because", "anything"});
    EXPECT_TRUE(expectation.accepted);
    EXPECT_THAT(expectation.texts, IsEmpty());
}

TEST(Tags, are_held_against_the_reason_where_the_verifier_was_not_reached) {
    ProgramVerdict verdict;
    verdict.reached_verifier = false;
    verdict.reason = "map 'arena': BPF_MAP_TYPE_ARENA is not available";
    const Expectation expectation =
        expectation_of({"comment:test_expect_failure", "comment:test_expect_msg=ARENA"});
    EXPECT_EQ(difference(expectation, verdict), "");
}

}  // namespace
}  // namespace taskwork::cli
