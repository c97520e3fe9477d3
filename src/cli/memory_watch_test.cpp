// SPDX-License-Identifier: Apache-2.0
#include "cli/memory_watch.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <thread>

#include "defer/task_work.hpp"
#include "task/test_domain.hpp"

namespace taskwork::cli {
namespace {

/// A thread that runs a callback which sleeps until it is told.
class Sleeper {
public:
    Sleeper() {
        EXPECT_EQ(::pipe(pipe_), 0);
        defer::set_callback_runner(
            defer::kCallbackTest, [](task::Task& self, const defer::Callback& callback) noexcept {
                // As an execution of a program does.
                const task::ReadSection section(self, sync::Flavour::sleepable);
                auto& sleeper = *static_cast<Sleeper*>(callback.value);
                sleeper.tid_.store(self.tid, std::memory_order_release);
                char byte = 0;
                EXPECT_EQ(::read(sleeper.pipe_[0], &byte, 1), 1);
            });
        thread_ = task::task_thread([this] {
            ::prctl(PR_SET_NAME, "sleeper");
            defer::ScheduleRequest request;
            request.target = task::current();
            request.callback = {defer::kCallbackTest, 0, nullptr, nullptr, this};
            EXPECT_EQ(defer::schedule(slot_, request), no_error);
            task::safe_point();
        });
        task::wait_until([this] { return tid() != 0; });
    }
    ~Sleeper() {
        wake();
        ::close(pipe_[0]);
        ::close(pipe_[1]);
    }
    Sleeper(const Sleeper&) = delete;
    Sleeper& operator=(const Sleeper&) = delete;

    [[nodiscard]] pid_t tid() const { return tid_.load(std::memory_order_acquire); }
    void wake() {
        if (thread_.joinable()) {
            EXPECT_EQ(::write(pipe_[1], "", 1), 1);
            thread_.join();
        }
    }

private:
    int pipe_[2] = {-1, -1};
    defer::Slot slot_;
    platform::Atomic<std::int32_t> tid_;
    std::thread thread_;
};

class MemoryWatchTest : public testing::Test {
protected:
    MemoryWatchTest() { EXPECT_EQ(defer::WorkTable::create(16), no_error); }

    void wait_for_the_end() {
        task::wait_until([this] { return !watch_.is_waiting(); });
    }

    static constexpr std::uint64_t kSecond = 1'000'000'000;
    task::TestDomain domain_;
    MemoryWatch watch_;  // By a clock of the test's.
};

TEST_F(MemoryWatchTest, names_the_thread_whose_callback_sleeps_and_for_how_long) {
    Sleeper sleeper;
    std::uint64_t now = 5 * kSecond;
    watch_.look(now);
    watch_.look(now += kSecond / 2);
    EXPECT_TRUE(watch_.held_back().empty()) << "it is not late yet";
    watch_.look(now += kSecond / 2);
    watch_.look(now += kSecond);
    ASSERT_EQ(watch_.held_back().size(), 1U);
    const HeldBack& held = watch_.held_back()[0];
    EXPECT_EQ(held.pid, ::getpid());
    EXPECT_EQ(held.tid, sleeper.tid());
    EXPECT_EQ(held.command, "sleeper");
    EXPECT_EQ(held.ns, 2 * kSecond);
    sleeper.wake();
    wait_for_the_end();
    watch_.look(now += kSecond);
    wait_for_the_end();
    watch_.look(now += 5 * kSecond);
    EXPECT_EQ(watch_.held_back().size(), 1U);
    EXPECT_EQ(watch_.held_back()[0].ns, 2 * kSecond) << "it has left its section";
}

TEST_F(MemoryWatchTest, names_nobody_when_grace_periods_end) {
    for (std::uint64_t now = kSecond; now < 10 * kSecond; now += kSecond / 4) {
        watch_.look(now);
        wait_for_the_end();
    }
    EXPECT_TRUE(watch_.held_back().empty());
}

}  // namespace
}  // namespace taskwork::cli
