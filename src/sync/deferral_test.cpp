// SPDX-License-Identifier: Apache-2.0
#include "sync/deferral.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "sync/arena.hpp"

namespace taskwork::sync {
namespace {

std::vector<std::uint64_t> ran;
std::uint32_t requeue_once = 0;

void record(std::uint64_t argument) {
    ran.push_back(argument);
    if (requeue_once != 0) {
        DeferralQueue::get().queue(std::exchange(requeue_once, 0));
    }
}

class DeferralTest : public testing::Test {
protected:
    void SetUp() override {
        ASSERT_TRUE(Arena::create(std::size_t{16} << 20).has_value());
        ASSERT_EQ(DeferralQueue::create(), no_error);
        DeferralQueue::set_handler(DeferralKind::test, record);
        ran.clear();
        requeue_once = 0;
    }
    void TearDown() override { Arena::destroy(); }
    DeferralQueue& queue() { return DeferralQueue::get(); }
};

TEST_F(DeferralTest, K118_queueing_a_queued_item_is_a_no_op) {
    const std::uint32_t item = queue().add_item(DeferralKind::test, 7);
    queue().queue(item);
    queue().queue(item);
    EXPECT_TRUE(queue().run_pending());
    EXPECT_EQ(ran, std::vector<std::uint64_t>{7});
    EXPECT_FALSE(queue().run_pending());
}

TEST_F(DeferralTest, K118_an_item_may_be_queued_again_while_its_handler_runs) {
    const std::uint32_t item = queue().add_item(DeferralKind::test, 7);
    requeue_once = item;
    queue().queue(item);
    while (queue().run_pending()) {
    }
    EXPECT_EQ(ran, (std::vector<std::uint64_t>{7, 7}));
}

TEST_F(DeferralTest, K119_an_item_given_back_does_not_run_and_its_number_is_used_again) {
    const std::uint32_t item = queue().add_item(DeferralKind::test, 7);
    queue().queue(item);
    queue().remove_item(item);
    EXPECT_FALSE(queue().run_pending());
    EXPECT_TRUE(ran.empty());
}

TEST_F(DeferralTest, no_item_is_queued_by_number_zero) {
    queue().queue(0);
    EXPECT_FALSE(queue().run_pending());
}

TEST_F(DeferralTest, K118_every_request_of_every_thread_is_preserved) {
    constexpr std::uint32_t kThreads = 4;
    constexpr std::uint32_t kEach = 500;
    std::vector<std::thread> threads;
    std::vector<std::vector<std::uint32_t>> items(kThreads);
    for (std::uint32_t thread = 0; thread < kThreads; ++thread) {
        for (std::uint32_t index = 0; index < kEach; ++index) {
            items[thread].push_back(queue().add_item(DeferralKind::test, thread * kEach + index));
        }
    }
    platform::Atomic<std::uint32_t> running(kThreads);
    for (std::uint32_t thread = 0; thread < kThreads; ++thread) {
        threads.emplace_back([&, thread] {
            for (const std::uint32_t item : items[thread]) {
                queue().queue(item);
            }
            running.fetch_sub(1, std::memory_order_release);
            queue().wake();
        });
    }
    while (running.load(std::memory_order_acquire) != 0) {
        const std::uint32_t seen = queue().wakes();
        queue().run_pending();
        queue().wait(seen, 1'000'000);
    }
    queue().run_pending();
    for (auto& thread : threads) {
        thread.join();
    }
    std::sort(ran.begin(), ran.end());
    ASSERT_EQ(ran.size(), std::size_t{kThreads} * kEach);
    for (std::uint64_t index = 0; index < ran.size(); ++index) {
        ASSERT_EQ(ran[index], index);
    }
}

/// A worker that sleeps, and would for ever if nobody woke it, until it has found a request.
std::thread sleeping_worker() {
    return std::thread([] {
        for (;;) {
            const std::uint32_t seen = DeferralQueue::get().wakes();
            if (DeferralQueue::get().run_pending()) {
                return;
            }
            DeferralQueue::get().wait(seen, 0);
        }
    });
}

TEST_F(DeferralTest, a_sleeping_worker_is_woken_by_a_request) {
    const std::uint32_t item = queue().add_item(DeferralKind::test, 7);
    std::thread worker = sleeping_worker();
    queue().queue(item);
    worker.join();
    EXPECT_EQ(ran.size(), 1U);
}

TEST_F(DeferralTest, a_sleeping_worker_is_woken_by_a_lazy_request) {
    const std::uint32_t item = queue().add_item(DeferralKind::test, 7);
    std::thread worker = sleeping_worker();
    queue().queue_lazily(item);
    worker.join();
    EXPECT_EQ(ran.size(), 1U);
}

// Else each change of a map by a program would make a system call while a grace period runs.
TEST_F(DeferralTest, a_worker_that_dozes_leaves_lazy_requests_for_its_next_look) {
    const std::uint32_t item = queue().add_item(DeferralKind::test, 7);
    const std::uint32_t seen = queue().wakes();
    queue().queue_lazily(item);
    EXPECT_EQ(queue().wakes(), seen);
    queue().wait(seen, 1'000'000, true);
    EXPECT_TRUE(queue().run_pending());
    EXPECT_EQ(ran.size(), 1U);
}

TEST_F(DeferralTest, a_worker_that_dozes_is_woken_by_a_request) {
    const std::uint32_t item = queue().add_item(DeferralKind::test, 7);
    std::thread worker([&] {
        for (;;) {
            const std::uint32_t seen = queue().wakes();
            if (queue().run_pending()) {
                return;
            }
            queue().wait(seen, 0, true);
        }
    });
    queue().queue(item);
    worker.join();
    EXPECT_EQ(ran.size(), 1U);
}

}  // namespace
}  // namespace taskwork::sync
