// SPDX-License-Identifier: Apache-2.0
//
// Threads on shared keys. Every value is self-consistent: a value is written whole before it can be
// found, so a reader that sees words of two writers has found a fault.
#include <gtest/gtest.h>

#include <array>
#include <random>
#include <set>

#include "map/hash_table.hpp"
#include "map/test_map.hpp"

namespace taskwork::map {
namespace {

struct Value {
    std::uint64_t key;
    std::uint64_t stamp;
    std::uint64_t slot;
    std::uint64_t check;

    static Value make(std::uint64_t key, std::uint64_t stamp) {
        return {key, stamp, 0, key * 31 + stamp};
    }
    bool whole(std::uint64_t expected) const {
        return key == expected && check == key * 31 + stamp;
    }
};

class HashConcurrency : public MapTest {
protected:
    static constexpr std::uint64_t kKeys = 24;
    static constexpr unsigned kThreads = 4;
    static constexpr int kOperations = 20000;

    static MapSpec with_slot(std::uint32_t entries) {
        MapSpec asked = hash(entries, sizeof(Value));
        asked.fields.task_work = offsetof(Value, slot);
        return asked;
    }
    /// What the counters say is what a walk finds, and all memory comes back.
    static void expect_whole(Map& map) {
        std::set<std::uint64_t> found;
        {
            const Sections sections;
            std::uint64_t key = 0;
            const void* from = nullptr;
            while (next_key(map, from, &key) == no_error) {
                ASSERT_TRUE(found.insert(key).second) << key << " is in the map twice";
                auto* value = static_cast<Value*>(lookup(map, &key));
                ASSERT_NE(value, nullptr);
                EXPECT_TRUE(value->whole(key));
                from = &key;
            }
        }
        EXPECT_EQ(usage(map).elements, found.size());
        for (std::uint64_t key : found) {
            EXPECT_EQ(erase(map, key), no_error);
        }
        EXPECT_EQ(usage(map).elements, 0U);
        task::wait_until([&] { return usage(map).waiting == 0; });
        for (std::uint64_t i = 0; i < map.max_entries; ++i) {
            const Sections sections;
            const Value value = Value::make(i, 0);
            EXPECT_EQ(update(map, &i, &value, BPF_NOEXIST), no_error);
        }
    }
};

TEST_F(HashConcurrency, values_are_whole_and_counts_exact_after_threads_did_everything_at_once) {
    // Smaller than the number of keys: insertions into a full map are part of it.
    Map& map = make(with_slot(16));
    std::atomic<std::uint64_t> torn{0};
    std::atomic<std::uint64_t> inserted{0};
    std::atomic<std::uint64_t> removed{0};
    std::atomic<std::uint64_t> too_many{0};
    std::vector<std::thread> threads;
    for (unsigned thread = 0; thread < kThreads; ++thread) {
        threads.push_back(task::task_thread([&, thread] {
            std::minstd_rand random(thread + 1);
            for (int i = 0; i < kOperations; ++i) {
                const Sections sections;
                const std::uint64_t key = random() % kKeys;
                const Value value = Value::make(key, random());
                switch (random() % 8) {
                case 0:
                    inserted += update(map, &key, &value, BPF_NOEXIST) == no_error ? 1U : 0U;
                    break;
                case 1:
                    update(map, &key, &value, BPF_EXIST);
                    break;
                case 2:
                    removed += remove(map, &key) == no_error ? 1U : 0U;
                    break;
                case 3:
                    if (void* element = lookup(map, &key)) {
                        schedule(map, element);
                    }
                    break;
                case 4:
                    too_many += usage(map).elements > map.max_entries ? 1U : 0U;
                    break;
                default: {
                    Value seen{};
                    if (lookup_copy(map, &key, &seen, 0) == no_error) {
                        torn += seen.whole(key) ? 0U : 1U;
                    }
                }
                }
            }
        }));
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(torn.load(), 0U);
    EXPECT_EQ(too_many.load(), 0U);
    EXPECT_GT(inserted.load(), 0U);
    EXPECT_EQ(usage(map).elements, inserted.load() - removed.load());
    const defer::WorkCounts counts = defer::counts(map.works);
    EXPECT_EQ(counts.in_flight, 0U);
    EXPECT_EQ(counts.scheduled, counts.ran + counts.cancelled + counts.dropped);
    expect_whole(map);
}

// HT.1.
TEST_F(HashConcurrency, a_key_that_is_only_ever_replaced_is_always_found) {
    Map& map = make(with_slot(1));
    const std::uint64_t key = 5;
    {
        const Sections sections;
        const Value value = Value::make(key, 0);
        ASSERT_EQ(update(map, &key, &value, BPF_ANY), no_error);
    }
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> replaced{0};
    std::vector<std::thread> writers;
    for (unsigned thread = 0; thread < 2; ++thread) {
        writers.push_back(task::task_thread([&] {
            for (std::uint64_t stamp = 1; !stop.load(std::memory_order_relaxed); ++stamp) {
                const Sections sections;
                const Value value = Value::make(key, stamp);
                const std::errc result = update(map, &key, &value, BPF_EXIST);
                EXPECT_TRUE(result == no_error || result == std::errc::not_enough_memory);
                replaced += result == no_error ? 1U : 0U;
            }
        }));
    }
    std::uint64_t missed = 0;
    std::uint64_t torn = 0;
    task::wait_until([&] {
        for (int i = 0; i < 1000; ++i) {
            const Sections sections;
            Value seen{};
            missed += lookup_copy(map, &key, &seen, 0) == no_error ? 0U : 1U;
            torn += seen.whole(key) ? 0U : 1U;
        }
        return replaced.load() > 3000;
    });
    stop.store(true);
    for (std::thread& writer : writers) {
        writer.join();
    }
    EXPECT_EQ(missed, 0U);
    EXPECT_EQ(torn, 0U);
    EXPECT_EQ(usage(map).elements, 1U);
}

// HT.2.
TEST_F(HashConcurrency, threads_that_each_own_a_place_never_find_the_map_full) {
    Map& map = make(hash(kThreads));
    std::atomic<std::uint64_t> refused_full{0};
    std::vector<std::thread> threads;
    for (std::uint64_t thread = 0; thread < kThreads; ++thread) {
        threads.push_back(task::task_thread([&, thread] {
            for (std::uint64_t i = 0; i < kOperations; ++i) {
                const std::uint64_t key = thread << 32 | i;
                std::errc result = put(map, key, i);
                while (result == std::errc::not_enough_memory) {
                    std::this_thread::yield();  // a grace period is due
                    result = put(map, key, i);
                }
                refused_full += result == std::errc::argument_list_too_long ? 1U : 0U;
                if (result == no_error) {
                    EXPECT_EQ(erase(map, key), no_error);
                }
            }
        }));
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(refused_full.load(), 0U);
    EXPECT_EQ(usage(map).elements, 0U);
}

}  // namespace
}  // namespace taskwork::map
