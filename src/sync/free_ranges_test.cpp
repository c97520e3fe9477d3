// SPDX-License-Identifier: Apache-2.0
#include "sync/free_ranges.hpp"

#include <gtest/gtest.h>

namespace taskwork::sync {
namespace {

TEST(FreeRangesTest, nothing_is_free_at_first) {
    FreeRanges free;
    EXPECT_EQ(free.take(64, 64), std::nullopt);
}

TEST(FreeRangesTest, the_lowest_range_with_room_is_taken_from) {
    FreeRanges free;
    free.give(0x1000, 64);
    free.give(0x2000, 192);
    free.give(0x3000, 128);
    EXPECT_EQ(free.take(128, 64), 0x2000U);
    EXPECT_EQ(free.take(128, 64), 0x3000U);
    EXPECT_EQ(free.take(64, 64), 0x1000U);
    EXPECT_EQ(free.take(64, 64), 0x2080U) << "what was left of the second";
    EXPECT_EQ(free.take(64, 64), std::nullopt);
}

TEST(FreeRangesTest, what_alignment_leaves_on_either_side_stays_free) {
    FreeRanges free;
    free.give(0x1040, 0x200);
    EXPECT_EQ(free.take(0x80, 0x100), 0x1100U);
    EXPECT_EQ(free.take(0xc0, 64), 0x1040U);
    EXPECT_EQ(free.take(0xc0, 64), 0x1180U);
    EXPECT_EQ(free.take(64, 64), std::nullopt);
}

TEST(FreeRangesTest, neighbours_become_one_range_in_any_order) {
    for (const bool middle_last : {false, true}) {
        FreeRanges free;
        free.give(0x1000, 0x40);
        free.give(middle_last ? 0x1080 : 0x1040, 0x40);
        EXPECT_EQ(free.take(0xc0, 64), std::nullopt);
        free.give(middle_last ? 0x1040 : 0x1080, 0x40);
        EXPECT_EQ(free.take(0xc0, 64), 0x1000U);
        EXPECT_EQ(free.take(64, 64), std::nullopt);
    }
}

TEST(FreeRangesTest, cleared_it_has_nothing) {
    FreeRanges free;
    free.give(0x1000, 64);
    free.clear();
    EXPECT_EQ(free.take(64, 64), std::nullopt);
}

}  // namespace
}  // namespace taskwork::sync
