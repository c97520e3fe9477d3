// SPDX-License-Identifier: Apache-2.0
//
// The kernel comes to what our engines come to, as far as some hundreds of programs tell; for more:
// `make prove-engines`.
#include <gtest/gtest.h>

#include "bpf/jit/code_region.hpp"
#include "tests/fuzz/engines/beside_kernel.hpp"
#include "tests/fuzz/soundness/seeds.hpp"

namespace taskwork::fuzz {
namespace {

TEST(TheKernel, does_what_our_engines_do_with_programs_that_both_verifiers_accept) {
    if (const char* reason = bpf::jit::CodeRegion::why_unwanted(); reason != nullptr) {
        GTEST_SKIP() << reason;
    }
    if (const std::string reason = KernelSide::unavailable_because(); !reason.empty()) {
        GTEST_SKIP() << "not here: " << reason;
    }
    BesideKernel beside;
    for (std::uint64_t seed = 1; seed <= 400; ++seed) {
        ASSERT_EQ(beside.judge(bytes_of_seed(seed)), "") << "seed " << seed;
    }
    // Or it would say little.
    EXPECT_GT(beside.counts.compared, beside.counts.executions * 3 / 4);
    EXPECT_GT(beside.counts.executions, 400u);
}

}  // namespace
}  // namespace taskwork::fuzz
