// SPDX-License-Identifier: Apache-2.0
//
// Limits of the walk, with smaller numbers than a program could reach in a test's time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <vector>

#include "bpf/test_program.hpp"
#include "bpf/verifier/verifier.hpp"

namespace taskwork::bpf::verifier {
namespace {

using namespace taskwork::bpf::test;
using ::testing::HasSubstr;

/// Branches whose ways stay different: each sets one more bit of R6, or not.
std::vector<bpf_insn> branches(int count) {
    std::vector<Piece> pieces{call(BPF_FUNC_ktime_get_ns), copy(R7, R0), set(R6, 0)};
    for (int i = 0; i < count; ++i) {
        pieces.push_back(jump_if(BPF_JEQ, R7, i, 1));
        pieces.push_back(add(R6, 1 << i));
        pieces.push_back(add(R6, 0));
    }
    pieces.push_back(set(R0, 0));
    pieces.push_back(leave());
    std::vector<bpf_insn> insns;
    for (const Piece& piece : pieces) {
        insns.insert(insns.end(), piece.insns.begin(),
                     piece.insns.begin() + static_cast<std::ptrdiff_t>(piece.count));
    }
    return insns;
}

Verdict verdict_of(const std::vector<bpf_insn>& insns, std::size_t checkpoint_bytes_max,
                   std::uint32_t insns_processed_max) {
    const Input input{.insns = insns,
                      .type = BPF_PROG_TYPE_PERF_EVENT,
                      .sleepable = false,
                      .maps = {},
                      .functions = {},
                      .lines = {},
                      .insns_processed_max = insns_processed_max,
                      .checkpoint_bytes_max = checkpoint_bytes_max};
    std::string log;
    return verify(input, log);
}

constexpr std::size_t kAnyBytes = std::size_t{1} << 30;

TEST(VerifierLimits, refuses_a_program_for_which_too_many_states_would_be_kept) {
    const std::vector<bpf_insn> insns = branches(16);
    EXPECT_EQ(verdict_of(insns, kAnyBytes, kInsnsProcessedMax).error, 0);
    const Verdict refused = verdict_of(insns, 4096, kInsnsProcessedMax);
    EXPECT_EQ(refused.error, E2BIG);
    EXPECT_THAT(refused.reason, HasSubstr("too many states: "));
    EXPECT_GT(refused.statistics.states_total, 0u);
}

TEST(VerifierLimits, refuses_a_program_of_which_too_much_would_be_walked) {
    const std::vector<bpf_insn> insns = branches(16);
    const std::uint32_t walked =
        verdict_of(insns, kAnyBytes, kInsnsProcessedMax).statistics.insns_processed;
    EXPECT_EQ(verdict_of(insns, kAnyBytes, walked).error, 0);
    const Verdict refused = verdict_of(insns, kAnyBytes, walked - 1);
    EXPECT_EQ(refused.error, E2BIG);
    EXPECT_EQ(refused.reason,
              "BPF program is too large. Processed " + std::to_string(walked) + " insn");
}

}  // namespace
}  // namespace taskwork::bpf::verifier
