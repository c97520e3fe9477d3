// SPDX-License-Identifier: Apache-2.0
#include "cli/host.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "sync/arena.hpp"

namespace taskwork::cli {
namespace {

TEST(Host, an_arena_address_that_is_taken_is_an_error_of_one_line) {
    void* const wanted = reinterpret_cast<void*>(sync::kArenaBase);
    void* const occupant =
        ::mmap(wanted, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    ASSERT_EQ(occupant, wanted);
    const Result<void> started = Host::start();
    ASSERT_FALSE(started);
    EXPECT_EQ(started.error().code, std::errc::file_exists);
    EXPECT_THAT(started.error().text, ::testing::HasSubstr("taken"));
    EXPECT_THAT(started.error().text, ::testing::Not(::testing::HasSubstr("\n")));
    ::munmap(occupant, 4096);
}

}  // namespace
}  // namespace taskwork::cli
