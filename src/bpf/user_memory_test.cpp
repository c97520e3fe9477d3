// SPDX-License-Identifier: Apache-2.0
#include "bpf/user_memory.hpp"

#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>

#include <gtest/gtest.h>

#include "sync/arena.hpp"

namespace taskwork::bpf {
namespace {

constexpr std::size_t kPage = 4096;

std::atomic<int> faults_seen{0};

void on_fault(int signal, siginfo_t* info, void* ucontext) {
    faults_seen.fetch_add(1);
    if (!recover_fault(signal, info, ucontext)) {
        ::signal(signal, SIG_DFL);
    }
}

/// The same expectations of both ways to read; the parameter turns fault recovery on.
class UserMemoryTest : public ::testing::TestWithParam<bool> {
protected:
    void SetUp() override {
        faults_seen = 0;
        if (GetParam()) {
            struct sigaction action{};
            action.sa_sigaction = on_fault;
            action.sa_flags = SA_SIGINFO;
            sigaction(SIGSEGV, &action, nullptr);
            sigaction(SIGBUS, &action, nullptr);
            enable_fault_recovery();
        }
        // A page that is there, one that is not, one that cannot be read.
        pages_ = static_cast<char*>(
            mmap(nullptr, 3 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        ASSERT_NE(pages_, MAP_FAILED);
        munmap(pages_ + kPage, kPage);
        mprotect(pages_ + 2 * kPage, kPage, PROT_NONE);
    }
    void TearDown() override {
        munmap(pages_, 3 * kPage);
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
    }
    std::uintptr_t at(std::size_t offset) const {
        return reinterpret_cast<std::uintptr_t>(pages_) + offset;
    }
    /// Recovery, once on, stays on in a process: with it off, only where nothing turned it on.
    bool recovers() const { return GetParam(); }

    char* pages_ = nullptr;
    UserMemory memory_{nullptr};
};

TEST_P(UserMemoryTest, reads_what_is_there) {
    std::memcpy(pages_ + 100, "twelve bytes", 12);
    char buffer[16] = {};
    EXPECT_EQ(memory_.read(buffer, at(100), 12), 0);
    EXPECT_STREQ(buffer, "twelve bytes");
    EXPECT_EQ(memory_.read(buffer, 0, 0), 0);
}

TEST_P(UserMemoryTest, reads_up_to_the_last_byte_before_an_unmapped_page_and_not_one_more) {
    std::memcpy(pages_ + kPage - 4, "edge", 4);
    char buffer[8] = {};
    EXPECT_EQ(memory_.read(buffer, at(kPage - 4), 4), 0);
    EXPECT_STREQ(buffer, "edge");
    EXPECT_EQ(memory_.read(buffer, at(kPage - 4), 5), -EFAULT);
    EXPECT_EQ(memory_.read(buffer, at(kPage), 1), -EFAULT);
    EXPECT_EQ(faults_seen.load(), recovers() ? 2 : 0);
}

TEST_P(UserMemoryTest, fails_where_nothing_may_be_read) {
    char buffer[8];
    EXPECT_EQ(memory_.read(buffer, at(2 * kPage), 8), -EFAULT);
    for (const std::uintptr_t address :
         {std::uintptr_t{0}, std::uintptr_t{8}, std::uintptr_t{1} << 47, std::uintptr_t{1} << 62,
          std::uintptr_t{0xffffffff81000000}, UINTPTR_MAX, UINTPTR_MAX - 7}) {
        EXPECT_EQ(memory_.read(buffer, address, 8), -EFAULT) << std::hex << address;
    }
    EXPECT_EQ(memory_.read(buffer, at(0), SIZE_MAX), -EFAULT);
}

TEST_P(UserMemoryTest, brings_in_pages_that_are_not_resident) {
    std::uint64_t word = 1;
    ASSERT_EQ(madvise(pages_, kPage, MADV_DONTNEED), 0);
    EXPECT_EQ(memory_.read(&word, at(8), sizeof(word)), 0);
    EXPECT_EQ(word, 0u);
}

TEST_P(UserMemoryTest, survives_a_file_that_is_shorter_than_its_mapping) {
    const int file = memfd_create("short", MFD_CLOEXEC);
    ASSERT_EQ(ftruncate(file, static_cast<off_t>(2 * kPage)), 0);
    void* mapped = mmap(nullptr, 2 * kPage, PROT_READ, MAP_SHARED, file, 0);
    ASSERT_NE(mapped, MAP_FAILED);
    ASSERT_EQ(ftruncate(file, static_cast<off_t>(kPage)), 0);
    char byte = 1;
    const auto address = reinterpret_cast<std::uintptr_t>(mapped);
    EXPECT_EQ(memory_.read(&byte, address + kPage - 1, 1), 0);
    EXPECT_EQ(memory_.read(&byte, address + kPage, 1), -EFAULT);
    munmap(mapped, 2 * kPage);
    close(file);
}

TEST_P(UserMemoryTest, takes_the_arena_for_no_user_memory) {
    ASSERT_TRUE(sync::Arena::create(std::size_t{16} << 20).has_value());
    char bytes[16];
    EXPECT_EQ(memory_.read(bytes, sync::kArenaBase, 8), -EFAULT);
    EXPECT_EQ(memory_.read(bytes, sync::kArenaBase - 8, 16), -EFAULT);
    sync::Arena::destroy();
}

TEST_P(UserMemoryTest, reads_strings_to_their_end_and_writes_nothing_behind_it) {
    std::strcpy(pages_ + 50, "string");
    char buffer[16];
    std::memset(buffer, 'x', sizeof(buffer));
    EXPECT_EQ(memory_.read_string(buffer, at(50), sizeof(buffer)), 7);
    EXPECT_EQ(std::string(buffer, sizeof(buffer)), std::string("string\0xxxxxxxxx", 16));
}

TEST_P(UserMemoryTest, cuts_and_terminates_strings_that_do_not_fit) {
    std::strcpy(pages_ + 50, "string");
    char buffer[16];
    EXPECT_EQ(memory_.read_string(buffer, at(50), 4), 4);
    EXPECT_STREQ(buffer, "str");
    EXPECT_EQ(memory_.read_string(buffer, at(50), 7), 7);
    EXPECT_STREQ(buffer, "string");
    EXPECT_EQ(memory_.read_string(buffer, at(50), 6), 6);
    EXPECT_STREQ(buffer, "strin");
    EXPECT_EQ(memory_.read_string(buffer, at(50), 1), 1);
    EXPECT_STREQ(buffer, "");
    EXPECT_EQ(memory_.read_string(buffer, at(50), 0), 0);
}

TEST_P(UserMemoryTest, reads_a_string_that_ends_right_before_an_unmapped_page) {
    std::memcpy(pages_ + kPage - 5, "last", 5);
    char buffer[32];
    EXPECT_EQ(memory_.read_string(buffer, at(kPage - 5), sizeof(buffer)), 5);
    EXPECT_STREQ(buffer, "last");
    // Without its NUL it does not end there; cut before the page it does.
    pages_[kPage - 1] = '!';
    EXPECT_EQ(memory_.read_string(buffer, at(kPage - 5), sizeof(buffer)), -EFAULT);
    EXPECT_EQ(memory_.read_string(buffer, at(kPage - 5), 6), 6);
    EXPECT_STREQ(buffer, "last!");
    EXPECT_EQ(memory_.read_string(buffer, at(kPage), sizeof(buffer)), -EFAULT);
}

TEST_P(UserMemoryTest, reads_strings_across_pages_and_chunks) {
    auto* two = static_cast<char*>(
        mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(two, MAP_FAILED);
    const std::string text(3000, 'a');
    std::strcpy(two + kPage - 1500, text.c_str());
    std::string buffer(4000, 'x');
    EXPECT_EQ(memory_.read_string(buffer.data(),
                                  reinterpret_cast<std::uintptr_t>(two) + kPage - 1500,
                                  buffer.size()),
              3001);
    EXPECT_STREQ(buffer.c_str(), text.c_str());
    EXPECT_EQ(buffer[3001], 'x');
    munmap(two, 2 * kPage);
}

TEST_P(UserMemoryTest, changes_no_errno) {
    errno = 77;
    char buffer[8];
    EXPECT_EQ(memory_.read(buffer, at(kPage), 8), -EFAULT);
    EXPECT_EQ(errno, 77);
}

TEST_P(UserMemoryTest, does_not_risk_a_fault_while_the_thread_blocks_the_signals) {
    // A fault now would kill the process.
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGSEGV);
    pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
    char buffer[8];
    UserMemory asks_for_the_mask{nullptr};
    EXPECT_EQ(asks_for_the_mask.read(buffer, at(kPage), 8), -EFAULT);
    ucontext_t interrupted{};
    sigaddset(&interrupted.uc_sigmask, SIGSEGV);
    UserMemory knows_the_mask{&interrupted};
    EXPECT_EQ(knows_the_mask.read(buffer, at(kPage), 8), -EFAULT);
    EXPECT_EQ(faults_seen.load(), 0);
    pthread_sigmask(SIG_UNBLOCK, &blocked, nullptr);
    // In a handler of an open thread it recovers.
    ucontext_t open{};
    UserMemory in_handler{&open};
    EXPECT_EQ(in_handler.read(buffer, at(kPage), 8), -EFAULT);
    EXPECT_EQ(faults_seen.load(), recovers() ? 1 : 0);
}

TEST_P(UserMemoryTest, recovers_only_faults_of_its_own_copy) {
    ucontext_t elsewhere{};
    elsewhere.uc_mcontext.gregs[REG_RIP] = 0x401000;
    siginfo_t info{};
    info.si_code = SEGV_MAPERR;
    EXPECT_FALSE(recover_fault(SIGSEGV, &info, &elsewhere));
    EXPECT_EQ(elsewhere.uc_mcontext.gregs[REG_RIP], 0x401000);
}

// Off first: turning it on is for the life of a process.
INSTANTIATE_TEST_SUITE_P(BySystemCall, UserMemoryTest, ::testing::Values(false));
INSTANTIATE_TEST_SUITE_P(ByRecovery, UserMemoryTest, ::testing::Values(true));

}  // namespace
}  // namespace taskwork::bpf
