// SPDX-License-Identifier: Apache-2.0
//
// The LRU kinds: room for every insertion, and whose room it is (HT.4, HT.5).
#include <gtest/gtest.h>
#include <sched.h>

#include <set>
#include <vector>

#include "map/hash_table.hpp"
#include "map/test_map.hpp"

namespace taskwork::map {
namespace {

class Lru : public MapTest {
protected:
    static MapSpec lru(std::uint32_t max_entries, std::uint32_t flags = 0) {
        return spec(BPF_MAP_TYPE_LRU_HASH, 8, 8, max_entries, flags);
    }
    /// As a user looks; a lookup by get() is a program's.
    static bool has(Map& map, std::uint64_t key) {
        const Sections sections;
        std::vector<std::byte> value(user_value_bytes(map));
        return lookup_copy(map, &key, value.data(), 0) == no_error;
    }
    static std::set<std::uint64_t> keys(Map& map, std::uint64_t below) {
        std::set<std::uint64_t> found;
        for (std::uint64_t key = 0; key < below; ++key) {
            if (has(map, key)) {
                found.insert(key);
            }
        }
        return found;
    }
    /// Waits for spares, as users do.
    static void must_put(Map& map, std::uint64_t key) {
        while (put(map, key, key) == std::errc::not_enough_memory) {
            task::Worker::synchronize();
        }
    }
};

TEST_F(Lru, an_insertion_into_the_full_map_evicts_one_element) {
    Map& map = make(lru(8));
    for (std::uint64_t key = 0; key < 8; ++key) {
        ASSERT_EQ(put(map, key, key), no_error);
    }
    EXPECT_EQ(usage(map).elements, 8U);
    for (std::uint64_t key = 8; key < 3000; ++key) {
        must_put(map, key);
        ASSERT_TRUE(has(map, key)) << "not the one that it was evicted for";
        ASSERT_EQ(usage(map).elements, 8U);
    }
}

TEST_F(Lru, what_is_there_is_replaced_without_an_eviction) {
    Map& map = make(lru(4));
    for (std::uint64_t key = 0; key < 4; ++key) {
        ASSERT_EQ(put(map, key, key), no_error);
    }
    for (std::uint64_t i = 0; i < 500; ++i) {
        ASSERT_EQ(put(map, i % 4, i, BPF_EXIST), no_error);
    }
    EXPECT_EQ(keys(map, 10).size(), 4U);
    EXPECT_EQ(put(map, 9, 9, BPF_EXIST), std::errc::no_such_file_or_directory);
    EXPECT_EQ(put(map, 3, 9, BPF_NOEXIST), std::errc::file_exists);
    EXPECT_EQ(keys(map, 10).size(), 4U) << "a refused update evicts nothing";
}

TEST_F(Lru, what_programs_have_looked_up_stays_and_what_users_have_goes) {
    Map& map = make(lru(64));
    for (std::uint64_t key = 0; key < 64; ++key) {
        ASSERT_EQ(put(map, key, key), no_error);
    }
    for (std::uint64_t key = 0; key < 32; ++key) {
        EXPECT_EQ(get(map, key * 2), key * 2);  // even ones: a program's lookup
        EXPECT_TRUE(has(map, key * 2 + 1));     // odd ones: a user's
    }
    for (std::uint64_t key = 100; key < 132; ++key) {
        ASSERT_EQ(put(map, key, key), no_error);
    }
    const std::set<std::uint64_t> left = keys(map, 64);
    EXPECT_EQ(left.size(), 32U);
    for (const std::uint64_t key : left) {
        EXPECT_EQ(key % 2, 0U);
    }
}

TEST_F(Lru, a_replaced_element_counts_as_referenced) {
    Map& map = make(lru(16));
    for (std::uint64_t key = 0; key < 16; ++key) {
        ASSERT_EQ(put(map, key, key), no_error);
    }
    for (std::uint64_t key = 0; key < 8; ++key) {
        ASSERT_EQ(put(map, key, key + 1), no_error);
    }
    for (std::uint64_t key = 100; key < 108; ++key) {
        ASSERT_EQ(put(map, key, key), no_error);
    }
    EXPECT_EQ(keys(map, 16), (std::set<std::uint64_t>{0, 1, 2, 3, 4, 5, 6, 7}));
}

TEST_F(Lru, a_map_full_of_referenced_elements_evicts_all_the_same) {
    // More than the hand passes.
    constexpr std::uint64_t kMany = 4 * kSparedMax;
    Map& map = make(lru(kMany));
    for (std::uint64_t key = 0; key < kMany; ++key) {
        must_put(map, key);
        ASSERT_EQ(get(map, key), key);
    }
    for (std::uint64_t key = kMany; key < 2 * kMany; ++key) {
        must_put(map, key);
        ASSERT_EQ(get(map, key), key);
    }
    EXPECT_EQ(usage(map).elements, kMany);
}

TEST_F(Lru, a_map_of_one_holds_what_was_put_last) {
    Map& map = make(lru(1));
    for (std::uint64_t key = 0; key < 100; ++key) {
        ASSERT_EQ(put(map, key, key), no_error);
        ASSERT_EQ(get(map, key), key);
        ASSERT_EQ(usage(map).elements, 1U);
    }
}

TEST_F(Lru, room_that_a_deletion_has_left_is_used_before_anything_is_evicted) {
    Map& map = make(lru(8));
    for (std::uint64_t key = 0; key < 100; ++key) {
        ASSERT_EQ(put(map, key, key), no_error);
    }
    for (std::uint64_t round = 0; round < 200; ++round) {
        const std::uint64_t gone = *keys(map, 1000).begin();
        ASSERT_EQ(erase(map, gone), no_error);
        ASSERT_EQ(put(map, 200 + round, 1), no_error);
        ASSERT_EQ(keys(map, 1000).size(), 8U);
    }
}

TEST_F(Lru, lists_of_their_own_have_equally_many_elements_each) {
    const std::uint32_t processors = MapTable::get().processors.count();
    Map& map = make(lru(processors + 1, BPF_F_NO_COMMON_LRU));
    EXPECT_EQ(map.max_entries, 2 * processors);
    for (std::uint64_t key = 0; key < 700; ++key) {
        ASSERT_EQ(put(map, key, key), no_error);
        ASSERT_TRUE(has(map, key));
    }
    EXPECT_EQ(usage(map).elements, 2 * processors);
}

TEST_F(Lru, an_insertion_prefers_elements_of_its_processor_and_takes_others_if_there_are_none) {
    cpu_set_t all;
    ASSERT_EQ(::sched_getaffinity(0, sizeof all, &all), 0);
    std::vector<int> allowed;
    for (int number = 0; number < CPU_SETSIZE; ++number) {
        if (CPU_ISSET(number, &all)) {
            allowed.push_back(number);
        }
    }
    if (allowed.size() < 2) {
        GTEST_SKIP() << "needs two processors";
    }
    const auto on = [](int processor) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(processor, &one);
        ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
    };
    Map& map = make(lru(4 * MapTable::get().processors.count(), BPF_F_NO_COMMON_LRU));
    on(allowed[0]);
    for (std::uint64_t key = 0; key < map.max_entries; ++key) {
        ASSERT_EQ(put(map, key, key), no_error);
    }
    on(allowed[1]);
    for (std::uint64_t key = 100; key < 200; ++key) {
        ASSERT_EQ(put(map, key, key), no_error);
        ASSERT_TRUE(has(map, key));
    }
    // Since then it has taken its own.
    EXPECT_EQ(keys(map, map.max_entries).size(), map.max_entries - 1);
    ASSERT_EQ(::sched_setaffinity(0, sizeof all, &all), 0);
}

TEST_F(Lru, values_of_each_processor_are_written_in_place) {
    Map& map = make(spec(BPF_MAP_TYPE_LRU_PERCPU_HASH, 8, 8, 4));
    const std::uint64_t value = 7;
    for (std::uint64_t key = 0; key < 20; ++key) {
        const Sections sections;
        ASSERT_EQ(update_slot(map, &key, &value, BPF_ANY, 0), no_error);
        void* const place = lookup(map, &key);
        const std::uint64_t more = 8;
        ASSERT_EQ(update_slot(map, &key, &more, BPF_ANY, 0), no_error);
        EXPECT_EQ(lookup(map, &key), place);
        EXPECT_EQ(*static_cast<std::uint64_t*>(place), 8U);
        EXPECT_EQ(update_slot(map, &key, &more, BPF_F_LOCK, 0), std::errc::invalid_argument);
    }
    EXPECT_EQ(usage(map).elements, 4U);
}

TEST_F(Lru, hold_slots_but_no_spin_locks) {
    MapSpec asked = lru(4);
    asked.value_size = 24;
    asked.fields.task_work = 8;
    EXPECT_EQ(refused(asked), no_error);
    asked.fields.spin_lock = 16;
    EXPECT_EQ(refused(asked), std::errc::operation_not_supported);
    asked.type = BPF_MAP_TYPE_LRU_PERCPU_HASH;
    asked.fields.spin_lock = kNoField;
    EXPECT_EQ(refused(asked), std::errc::operation_not_supported);
}

TEST_F(Lru, K93_eviction_cancels_the_victims_work) {
    MapSpec asked = lru(2);
    asked.value_size = 16;
    asked.fields.task_work = 8;
    Map& map = make(asked);
    ASSERT_EQ(put(map, 1, 1), no_error);
    ASSERT_EQ(put(map, 2, 2), no_error);
    {
        const Sections sections;
        for (std::uint64_t key : {1, 2}) {
            ASSERT_EQ(schedule(map, lookup(map, &key)), no_error);
        }
        ASSERT_EQ(defer::counts(map.works).in_flight, 2U);
        ASSERT_EQ(put(map, 3, 3), no_error);
        EXPECT_EQ(defer::counts(map.works).cancelled, 1U);
        ASSERT_EQ(put(map, 4, 4), no_error);
        EXPECT_EQ(defer::counts(map.works).cancelled + (has(map, 3) ? 0U : 1U), 2U);
    }
    task::safe_point();
    const defer::WorkCounts counts = defer::counts(map.works);
    EXPECT_EQ(counts.in_flight, 0U);
    EXPECT_EQ(counts.scheduled, counts.ran + counts.cancelled);
}

TEST_F(Lru, an_evicted_value_stays_memory_until_the_sections_that_found_it_end) {
    Map& map = make(lru(2));
    ASSERT_EQ(put(map, 1, 1), no_error);
    const Sections sections;
    const std::uint64_t key = 1;
    auto* const value = static_cast<platform::Atomic<std::uint64_t>*>(lookup(map, &key));
    ASSERT_NE(value, nullptr);
    // Until the spares are used up: this section holds all of them.
    std::errc result = no_error;
    for (std::uint64_t other = 2; result == no_error; ++other) {
        result = put(map, other, other);
        ASSERT_EQ(value->load(std::memory_order_relaxed), 1U);
        ASSERT_LT(other, 3000U);
    }
    EXPECT_EQ(result, std::errc::not_enough_memory);
    EXPECT_EQ(usage(map).elements, 2U) << "what there is no memory for evicts nothing";
    EXPECT_GT(usage(map).refused_no_memory, 0U);
}

TEST_F(Lru, threads_that_insert_at_once_always_find_room_and_never_too_much) {
    for (const std::uint32_t flags : {0U, static_cast<std::uint32_t>(BPF_F_NO_COMMON_LRU)}) {
        Map& map = make(lru(64, flags));
        constexpr unsigned kThreads = 4;
        std::atomic<std::uint64_t> refused{0};
        std::atomic<std::uint64_t> too_many{0};
        std::vector<std::thread> threads;
        for (unsigned thread = 0; thread < kThreads; ++thread) {
            threads.push_back(task::task_thread([&, thread] {
                for (std::uint64_t i = 0; i < 1200; ++i) {
                    const std::uint64_t key = std::uint64_t{thread} << 32 | i;
                    std::errc result = put(map, key, i);
                    while (result == std::errc::not_enough_memory) {
                        std::this_thread::yield();  // a grace period is due
                        result = put(map, key, i);
                    }
                    refused += result == no_error ? 0U : 1U;
                    if (i % 64 == 0) {
                        too_many += usage(map).elements > map.max_entries ? 1U : 0U;
                    }
                    if (i % 3 == 0) {
                        erase(map, key);
                    }
                }
            }));
        }
        for (std::thread& thread : threads) {
            thread.join();
        }
        EXPECT_EQ(refused.load(), 0U);
        EXPECT_EQ(too_many.load(), 0U);
        // Counters and content agree, and all of it can be used.
        std::set<std::uint64_t> found;
        {
            const Sections sections;
            std::uint64_t key = 0;
            const void* from = nullptr;
            while (next_key(map, from, &key) == no_error) {
                ASSERT_TRUE(found.insert(key).second);
                from = &key;
            }
        }
        EXPECT_EQ(usage(map).elements, found.size());
        for (std::uint64_t key = 0; key < 200; ++key) {
            must_put(map, key);
        }
        EXPECT_EQ(usage(map).elements, map.max_entries);
    }
}

}  // namespace
}  // namespace taskwork::map
