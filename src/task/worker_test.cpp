// SPDX-License-Identifier: Apache-2.0
#include "task/worker.hpp"

#include <gtest/gtest.h>
#include <time.h>

#include <chrono>
#include <future>
#include <thread>

#include "sync/arena.hpp"
#include "sync/deferral.hpp"
#include "sync/pool.hpp"
#include "task/test_domain.hpp"

namespace taskwork::task {
namespace {

/// Bursts of retirements follow each other: the first of each would pay for waking the worker.
TEST(WorkerTest, goes_on_dozing_for_a_while_after_a_grace_period) {
    const TestDomain domain;
    constexpr std::size_t kStride = 64;
    sync::Pool pool;
    pool.init(sync::Arena::allocate(sync::Pool::bytes(1, kStride), 64), 1, kStride,
              Worker::adopt_pool(pool, nullptr));
    constexpr std::uint64_t kSoonNs = 3'000'000;
    unsigned looked = 0;
    // The while begins after the first retirement of a turn; where the machine took longer to come
    // to the second, nothing can be said.
    const std::uint64_t end = platform::now_ns() + 10'000'000'000U;
    while (looked < 20 && platform::now_ns() < end) {
        const std::uint64_t begin = platform::now_ns();
        pool.retire(pool.claim(1, sync::kStateUser));
        wait_until([&] { return pool.count_free() == 1; });
        const timespec pause{.tv_sec = 0, .tv_nsec = 300'000};
        ::nanosleep(&pause, nullptr);
        void* const next = pool.claim(1, sync::kStateUser);
        const std::uint32_t wakes = sync::DeferralQueue::get().wakes();
        pool.retire(next);
        const std::uint32_t wakes_now = sync::DeferralQueue::get().wakes();
        if (platform::now_ns() - begin < kSoonNs) {
            ++looked;
            EXPECT_EQ(wakes_now, wakes) << "the worker was asleep";
        }
        wait_until([&] { return pool.count_free() == 1; });
    }
    EXPECT_EQ(looked, 20U) << "the machine was too slow";
    Worker::disown_pool(pool);
}

/// However late the worker gets a processor: whoever waits blames readers for a look it took.
TEST(WorkerTest, a_wait_that_is_given_no_time_fails_by_open_sections_alone) {
    const TestDomain domain;
    EXPECT_TRUE(Worker::synchronize(0));
    std::promise<void> inside;
    std::promise<void> leave;
    std::thread reader = task_thread([&] {
        const ReadSection section(*current(), sync::Flavour::sleepable);
        inside.set_value();
        leave.get_future().wait();
    });
    inside.get_future().wait();
    EXPECT_FALSE(Worker::synchronize(0));
    leave.set_value();
    reader.join();
    EXPECT_TRUE(Worker::synchronize(0));
}

TEST(WorkerTest, a_wait_with_a_limit_outlasts_it_while_the_worker_is_held_up) {
    const TestDomain domain;
    constexpr std::uint64_t kLimitNs = 1'000'000;
    std::promise<void> release;
    Worker::after_grace_period(
        [](void* argument) noexcept {
            static_cast<std::promise<void>*>(argument)->get_future().wait();
        },
        &release);
    auto waits = std::async(std::launch::async, [&] { return Worker::synchronize(kLimitNs); });
    EXPECT_EQ(waits.wait_for(std::chrono::nanoseconds(20 * kLimitNs)), std::future_status::timeout);
    release.set_value();
    EXPECT_TRUE(waits.get());
}

}  // namespace
}  // namespace taskwork::task
