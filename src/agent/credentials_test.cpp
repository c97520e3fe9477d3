// SPDX-License-Identifier: Apache-2.0
#include "agent/credentials.hpp"

#include <gtest/gtest.h>

namespace taskwork::agent {
namespace {

constexpr IdSet kUser{1000, 1000, 1000};
constexpr IdSet kSetuidProgram{1000, 0, 0};

TEST(Credentials, taking_on_the_id_one_has_changes_nothing) {
    EXPECT_FALSE(takes_effect(kUser, requested_by_setuid(1000, false), false));
    EXPECT_FALSE(takes_effect(kUser, {kUnchanged, kUnchanged, kUnchanged}, false));
    EXPECT_FALSE(takes_effect({0, 0, 0}, requested_by_setuid(0, true), true));
}

TEST(Credentials, a_request_that_will_be_refused_changes_nothing) {
    EXPECT_FALSE(takes_effect(kUser, requested_by_setuid(0, false), false));
    EXPECT_FALSE(takes_effect(kUser, {1000, 1000, 33}, false));
}

TEST(Credentials, root_becomes_anybody_for_good) {
    EXPECT_TRUE(takes_effect({0, 0, 0}, requested_by_setuid(33, true), true));
}

TEST(Credentials, a_set_user_id_program_lays_its_privileges_aside_and_takes_them_up) {
    EXPECT_TRUE(takes_effect(kSetuidProgram, {kUnchanged, 1000, kUnchanged}, true));
    EXPECT_TRUE(takes_effect({1000, 1000, 0}, {kUnchanged, 0, kUnchanged}, false));
}

TEST(Credentials, setreuid_saves_the_effective_id_where_the_kernel_does) {
    const IdSet swapped = requested_by_setreuid({1000, 33, 33}, 33, 1000);
    EXPECT_EQ(swapped.saved, 1000U);
    EXPECT_EQ(requested_by_setreuid(kUser, kUnchanged, 1000).saved, kUnchanged);
    EXPECT_EQ(requested_by_setreuid(kUser, kUnchanged, kUnchanged).saved, kUnchanged);
    EXPECT_EQ(requested_by_setreuid({1000, 33, 33}, 1000, kUnchanged).saved, 33U);
}

}  // namespace
}  // namespace taskwork::agent
