// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <deque>
#include <random>
#include <thread>

#include "map/test_steps.hpp"

namespace taskwork::map {
namespace {

/// A value that shows whether it is whole.
using Value = std::array<std::uint64_t, 3>;
Value value_of(std::uint64_t number) { return {number, number * 31, ~number}; }
bool whole(const Value& value) { return value == value_of(value[0]); }

MapSpec sequence(std::uint32_t type, std::uint32_t entries) {
    MapSpec spec;
    spec.type = type;
    spec.value_size = sizeof(Value);
    spec.max_entries = entries;
    return spec;
}
std::errc push_number(Map& map, std::uint64_t number, std::uint64_t flags = BPF_ANY) {
    const Value value = value_of(number);
    return push(map, &value, flags);
}

class QueueAndStack : public MapTest {};

TEST_F(QueueAndStack, hand_values_out_from_their_end_and_zeros_when_empty) {
    for (const std::uint32_t type : {BPF_MAP_TYPE_QUEUE, BPF_MAP_TYPE_STACK}) {
        Map& map = make(sequence(type, 3));
        Value out{1, 1, 1};
        EXPECT_EQ(peek(map, &out), std::errc::no_such_file_or_directory);
        EXPECT_EQ(out, Value{});
        out = {1, 1, 1};
        EXPECT_EQ(pop(map, &out), std::errc::no_such_file_or_directory);
        EXPECT_EQ(out, Value{});
        for (std::uint64_t number = 1; number <= 3; ++number) {
            EXPECT_EQ(push_number(map, number), no_error);
        }
        EXPECT_EQ(push_number(map, 4), std::errc::argument_list_too_long);
        EXPECT_EQ(push_number(map, 4, BPF_NOEXIST), std::errc::invalid_argument);
        EXPECT_EQ(push_number(map, 4, 3), std::errc::invalid_argument);
        EXPECT_EQ(push_number(map, 4, BPF_EXIST), no_error);  // 1 is dropped
        EXPECT_EQ(usage(map).elements, 3U);
        const bool queue = type == BPF_MAP_TYPE_QUEUE;
        for (const std::uint64_t expected : {queue ? 2U : 4U, 3U, queue ? 4U : 2U}) {
            EXPECT_EQ(peek(map, &out), no_error);
            EXPECT_EQ(out, value_of(expected));
            EXPECT_EQ(pop(map, &out), no_error);
            EXPECT_EQ(out, value_of(expected));
        }
        EXPECT_EQ(pop(map, &out), std::errc::no_such_file_or_directory);
    }
}

TEST_F(QueueAndStack, are_not_found_by_keys) {
    Map& map = make(sequence(BPF_MAP_TYPE_QUEUE, 3));
    const Value value{};
    EXPECT_EQ(lookup(map, nullptr), nullptr);
    EXPECT_EQ(update(map, nullptr, &value, BPF_ANY), std::errc::invalid_argument);
    EXPECT_EQ(remove(map, nullptr), std::errc::invalid_argument);
    EXPECT_EQ(next_key(map, nullptr, nullptr), std::errc::invalid_argument);
}

TEST_F(QueueAndStack, take_no_special_fields) {
    MapSpec spec = sequence(BPF_MAP_TYPE_QUEUE, 3);
    spec.fields.task_work = 0;
    EXPECT_EQ(refused(spec), std::errc::operation_not_supported);
}

TEST_F(QueueAndStack, go_round_their_ring_for_ever) {
    Map& queue = make(sequence(BPF_MAP_TYPE_QUEUE, 5));
    Map& stack = make(sequence(BPF_MAP_TYPE_STACK, 5));
    Value out{};
    for (std::uint64_t number = 0; number < 5000; ++number) {
        ASSERT_EQ(push_number(queue, number, BPF_EXIST), no_error);
        ASSERT_EQ(push_number(stack, number, BPF_EXIST), no_error);
        if (number % 7 == 6) {
            ASSERT_EQ(pop(queue, &out), no_error);
            ASSERT_EQ(out, value_of(number - 4));
            ASSERT_EQ(pop(stack, &out), no_error);
            ASSERT_EQ(out, value_of(number));
        }
    }
    EXPECT_EQ(usage(queue).refused_no_memory, 0U);
}

/// Every value comes out at most once; those of one producer in their order (queue).
TEST_F(QueueAndStack, lose_and_repeat_nothing_between_threads) {
    constexpr unsigned kProducers = 3;
    constexpr std::uint64_t kEach = 5000;
    for (const std::uint32_t type : {BPF_MAP_TYPE_QUEUE, BPF_MAP_TYPE_STACK}) {
        Map& map = make(sequence(type, 8));
        std::atomic<unsigned> producing{kProducers};
        std::vector<std::thread> threads;
        for (unsigned producer = 0; producer < kProducers; ++producer) {
            threads.push_back(task::task_thread([&, producer] {
                for (std::uint64_t i = 1; i <= kEach; ++i) {
                    while (push_number(map, std::uint64_t{producer} << 32 | i) ==
                           std::errc::argument_list_too_long) {
                        std::this_thread::yield();
                    }
                }
                producing.fetch_sub(1);
            }));
        }
        std::vector<std::vector<bool>> seen(kProducers, std::vector<bool>(kEach + 1));
        std::vector<std::uint64_t> last(kProducers, 0);
        std::uint64_t torn = 0;
        std::uint64_t repeated = 0;
        std::uint64_t disordered = 0;
        std::uint64_t count = 0;
        Value out{};
        while (count < kProducers * kEach) {
            if (peek(map, &out) == no_error) {
                torn += whole(out) ? 0U : 1U;
            }
            if (pop(map, &out) != no_error) {
                ASSERT_TRUE(producing.load() != 0 || usage(map).elements != 0 ||
                            count == kProducers * kEach)
                    << "only " << count << " came";
                std::this_thread::yield();
                continue;
            }
            ++count;
            torn += whole(out) ? 0U : 1U;
            const std::uint64_t producer = out[0] >> 32;
            const std::uint64_t number = out[0] & UINT32_MAX;
            ASSERT_LT(producer, kProducers);
            repeated += seen[producer][number] ? 1U : 0U;
            seen[producer][number] = true;
            disordered += number < last[producer] ? 1U : 0U;
            last[producer] = number;
        }
        for (std::thread& thread : threads) {
            thread.join();
        }
        EXPECT_EQ(torn, 0U);
        EXPECT_EQ(repeated, 0U);
        if (type == BPF_MAP_TYPE_QUEUE) {
            EXPECT_EQ(disordered, 0U);
        }
        EXPECT_EQ(usage(map).elements, 0U);
        EXPECT_EQ(usage(map).refused_no_memory, 0U);
    }
}

/// BPF_EXIST never makes room that another push finds, and never fails.
TEST_F(QueueAndStack, stay_full_while_threads_push_over_the_oldest) {
    for (const std::uint32_t type : {BPF_MAP_TYPE_QUEUE, BPF_MAP_TYPE_STACK}) {
        Map& map = make(sequence(type, 4));
        for (std::uint64_t number = 0; number < 4; ++number) {
            ASSERT_EQ(push_number(map, number), no_error);
        }
        std::atomic<std::uint64_t> wrong{0};
        std::vector<std::thread> threads;
        for (std::uint64_t thread = 0; thread < 3; ++thread) {
            threads.push_back(task::task_thread([&, thread] {
                for (std::uint64_t i = 0; i < 5000; ++i) {
                    Value out{};
                    wrong += push_number(map, thread << 32 | i, BPF_EXIST) == no_error ? 0U : 1U;
                    wrong += push_number(map, i) == std::errc::argument_list_too_long ? 0U : 1U;
                    wrong += peek(map, &out) == no_error && whole(out) ? 0U : 1U;
                    wrong += usage(map).elements == 4 ? 0U : 1U;
                }
            }));
        }
        for (std::thread& thread : threads) {
            thread.join();
        }
        EXPECT_EQ(wrong.load(), 0U);
    }
}

// ---- An event after each instruction, and a death -----------------------------------------------

template <bool kQueue>
struct Sequence {
    using Model = std::deque<std::uint64_t>;
    static constexpr std::size_t kEntries = 2;
    static constexpr std::uint64_t kError = std::uint64_t{1} << 32;

