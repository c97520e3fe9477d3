// SPDX-License-Identifier: Apache-2.0
#include "agent/inside.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <csetjmp>
#include <optional>
#include <thread>

namespace taskwork::agent {
namespace {

TEST(Inside, nobody_is_waited_for_when_nobody_is_in) { EXPECT_TRUE(Inside::wait_until_none(0)); }

TEST(Inside, one_that_is_in_is_waited_for) {
    std::optional<Inside> entry(std::in_place);
    EXPECT_FALSE(Inside::wait_until_none(2));
    std::atomic<bool> out{false};
    std::thread leaves([&] {
        // Not before the other has begun to wait, as far as that can be told.
        EXPECT_FALSE(Inside::wait_until_none(5));
        out = true;
        entry.reset();
    });
    while (!Inside::wait_until_none(1000)) {
    }
    EXPECT_TRUE(out);
    leaves.join();
}

TEST(Inside, nested_entries_are_in_until_the_last_has_gone) {
    const auto nested = [] {
        const Inside outer;
        {
            const Inside inner;
        }
        return Inside::wait_until_none(1);
    };
    EXPECT_FALSE(nested());
    EXPECT_TRUE(Inside::wait_until_none(0));
}

TEST(Inside, an_entry_left_by_longjmp_keeps_waiting_bounded_until_a_child_forgets_it) {
    std::jmp_buf back;
    if (setjmp(back) == 0) {
        alignas(Inside) static std::byte frame[sizeof(Inside)];
        new (static_cast<void*>(frame)) Inside;
        std::longjmp(back, 1);
    }
    EXPECT_FALSE(Inside::wait_until_none(3));
    EXPECT_FALSE(Inside::reset_in_child());
    EXPECT_TRUE(Inside::wait_until_none(0));
    EXPECT_TRUE(Inside::reset_in_child());
}

}  // namespace
}  // namespace taskwork::agent
