// SPDX-License-Identifier: Apache-2.0
//
// The engines agree, as far as some hundreds of programs tell; for millions: `make prove-engines`.
#include <gtest/gtest.h>

#include "bpf/jit/code_region.hpp"
#include "tests/fuzz/engines/engines.hpp"
#include "tests/fuzz/soundness/seeds.hpp"

namespace taskwork::fuzz {
namespace {

TEST(TheEngines, agree_on_random_programs_that_the_verifier_accepts) {
    if (const char* reason = bpf::jit::CodeRegion::why_unwanted(); reason != nullptr) {
        GTEST_SKIP() << reason;
    }
    Engines engines;
    for (std::uint64_t seed = 1; seed <= 3000; ++seed) {
        ASSERT_EQ(engines.judge(bytes_of_seed(seed)), "") << "seed " << seed;
    }
    // Or it would say little.
    EXPECT_GT(engines.counts.compared, engines.counts.executions * 3 / 4);
    EXPECT_GT(engines.counts.executions, 1500u);
}

}  // namespace
}  // namespace taskwork::fuzz
