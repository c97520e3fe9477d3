// SPDX-License-Identifier: Apache-2.0
#include "task/worker.hpp"

#include <gtest/gtest.h>
#include <time.h>

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
    constexpr std::uint64_t kSoonNs = 2'500'000;
    unsigned looked = 0;
    unsigned woken = 0;
    // Only pauses that were as short as meant count, on a machine that is busy.
    const std::uint64_t end = platform::now_ns() + 10'000'000'000U;
    while (looked < 20 && platform::now_ns() < end) {
        pool.retire(pool.claim(1, sync::kStateUser));
        wait_until([&] { return pool.count_free() == 1; });
        const std::uint64_t free_ns = platform::now_ns();
        const timespec pause{.tv_sec = 0, .tv_nsec = 1'000'000};
        ::nanosleep(&pause, nullptr);
        void* const next = pool.claim(1, sync::kStateUser);
        const std::uint32_t wakes = sync::DeferralQueue::get().wakes();
        pool.retire(next);
        if (platform::now_ns() - free_ns < kSoonNs) {
            ++looked;
            woken += sync::DeferralQueue::get().wakes() != wakes ? 1 : 0;
        }
        wait_until([&] { return pool.count_free() == 1; });
    }
    ASSERT_EQ(looked, 20U) << "no pause was as short as meant";
    EXPECT_LE(woken, looked / 4) << "the worker was asleep";
    Worker::disown_pool(pool);
}

}  // namespace
}  // namespace taskwork::task
