// SPDX-License-Identifier: Apache-2.0
#include "sync/arena.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <functional>

namespace taskwork::sync {
namespace {

constexpr std::size_t kSize = std::size_t{16} << 20;

class ArenaTest : public testing::Test {
protected:
    void TearDown() override { Arena::destroy(); }
};

/// Runs `body` in a child, whose exit status it gives.
int in_child(const std::function<int()>& body) {
    const pid_t child = ::fork();
    if (child == 0) {
        ::_exit(body());
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST_F(ArenaTest, lies_at_its_address_and_hands_out_zeroed_memory) {
    ASSERT_TRUE(Arena::create(kSize).has_value());
    EXPECT_TRUE(Arena::is_host());
    auto* memory = static_cast<unsigned char*>(Arena::allocate(100'000, 4096));
    ASSERT_NE(memory, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory) % 4096, 0U);
    EXPECT_TRUE(Arena::contains(reinterpret_cast<std::uintptr_t>(memory), 100'000));
    for (int index = 0; index < 100'000; ++index) {
        ASSERT_EQ(memory[index], 0);
    }
}

TEST_F(ArenaTest, memory_given_back_is_handed_out_again_zeroed_and_coalesced) {
    ASSERT_TRUE(Arena::create(kSize).has_value());
    void* first = Arena::allocate(4096, 64);
    void* second = Arena::allocate(4096, 64);
    void* third = Arena::allocate(4096, 64);
    std::memset(first, 0xff, 4096);
    std::memset(second, 0xff, 4096);
    Arena::release(second, 4096);
    Arena::release(first, 4096);
    auto* both = static_cast<unsigned char*>(Arena::allocate(8192, 64));
    EXPECT_EQ(both, first);
    EXPECT_EQ(both[0] | both[8191], 0);
    EXPECT_NE(third, nullptr);
}

TEST_F(ArenaTest, beyond_its_size_the_answer_is_no_memory) {
    ASSERT_TRUE(Arena::create(kSize).has_value());
    std::errc why{};
    EXPECT_EQ(Arena::allocate(kSize, 64, &why), nullptr);
    EXPECT_EQ(why, std::errc::not_enough_memory);
    // Of several in a row the first failure's reason stays.
    EXPECT_NE(Arena::allocate(kSize / 2, 64, &why), nullptr);
    EXPECT_EQ(why, std::errc::not_enough_memory);
}

TEST_F(ArenaTest, a_process_has_one_arena) {
    ASSERT_TRUE(Arena::create(kSize).has_value());
    const auto again = Arena::create(kSize);
    ASSERT_FALSE(again.has_value());
    EXPECT_EQ(again.error().code, std::errc::operation_not_permitted);
}

TEST_F(ArenaTest, an_address_that_is_taken_is_an_error_that_names_the_occupant) {
    void* taken = ::mmap(reinterpret_cast<void*>(kArenaBase), 4096, PROT_READ,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    ASSERT_EQ(taken, reinterpret_cast<void*>(kArenaBase));
    const auto created = Arena::create(kSize);
    ::munmap(taken, 4096);
    ASSERT_FALSE(created.has_value());
    EXPECT_EQ(created.error().code, std::errc::file_exists);
    EXPECT_NE(created.error().text.find("taken by"), std::string::npos) << created.error().text;
    EXPECT_FALSE(Arena::present());
}

TEST_F(ArenaTest, the_file_size_limit_is_an_error_and_not_a_signal) {
    EXPECT_EQ(in_child([] {
                  const rlimit limit{1 << 20, 1 << 20};
                  ::setrlimit(RLIMIT_FSIZE, &limit);
                  const auto created = Arena::create(kSize);
                  return created.has_value()                                 ? 1
                         : created.error().code != std::errc::file_too_large ? 2
                                                                             : 0;
              }),
              0);
}

TEST_F(ArenaTest, the_address_space_limit_is_an_error_and_not_a_signal) {
    if (kThreadSanitizer || kAddressSanitizer) {
        GTEST_SKIP() << "a sanitizer's shadow is larger than any limit";
    }
    EXPECT_EQ(in_child([] {
                  const rlimit limit{std::size_t{256} << 20, std::size_t{256} << 20};
                  ::setrlimit(RLIMIT_AS, &limit);
                  const auto created = Arena::create(std::size_t{1} << 30);
                  return created.has_value()                                    ? 1
                         : created.error().code != std::errc::not_enough_memory ? 2
                                                                                : 0;
              }),
              0);
}

TEST_F(ArenaTest, another_process_joins_by_descriptor_and_cookie_and_shares_memory) {
    ASSERT_TRUE(Arena::create(kSize).has_value());
    auto* shared = static_cast<platform::Atomic<std::uint64_t>*>(Arena::allocate(64, 64));
    const std::uint64_t cookie = Arena::header().cookie;
    const int fd = ::dup(Arena::descriptor());
    EXPECT_EQ(in_child([&] {
                  Arena::destroy();
                  if (Arena::join(fd, cookie + 1) != std::errc::no_such_device_or_address) {
                      return 1;
                  }
                  if (Arena::join(fd, cookie) != no_error || Arena::is_host()) {
                      return 2;
                  }
                  shared->store(42, std::memory_order_release);
                  return 0;
              }),
              0);
    ::close(fd);
    EXPECT_EQ(shared->load(std::memory_order_acquire), 42U);
}

TEST_F(ArenaTest, processes_of_different_versions_refuse_each_other) {
    ASSERT_TRUE(Arena::create(kSize).has_value());
    const std::uint64_t cookie = Arena::header().cookie;
    const int fd = ::dup(Arena::descriptor());
    Arena::header().abi += 1;
    EXPECT_EQ(in_child([&] {
                  Arena::destroy();
                  return Arena::join(fd, cookie) == std::errc::wrong_protocol_type ? 0 : 1;
              }),
              0);
    ::close(fd);
}

TEST_F(ArenaTest, what_is_no_arena_is_refused) {
    const int fd = ::memfd_create("other", MFD_CLOEXEC);
    ASSERT_EQ(::ftruncate(fd, 1 << 20), 0);
    EXPECT_EQ(Arena::join(fd, 1), std::errc::no_such_device_or_address);
    ::close(fd);
    EXPECT_EQ(Arena::join(-1, 1), std::errc::bad_file_descriptor);
}

TEST_F(ArenaTest, a_private_arena_has_no_descriptor_and_lies_where_there_is_room) {
    void* taken = ::mmap(reinterpret_cast<void*>(kArenaBase), kSize, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    ASSERT_TRUE(Arena::create_private(kSize).has_value());
    EXPECT_EQ(Arena::descriptor(), -1);
    auto* memory = static_cast<unsigned char*>(Arena::allocate(100'000, 4096));
    ASSERT_NE(memory, nullptr);
    EXPECT_NE(reinterpret_cast<std::uintptr_t>(&Arena::header()), kArenaBase);
    EXPECT_TRUE(Arena::contains(reinterpret_cast<std::uintptr_t>(memory), 100'000));
    EXPECT_EQ(arena_object<unsigned char>(arena_index(memory)), memory);
    EXPECT_EQ(memory[99'999], 0);
    if (taken != MAP_FAILED) {
        ::munmap(taken, kSize);
    }
}

TEST_F(ArenaTest, a_forked_child_abandons_its_copy_and_makes_an_arena_of_its_own) {
    ASSERT_TRUE(Arena::create_private(kSize).has_value());
    auto* memory = static_cast<int*>(Arena::allocate(64, 64));
    *memory = 1;
    EXPECT_EQ(in_child([&] {
                  *memory = 2;  // its copy
                  Arena::abandon();
                  if (Arena::present() || !Arena::create_private(kSize)) {
                      return 1;
                  }
                  return Arena::is_host() && Arena::allocate(64, 64) != nullptr ? 0 : 2;
              }),
              0);
    EXPECT_EQ(*memory, 1);
}

TEST_F(ArenaTest, a_forked_child_is_not_the_host) {
    ASSERT_TRUE(Arena::create(kSize).has_value());
    EXPECT_EQ(in_child([] { return Arena::present() && !Arena::is_host() ? 0 : 1; }), 0);
}

}  // namespace
}  // namespace taskwork::sync
