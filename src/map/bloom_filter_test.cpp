// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <array>
#include <set>
#include <thread>

#include "map/test_steps.hpp"

namespace taskwork::map {
namespace {

using Value = std::array<std::uint64_t, 2>;

MapSpec filter(std::uint32_t entries, std::uint64_t hashes = 0) {
    MapSpec spec;
    spec.type = BPF_MAP_TYPE_BLOOM_FILTER;
    spec.value_size = sizeof(Value);
    spec.max_entries = entries;
    spec.extra = hashes;
    return spec;
}
bool add(Map& map, std::uint64_t number) {
    const Value value{number, ~number};
    return push(map, &value, BPF_ANY) == no_error;
}
bool holds(Map& map, std::uint64_t number) {
    Value value{number, ~number};
    const std::errc error = peek(map, &value);
    EXPECT_EQ(value, (Value{number, ~number}));
    EXPECT_TRUE(error == no_error || error == std::errc::no_such_file_or_directory);
    return error == no_error;
}

class BloomFilter : public MapTest {};

TEST_F(BloomFilter, holds_all_that_was_pushed_and_little_else) {
    for (const std::uint64_t hashes : {0U, 1U, 3U, 15U}) {
        Map& map = make(filter(1000, hashes));
        for (std::uint64_t number = 0; number < 1000; ++number) {
            ASSERT_TRUE(add(map, number));
        }
        unsigned wrong = 0;
        for (std::uint64_t number = 0; number < 1000; ++number) {
            ASSERT_TRUE(holds(map, number));
            wrong += holds(map, number + 1'000'000) ? 1U : 0U;
        }
        // One function: at most 1000 of 2048 bits are set. The others are far better.
        EXPECT_LT(wrong, hashes == 1 ? 600U : 300U) << hashes << " functions";
    }
}

TEST_F(BloomFilter, has_the_errors_of_the_kernel) {
    Map& map = make(filter(4));
    Value value{};
    EXPECT_FALSE(holds(map, 1));
    EXPECT_EQ(push(map, &value, BPF_NOEXIST), std::errc::invalid_argument);
    EXPECT_EQ(push(map, &value, BPF_EXIST), std::errc::invalid_argument);
    EXPECT_EQ(pop(map, &value), errc_kernel_notsupp);
    EXPECT_EQ(update(map, nullptr, &value, 0), std::errc::invalid_argument);
    EXPECT_EQ(remove(map, nullptr), std::errc::operation_not_supported);
    EXPECT_EQ(next_key(map, nullptr, &value), std::errc::operation_not_supported);
    EXPECT_EQ(refused(filter(4, 16)), std::errc::invalid_argument);
    MapSpec spec = filter(4);
    spec.fields.task_work = 0;
    EXPECT_EQ(refused(spec), std::errc::operation_not_supported);  // K80
}

TEST_F(BloomFilter, keeps_what_threads_push_at_once) {
    Map& map = make(filter(40'000));
    std::vector<std::thread> threads;
    for (std::uint64_t thread = 0; thread < 4; ++thread) {
        threads.push_back(task::task_thread([&map, thread] {
            for (std::uint64_t i = 0; i < 10'000; ++i) {
                add(map, thread << 32 | i);
                EXPECT_TRUE(holds(map, thread << 32 | i));
            }
        }));
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    for (std::uint64_t thread = 0; thread < 4; ++thread) {
        for (std::uint64_t i = 0; i < 10'000; ++i) {
            ASSERT_TRUE(holds(map, thread << 32 | i));
        }
    }
}

// ---- An event after each instruction, and a death -----------------------------------------------

/// Of three numbers, in filters with room enough to tell them apart. A filter is never empty again:
/// each start has numbers of its own.
struct Set {
    using Model = std::set<std::uint64_t>;
    static inline std::uint64_t base = 0;

    struct Operation {
        bool pushes;
        std::uint64_t number;
        bool outcome = false;
        void run(Map& map) noexcept {
            Value value{base + number, ~(base + number)};
            outcome = (pushes ? push(map, &value, BPF_ANY) : peek(map, &value)) == no_error;
        }
    };
    static void specify(Model& model, Operation& operation) {
        if (operation.pushes) {
            model.insert(operation.number);
        }
        operation.outcome = model.count(operation.number) != 0;
    }
    static void fill(Map& map, const Model& model) {
        base += 16;
        for (const std::uint64_t number : model) {
            ASSERT_TRUE(add(map, base + number));
        }
    }
    static Model content(Map& map) {
        Model found;
        for (std::uint64_t number = 1; number <= 3; ++number) {
            if (holds(map, base + number)) {
                found.insert(number);
            }
        }
        return found;
    }
};

using SteppedFilter = SteppedMap<Set>;

TEST_F(SteppedFilter, and_the_event_happen_one_after_the_other) {
    Map& map = make(filter(1 << 16));
    interrupt({&map}, {{}, {1}}, {{true, 1}, {false, 1}}, {{true, 1}, {false, 1}, {true, 2}}, 17);
}

TEST_F(SteppedFilter, is_as_before_or_as_after_a_death) {
    Map& map = make(filter(1 << 16));
    kill_in(map, {{}}, {{true, 1}}, 13);
}

}  // namespace
}  // namespace taskwork::map
