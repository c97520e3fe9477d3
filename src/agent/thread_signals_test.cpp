// SPDX-License-Identifier: Apache-2.0
#include "agent/thread_signals.hpp"

#include <gtest/gtest.h>

namespace taskwork::agent {
namespace {

siginfo_t numbered(int number) {
    siginfo_t info{};
    info.si_value.sival_int = number;
    return info;
}

TEST(PendingSlot, keeps_the_first_of_several) {
    PendingSlot slot;
    siginfo_t info{};
    EXPECT_FALSE(slot.take(info));
    EXPECT_TRUE(slot.put(numbered(1)));
    EXPECT_FALSE(slot.put(numbered(2)));
    EXPECT_TRUE(slot.full());
    ASSERT_TRUE(slot.take(info));
    EXPECT_EQ(info.si_value.sival_int, 1);
    EXPECT_FALSE(slot.full());
    EXPECT_FALSE(slot.take(info));
}

TEST(PendingSlot, takes_turns_between_its_buffers) {
    PendingSlot slot;
    for (int i = 0; i < 10; ++i) {
        siginfo_t info{};
        ASSERT_TRUE(slot.put(numbered(i)));
        ASSERT_TRUE(slot.take(info));
        EXPECT_EQ(info.si_value.sival_int, i);
    }
}

TEST(PendingSlot, forgets_when_reset) {
    PendingSlot slot;
    siginfo_t info{};
    ASSERT_TRUE(slot.put(numbered(1)));
    slot.reset();
    EXPECT_FALSE(slot.take(info));
}

}  // namespace
}  // namespace taskwork::agent