    struct Operation {
        enum class Kind { push, push_over, pop, peek } kind;
        std::uint64_t number = 0;
        std::uint64_t outcome = 0;  ///< The value that came out, or an error above kError.

        void run(Map& map) noexcept {
            const task::ReadSection sleepable(*task::current(), sync::Flavour::sleepable);
            Value value = value_of(number);
            std::errc error = no_error;
            switch (kind) {
            case Kind::push:
            case Kind::push_over:
                error = map::push(map, &value, kind == Kind::push ? BPF_ANY : BPF_EXIST);
                break;
            case Kind::pop:
                error = map::pop(map, &value);
                break;
            case Kind::peek:
                error = map::peek(map, &value);
            }
            outcome = error != no_error ? kError + static_cast<std::uint64_t>(error)
                      : whole(value)    ? value[0]
                                        : UINT64_MAX;
        }
    };
    static void specify(Model& model, Operation& operation) {
        using Kind = typename Operation::Kind;
        const bool takes = operation.kind == Kind::pop || operation.kind == Kind::peek;
        if (takes && model.empty()) {
            operation.outcome =
                kError + static_cast<std::uint64_t>(std::errc::no_such_file_or_directory);
        } else if (takes) {
            operation.outcome = kQueue ? model.front() : model.back();
            if (operation.kind == Kind::pop) {
                kQueue ? model.pop_front() : model.pop_back();
            }
        } else if (model.size() == kEntries && operation.kind == Kind::push) {
            operation.outcome =
                kError + static_cast<std::uint64_t>(std::errc::argument_list_too_long);
        } else {
            if (model.size() == kEntries) {
                model.pop_front();
            }
            model.push_back(operation.number);
            operation.outcome = operation.number;
        }
    }
    static void fill(Map& map, const Model& model) {
        Value out{};
        while (pop(map, &out) == no_error) {
        }
        for (const std::uint64_t number : model) {
            ASSERT_EQ(push_number(map, number), no_error);
        }
    }
    /// Takes all out and puts it back.
    static Model content(Map& map) {
        Model found;
        Value out{};
        while (pop(map, &out) == no_error) {
            EXPECT_TRUE(whole(out));
            kQueue ? found.push_back(out[0]) : found.push_front(out[0]);
        }
        EXPECT_EQ(usage(map).elements, 0U);
        for (std::uint64_t i = 0; i < 2; ++i) {
            EXPECT_EQ(push_number(map, i), no_error);
        }
        EXPECT_EQ(push_number(map, 9), std::errc::argument_list_too_long);
        for (std::uint64_t i = 0; i < 2; ++i) {
            EXPECT_EQ(pop(map, &out), no_error);
        }
        for (const std::uint64_t number : found) {
            EXPECT_EQ(push_number(map, number), no_error);
        }
        EXPECT_EQ(usage(map).refused_no_memory, 0U);
        return found;
    }
};

template <bool kQueue>
class SteppedSequence : public SteppedMap<Sequence<kQueue>> {
protected:
    using Base = SteppedMap<Sequence<kQueue>>;
    using Operation = typename Base::Operation;
    using Kind = typename Operation::Kind;

