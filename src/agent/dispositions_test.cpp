// SPDX-License-Identifier: Apache-2.0
#include "agent/dispositions.hpp"

#include <atomic>
#include <gtest/gtest.h>
#include <thread>

namespace taskwork::agent {
namespace {

void some_handler(int) {}

struct sigaction with(int flags) {
    struct sigaction action{};
    action.sa_handler = some_handler;
    action.sa_flags = flags;
    assign_bits(action.sa_mask, static_cast<unsigned>(flags) * SignalBits{0x100000001});
    return action;
}

TEST(Disposition, is_the_default_until_it_is_set) {
    EXPECT_FALSE(is_function(Disposition{}.read()));
}

TEST(Disposition, resets_once_on_delivery_if_asked_to) {
    Disposition disposition;
    disposition.publish(with(static_cast<int>(SA_RESETHAND)));
    EXPECT_TRUE(is_function(disposition.read()));
    EXPECT_TRUE(is_function(disposition.read_for_delivery()));
    EXPECT_FALSE(is_function(disposition.read()));
    EXPECT_FALSE(is_function(disposition.read_for_delivery()));
    disposition.publish(with(0));
    EXPECT_TRUE(is_function(disposition.read_for_delivery()));
    EXPECT_TRUE(is_function(disposition.read_for_delivery()));
}

TEST(Disposition, is_read_whole_while_it_changes) {
    Disposition disposition;
    disposition.publish(with(1));
    std::atomic<bool> stop{false};
    std::thread writer([&] {
        for (int i = 1; !stop; ++i) {
            disposition.publish(with(i & 0xffffff));
        }
    });
    for (int i = 0; i < 20'000; ++i) {
        const struct sigaction action = disposition.read();
        const struct sigaction whole = with(action.sa_flags);
        if (bits_of(action.sa_mask) != bits_of(whole.sa_mask)) {
            ADD_FAILURE() << "torn after " << i << " reads";
            break;
        }
    }
    stop = true;
    writer.join();
}

}  // namespace
}  // namespace taskwork::agent
