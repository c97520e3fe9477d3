// SPDX-License-Identifier: Apache-2.0
#include "sync/pool.hpp"

#include <gtest/gtest.h>

#include <set>
#include <thread>
#include <vector>

#include "sync/arena.hpp"
#include "sync/deferral.hpp"
#include "sync/grace.hpp"

namespace taskwork::sync {
namespace {

constexpr std::uint8_t kMine = kStateUser;
constexpr std::size_t kStride = 64;

class PoolTest : public testing::Test {
protected:
    void SetUp() override {
        ASSERT_TRUE(Arena::create(std::size_t{64} << 20).has_value());
        ASSERT_EQ(DeferralQueue::create(), no_error);
        ASSERT_EQ(GracePeriods::create(), no_error);
    }
    void TearDown() override { Arena::destroy(); }

    Pool& make(std::uint32_t count, Reuse reuse = Reuse::released) {
        void* memory = Arena::allocate(Pool::bytes(count, kStride, reuse), 64);
        EXPECT_NE(memory, nullptr);
        pool_.init(memory, count, kStride, 0, reuse);
        return pool_;
    }
    Pool pool_;
};

TEST_F(PoolTest, gives_every_object_once_and_then_none) {
    for (const std::uint32_t count : {1U, 63U, 64U, 65U, 4095U, 4097U, 10000U}) {
        Pool pool;
        pool.init(Arena::allocate(Pool::bytes(count, kStride), 64), count, kStride, 0);
        std::set<void*> seen;
        for (std::uint32_t index = 0; index < count; ++index) {
            void* object = pool.claim(1, kMine);
            ASSERT_NE(object, nullptr) << "object " << index << " of " << count;
            EXPECT_TRUE(seen.insert(object).second);
        }
        EXPECT_EQ(pool.claim(1, kMine), nullptr);
        EXPECT_EQ(pool.count_free(), 0U);
    }
}

TEST_F(PoolTest, a_claim_names_its_owner_and_starts_a_round) {
    Pool& pool = make(1);
    void* object = pool.claim(7, kMine);
    EXPECT_EQ(Pool::load(object), Word::make(1, 7, 0, kMine));
    pool.release(object);
    EXPECT_EQ(Pool::load(object), Word::make(1, 0, 0, kStateFree));
    EXPECT_EQ(pool.claim(9, kMine), object);
    EXPECT_EQ(Pool::load(object), Word::make(2, 9, 0, kMine));
}

TEST_F(PoolTest, a_late_actor_of_an_earlier_round_changes_nothing) {
    Pool& pool = make(1);
    void* object = pool.claim(1, kMine);
    Word late = Pool::load(object);
    pool.release(object);
    ASSERT_EQ(pool.claim(2, kMine), object);
    EXPECT_FALSE(Pool::transition(object, late, late.with_state(kMine + 1)));
    EXPECT_EQ(Pool::load(object).owner(), 2);
}

TEST_F(PoolTest, a_retired_object_is_not_given_out_until_the_worker_releases_it) {
    Pool& pool = make(1);
    void* object = pool.claim(1, kMine);
    pool.retire(object);
    EXPECT_EQ(pool.claim(1, kMine), nullptr);
    EXPECT_EQ(pool.take_retired(), object);
    EXPECT_EQ(pool.take_retired(), nullptr);
    EXPECT_EQ(pool.claim(1, kMine), nullptr);
    pool.release(object);
    EXPECT_EQ(pool.claim(1, kMine), object);
}

TEST_F(PoolTest, retiring_twice_is_retiring_once) {
    Pool& pool = make(2);
    void* object = pool.claim(1, kMine);
    pool.retire(object);
    pool.retire(object);
    EXPECT_EQ(pool.take_retired(), object);
    EXPECT_EQ(pool.take_retired(), nullptr);
}

/// What the worker does, where nobody reads.
void reuse_retired(Pool& pool) {
    std::vector<void*> taken;
    while (void* object = pool.take_retired()) {
        taken.push_back(object);
    }
    GracePeriods::get().end(GracePeriods::get().start());
    for (void* object : taken) {
        pool.release_retired(object);
    }
}

TEST_F(PoolTest, an_object_reused_in_place_is_given_out_as_its_retirer_has_left_it) {
    Pool& pool = make(1, Reuse::in_place);
    void* object = pool.claim(7, kMine);
    pool.retire(object);
    const Word retired = Pool::load(object);
    EXPECT_EQ(pool.claim(1, kMine), nullptr);
    EXPECT_EQ(pool.count_free(), 0U);
    reuse_retired(pool);
    EXPECT_EQ(Pool::load(object), retired);
    EXPECT_EQ(pool.count_free(), 1U);
    EXPECT_EQ(pool.claim(9, kMine), object);
    EXPECT_EQ(Pool::load(object), Word::make(retired.round() + 1, 9, 0, kMine));
}

// Neither a hint nor a grace period of an earlier life makes it free.
TEST_F(PoolTest, an_object_reused_in_place_waits_again_each_time_it_is_retired) {
    Pool& pool = make(1, Reuse::in_place);
    for (int life = 0; life < 3; ++life) {
        void* object = pool.claim(1, kMine);
        ASSERT_NE(object, nullptr);
        pool.retire(object);
        pool.hint_free(0);
        EXPECT_EQ(pool.claim(1, kMine), nullptr);
        reuse_retired(pool);
    }
}

TEST_F(PoolTest, a_grace_period_that_began_before_does_not_make_an_object_free) {
    Pool& pool = make(1, Reuse::in_place);
    void* object = pool.claim(1, kMine);
    const GraceTicket before = GracePeriods::get().start();
    pool.retire(object);
    GracePeriods::get().end(before);
    pool.hint_free(0);
    EXPECT_EQ(pool.claim(1, kMine), nullptr);
    reuse_retired(pool);
    EXPECT_EQ(pool.claim(1, kMine), object);
}

// A claimer that comes too early has used up the hint.
TEST_F(PoolTest, an_object_that_is_not_ripe_when_it_is_claimed_is_waited_for_once_more) {
    Pool& pool = make(1, Reuse::in_place);
    void* object = pool.claim(1, kMine);
    pool.retire(object);
    ASSERT_EQ(pool.take_retired(), object);
    pool.release_retired(object);
    EXPECT_EQ(pool.claim(1, kMine), nullptr);
    reuse_retired(pool);
    EXPECT_EQ(pool.claim(1, kMine), object);
}

TEST_F(PoolTest, a_sweep_leaves_alone_what_is_reused_in_place_and_ripe) {
    Pool& pool = make(2, Reuse::in_place);
    void* object = pool.claim(1, kMine);
    pool.retire(object);
    reuse_retired(pool);
    pool.hint_retired(pool.index_of(object));
    EXPECT_EQ(pool.take_retired(), nullptr);
    // Its hint is lost with a claimer that dies.
    ASSERT_NE(pool.claim(1, kMine), nullptr);
    ASSERT_NE(pool.claim(1, kMine), nullptr);
    pool.retire(object);
    reuse_retired(pool);
    ASSERT_NE(pool.claim(1, kMine), nullptr);
    Word word = Pool::load(object);
    ASSERT_TRUE(Pool::transition(object, word, Word::make(word.round(), 0, 0, kStateFree)));
    EXPECT_EQ(pool.claim(1, kMine), nullptr);
    pool.restore_hints();
    EXPECT_EQ(pool.claim(1, kMine), object);
}

// A claimer killed between clearing the hint and changing the word leaves an object that is free
// but not hinted at.
TEST_F(PoolTest, a_sweep_finds_the_object_whose_claimer_died_half_way) {
    Pool& pool = make(100);
    std::vector<void*> all;
    while (void* object = pool.claim(1, kMine)) {
        all.push_back(object);
    }
    // Word free, hint clear: exactly what is left behind.
    Word word = Pool::load(all[42]);
    ASSERT_TRUE(Pool::transition(all[42], word, Word::make(word.round(), 0, 0, kStateFree)));
    EXPECT_EQ(pool.claim(1, kMine), nullptr);
    pool.restore_hints();
    EXPECT_EQ(pool.claim(1, kMine), all[42]);
}

TEST_F(PoolTest, a_sweep_finds_the_object_whose_retirer_died_half_way) {
    Pool& pool = make(100);
    void* object = pool.claim(1, kMine);
    // The word has changed, nothing else: no hint, no bell.
    Word word = Pool::load(object);
    ASSERT_TRUE(Pool::transition(object, word, word.with_state(kStateRetired)));
    EXPECT_EQ(pool.take_retired(), nullptr);
    pool.hint_retired(pool.index_of(object));
    EXPECT_EQ(pool.take_retired(), object);
}

TEST_F(PoolTest, a_hint_that_lies_is_passed_over) {
    Pool& pool = make(64);
    std::vector<void*> all;
    while (void* object = pool.claim(1, kMine)) {
        all.push_back(object);
    }
    pool.release(all[10]);
    // Claimed behind the hint's back, as by a claimer whose hint a sweep has set again.
    Word word = Pool::load(all[10]);
    ASSERT_TRUE(Pool::transition(all[10], word, Word::make(word.round() + 1, 3, 0, kMine)));
    EXPECT_EQ(pool.claim(1, kMine), nullptr);
    EXPECT_EQ(Pool::load(all[10]).owner(), 3);
}

TEST_F(PoolTest, threads_never_hold_the_same_object_and_none_is_lost) {
    constexpr std::uint32_t kCount = 100;
    constexpr int kThreads = 4;
    constexpr int kRounds = 20'000;
    Pool& pool = make(kCount);
    platform::Atomic<std::uint32_t> clashes;
    std::vector<std::thread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
        threads.emplace_back([&, thread] {
            const auto me = static_cast<std::uint16_t>(thread + 1);
            for (int round = 0; round < kRounds; ++round) {
                void* objects[8] = {};
                for (void*& object : objects) {
                    object = pool.claim(me, kMine);
                }
                for (void* object : objects) {
                    if (object == nullptr) {
                        continue;
                    }
                    if (Pool::load(object).owner() != me) {
                        clashes.fetch_add(1, std::memory_order_relaxed);
                    }
                    pool.release(object);
                }
            }
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(clashes.load(std::memory_order_relaxed), 0U);
    std::uint32_t found = 0;
    while (pool.claim(1, kMine) != nullptr) {
        ++found;
    }
    EXPECT_EQ(found, kCount);
}

// As many objects as threads: "none" may be answered only if all are really claimed.
TEST_F(PoolTest, a_claim_succeeds_whenever_an_object_is_free) {
    constexpr std::uint32_t kThreads = 4;
    Pool& pool = make(kThreads);
    platform::Atomic<std::uint32_t> refused;
    std::vector<std::thread> threads;
    for (std::uint32_t thread = 0; thread < kThreads; ++thread) {
        threads.emplace_back([&] {
            for (int round = 0; round < 50'000; ++round) {
                void* object = pool.claim(1, kMine);
                if (object == nullptr) {
                    refused.fetch_add(1, std::memory_order_relaxed);
                } else {
                    pool.release(object);
                }
            }
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(refused.load(std::memory_order_relaxed), 0U);
}

TEST(HintMap, takes_from_the_given_place_on_and_wraps_around) {
    ASSERT_TRUE(Arena::create(std::size_t{4} << 20).has_value());
    constexpr std::uint32_t kCount = 64 * 64 * 3;
    HintMap hints;
    hints.init(Arena::allocate(HintMap::bytes(kCount), 64), kCount);
    EXPECT_EQ(hints.take(0), HintMap::none);
    hints.set(5);
    hints.set(64 * 64 * 2 + 7);
    EXPECT_EQ(hints.take(64 * 64), 64U * 64 * 2 + 7);
    EXPECT_EQ(hints.take(64 * 64), 5U);
    EXPECT_EQ(hints.take(64 * 64), HintMap::none);
    hints.set(kCount - 1);
    EXPECT_TRUE(hints.clear(kCount - 1));
    EXPECT_FALSE(hints.clear(kCount - 1));
    EXPECT_EQ(hints.take(0), HintMap::none);
    Arena::destroy();
}

}  // namespace
}  // namespace taskwork::sync
