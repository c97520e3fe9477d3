// SPDX-License-Identifier: Apache-2.0
#include "bpf/jit/names.hpp"

#include <gtest/gtest.h>

namespace taskwork::bpf::jit {
namespace {

struct Names : testing::Test {
    void name(std::uintptr_t begin, std::uintptr_t end, std::string text) {
        named.replace(begin, end, [&](const std::string& gone) { dropped += gone; }) =
            std::move(text);
    }
    std::string all() const {
        std::string text;
        named.each([&](const std::string& one) { text += one; });
        return text;
    }
    Named<std::string> named;
    std::string dropped;
};

TEST_F(Names, stand_in_the_order_of_the_code) {
    name(300, 400, "c");
    name(100, 200, "a");
    name(200, 300, "b");
    EXPECT_EQ(all(), "abc");
    EXPECT_EQ(dropped, "");
}

TEST_F(Names, go_where_other_code_stands_now) {
    name(100, 200, "a");
    name(200, 300, "b");
    name(300, 400, "c");
    name(150, 301, "X");  // Parts of the first and the last, all of the one between.
    EXPECT_EQ(all(), "X");
    EXPECT_EQ(dropped, "abc");
    name(150, 160, "Y");
    EXPECT_EQ(all(), "Y");
}

}  // namespace
}  // namespace taskwork::bpf::jit