    static constexpr std::uint32_t kType = kQueue ? BPF_MAP_TYPE_QUEUE : BPF_MAP_TYPE_STACK;
    const std::vector<typename Base::Model> starts_ = {{}, {1}, {1, 2}};
    const std::vector<Operation> operations_ = {
        {Kind::push, 100}, {Kind::push_over, 101}, {Kind::pop}, {Kind::peek}};
    const std::vector<Operation> events_ = {
        {Kind::push, 200}, {Kind::push_over, 201}, {Kind::pop}, {Kind::peek}};

    void interrupt_all() {
        Map& map = MapTest::make(sequence(kType, 2));
        Base::interrupt({&map}, starts_, operations_, events_, 61);
    }
    void kill_all() {
        Map& map = MapTest::make(sequence(kType, 2));
        Base::kill_in(map, starts_, operations_, 37);
    }
};

using SteppedQueue = SteppedSequence<true>;
using SteppedStack = SteppedSequence<false>;

TEST_F(SteppedQueue, and_the_event_happen_one_after_the_other) { interrupt_all(); }
TEST_F(SteppedStack, and_the_event_happen_one_after_the_other) { interrupt_all(); }
TEST_F(SteppedQueue, is_as_before_or_as_after_a_death) { kill_all(); }
TEST_F(SteppedStack, is_as_before_or_as_after_a_death) { kill_all(); }

}  // namespace
}  // namespace taskwork::map
