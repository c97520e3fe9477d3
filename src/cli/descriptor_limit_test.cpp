// SPDX-License-Identifier: Apache-2.0
#include "cli/descriptor_limit.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>

namespace taskwork::cli {
namespace {

rlimit now() {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    return limit;
}

/// Restores the limit. A hard limit that was lowered stays so without privilege: only in a child.
class DescriptorLimits : public ::testing::Test {
protected:
    void TearDown() override { ::setrlimit(RLIMIT_NOFILE, &before_); }
    rlimit before_ = now();
};

TEST_F(DescriptorLimits, what_there_is_room_for_changes_nothing) {
    DescriptorLimit limit;
    EXPECT_TRUE(limit.reserve(4));
    EXPECT_EQ(now().rlim_cur, before_.rlim_cur);
}

TEST_F(DescriptorLimits, a_soft_limit_in_the_way_is_raised_but_for_the_command) {
    ASSERT_GT(before_.rlim_max, 64U);
    const rlimit low{16, before_.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
    DescriptorLimit limit;
    EXPECT_TRUE(limit.reserve(32));
    EXPECT_EQ(now().rlim_cur, before_.rlim_max);
    limit.restore();
    EXPECT_EQ(now().rlim_cur, 16U);
    limit.raise_again();
    EXPECT_EQ(now().rlim_cur, before_.rlim_max);
}

[[noreturn]] void reserve_32_of_12() {
    const rlimit low{12, 12};
    ::setrlimit(RLIMIT_NOFILE, &low);
    DescriptorLimit limit;
    const Result<void> reserved = limit.reserve(32);
    if (!reserved) {
        std::fprintf(stderr, "%s", reserved.error().text.c_str());
    }
    ::_exit(reserved ? 0 : 7);
}

TEST_F(DescriptorLimits, a_hard_limit_in_the_way_is_named) {
    EXPECT_EXIT(reserve_32_of_12(), ::testing::ExitedWithCode(7), "ulimit -n 12.*about 32");
}

}  // namespace
}  // namespace taskwork::cli
