// SPDX-License-Identifier: Apache-2.0
//
// The verifier is sound, as far as some thousands of programs tell; for millions: `make
// prove-sound`.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/fuzz/soundness/harness.hpp"
#include "tests/fuzz/soundness/seeds.hpp"

namespace taskwork::fuzz {
namespace {

TEST(Soundness, executions_of_the_corpus_stay_within_what_was_walked) {
    Harness harness;
    std::vector<std::filesystem::path> files;
    for (const auto& each : std::filesystem::directory_iterator(TASKWORK_TEST_CORPUS)) {
        files.push_back(each.path());
    }
    std::sort(files.begin(), files.end());
    for (const std::filesystem::path& file : files) {
        std::ifstream stream(file, std::ios::binary);
        const std::vector<std::uint8_t> bytes{std::istreambuf_iterator<char>(stream), {}};
        ASSERT_EQ(harness.judge(bytes), "") << file;
    }
    EXPECT_GT(harness.counts.accepted, files.size() / 4);
}

TEST(Soundness, executions_of_random_programs_stay_within_what_was_walked) {
    Harness harness;
    for (std::uint64_t seed = 1; seed <= 1500; ++seed) {
        ASSERT_EQ(harness.judge(bytes_of_seed(seed)), "") << "seed " << seed;
    }
    // Or it would say little.
    EXPECT_GT(harness.counts.accepted, harness.counts.programs / 3);
    EXPECT_GT(harness.counts.loosened, 0u);
    EXPECT_LT(harness.counts.cut_off, harness.counts.executions / 10);
    for (std::size_t i = 0; i < kConstructNames.size(); ++i) {
        EXPECT_GT(harness.counts.constructs[i], 10u) << kConstructNames[i];
    }
}

}  // namespace
}  // namespace taskwork::fuzz
