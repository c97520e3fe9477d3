// SPDX-License-Identifier: Apache-2.0
#include "map/stack_trace.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <thread>
#include <vector>

#include "map/test_steps.hpp"
#include "map/value.hpp"

namespace taskwork::map {
namespace {

using Stack = std::vector<std::uint64_t>;
constexpr std::uint32_t kDepth = 4;

MapSpec stacks(std::uint32_t entries) {
    MapSpec spec;
    spec.type = BPF_MAP_TYPE_STACK_TRACE;
    spec.key_size = 4;
    spec.value_size = kDepth * 8;
    spec.max_entries = entries;
    return spec;
}
long store(Map& map, const Stack& stack, std::uint64_t flags = 0) noexcept {
    std::uint64_t* room = stack_claim(map, task::current()->process);
    if (room == nullptr) {
        return -ENOMEM;
    }
    // By atomic words: readers may still look at what was here.
    copy_bytes(room, stack.data(), stack.size() * sizeof(room[0]));
    return stack_store(map, room, static_cast<std::uint32_t>(stack.size()), flags);
}
/// Without the zeros behind it; empty: none is there.
Stack stored(Map& map, std::uint32_t id) {
    Stack stack(kDepth, 99);
    if (lookup_copy(map, &id, stack.data(), 0) != no_error) {
        return {};
    }
    while (!stack.empty() && stack.back() == 0) {
        stack.pop_back();
    }
    return stack;
}

class StackTraces : public MapTest {};

TEST_F(StackTraces, get_the_same_id_for_the_same_stack) {
    Map& map = make(stacks(1024));
    const long first = store(map, {1, 2, 3});
    ASSERT_GE(first, 0);
    EXPECT_EQ(store(map, {1, 2, 3}), first);
    EXPECT_EQ(store(map, {1, 2, 3}, BPF_F_FAST_STACK_CMP), first);
    EXPECT_EQ(store(map, {1, 2, 3}, BPF_F_REUSE_STACKID), first);
    const long second = store(map, {1, 2, 3, 4});
    ASSERT_GE(second, 0);
    EXPECT_NE(second, first);
    EXPECT_EQ(stored(map, static_cast<std::uint32_t>(first)), (Stack{1, 2, 3}));
    EXPECT_EQ(stored(map, static_cast<std::uint32_t>(second)), (Stack{1, 2, 3, 4}));
    EXPECT_EQ(usage(map).elements, 2U);
    EXPECT_EQ(store(map, {}), -EFAULT);
}

TEST_F(StackTraces, share_buckets_only_by_replacement) {
    Map& map = make(stacks(1));
    EXPECT_EQ(store(map, {1}), 0);
    EXPECT_EQ(store(map, {2}), -EEXIST);
    EXPECT_EQ(stored(map, 0), Stack{1});
    // Many more than there are items: what is replaced comes back.
    for (std::uint64_t i = 2; i < 1000; ++i) {
        ASSERT_EQ(store(map, {i, i}, BPF_F_REUSE_STACKID), 0);
        ASSERT_EQ(stored(map, 0), (Stack{i, i}));
        ASSERT_EQ(store(map, {1}), -EEXIST);
    }
    EXPECT_EQ(usage(map).refused_no_memory, 0U);
}

TEST_F(StackTraces, are_walked_and_deleted_by_users_and_nothing_else) {
    Map& map = make(stacks(16));
    const std::uint32_t key = 3;
    Stack value(kDepth, 1);
    EXPECT_EQ(lookup(map, &key), nullptr);
    EXPECT_FALSE(has_keys(map));
    EXPECT_EQ(update(map, &key, value.data(), BPF_ANY), std::errc::invalid_argument);
    const std::uint32_t outside = 16;
    EXPECT_EQ(remove(map, &outside), std::errc::argument_list_too_long);
    EXPECT_EQ(remove(map, &key), std::errc::no_such_file_or_directory);
    std::vector<std::uint32_t> ids;
    for (std::uint64_t i = 1; ids.size() < 5; ++i) {
        if (const long id = store(map, {i}); id >= 0) {
            ids.push_back(static_cast<std::uint32_t>(id));
        }
    }
    std::sort(ids.begin(), ids.end());
    std::uint32_t next = 0;
    const void* from = nullptr;
    for (const std::uint32_t id : ids) {
        ASSERT_EQ(next_key(map, from, &next), no_error);
        EXPECT_EQ(next, id);
        from = &next;
    }
    EXPECT_EQ(next_key(map, from, &next), std::errc::no_such_file_or_directory);
    EXPECT_EQ(next_key(map, &outside, &next), no_error);
    EXPECT_EQ(next, ids.front());
    for (const std::uint32_t id : ids) {
        const Stack before = stored(map, id);
        if (id == ids.front()) {
            EXPECT_EQ(lookup_and_remove(map, &id, value.data(), 0), no_error);
            EXPECT_EQ(value, (Stack{before.front(), 0, 0, 0}));
            EXPECT_EQ(lookup_and_remove(map, &id, value.data(), 0),
                      std::errc::no_such_file_or_directory);
        } else {
            EXPECT_EQ(remove(map, &id), no_error);
        }
        EXPECT_TRUE(stored(map, id).empty());
    }
    EXPECT_EQ(usage(map).elements, 0U);
}

/// A stack is one that was put in, never parts of two.
TEST_F(StackTraces, are_whole_while_threads_replace_them) {
    Map& map = make(stacks(1));
    ASSERT_EQ(store(map, {1, 1, 1, 1}), 0);
    std::atomic<unsigned> running{3};
    std::vector<std::thread> threads;
    for (std::uint64_t thread = 1; thread <= 3; ++thread) {
        threads.push_back(task::task_thread([&, thread] {
            for (std::uint64_t i = 0; i < 5000; ++i) {
                const std::uint64_t mark = thread << 32 | i;
                EXPECT_EQ(store(map, {mark, mark, mark, mark}, BPF_F_REUSE_STACKID), 0);
            }
            running.fetch_sub(1);
        }));
    }
    std::uint64_t torn = 0;
    while (running.load() != 0) {
        const Stack found = stored(map, 0);
        torn += found == Stack(kDepth, found.empty() ? 0 : found[0]) ? 0U : 1U;
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(torn, 0U);
    EXPECT_EQ(usage(map).refused_no_memory, 0U);
    EXPECT_EQ(usage(map).elements, 1U);
}

// ---- An event after each instruction, and a death -----------------------------------------------

/// One bucket: every stack meets every other.
struct OneBucket {
    using Model = Stack;

    struct Operation {
        std::uint64_t number;
        std::uint64_t flags;
        enum class Kind { store, remove, take, copy } kind = Kind::store;
        long outcome = 0;  ///< Of what a user gets the stack's number.

        void run(Map& map) noexcept {
            if (kind == Kind::store) {
                run_store(map);
                return;
            }
            const std::uint32_t id = 0;
            std::uint64_t seen[kDepth] = {};
            outcome = negative_errno(kind == Kind::remove ? map::remove(map, &id)
                                     : kind == Kind::take ? lookup_and_remove(map, &id, seen, 0)
                                                          : lookup_copy(map, &id, seen, 0));
            if (kind != Kind::remove && outcome == 0) {
                outcome = seen[1] == ~seen[0] ? static_cast<long>(seen[0]) : -EIO;
            }
        }
        void run_store(Map& map) noexcept {
            std::uint64_t* room = stack_claim(map, task::current()->process);
            if (room == nullptr) {
                outcome = -ENOMEM;
                return;
            }
            room[0] = number;
            room[1] = ~number;
            outcome = stack_store(map, room, 2, flags);
        }
    };
    static void specify(Model& model, Operation& operation) {
        const Stack wanted{operation.number, ~operation.number};
        operation.outcome = 0;
        using Kind = Operation::Kind;
        if (operation.kind != Kind::store) {
            const bool gets = !model.empty() && operation.kind != Kind::remove;
            operation.outcome = gets ? static_cast<long>(model[0]) : model.empty() ? -ENOENT : 0;
            model = operation.kind == Kind::copy ? model : Stack{};
            return;
        }
        if (model.empty() || (operation.flags & BPF_F_REUSE_STACKID) != 0) {
            model = wanted;
        } else if (model != wanted) {
            operation.outcome = -EEXIST;
        }
    }
    static void fill(Map& map, const Model& model) {
        const std::uint32_t id = 0;
        remove(map, &id);
        if (!model.empty()) {
            ASSERT_EQ(store(map, model), 0);
        }
    }
    /// All items but the stored one are free: as many can be claimed as before anything happened.
    static Model content(Map& map) {
        const Model found = stored(map, 0);
        std::vector<std::uint64_t*> rooms;
        while (std::uint64_t* room = stack_claim(map, task::current()->process)) {
            rooms.push_back(room);
        }
        EXPECT_EQ(rooms.size(), found.empty() ? 65U : 64U);
        for (std::uint64_t* room : rooms) {
            stack_store(map, room, 0, 0);
        }
        return found;
    }
};

using SteppedStacks = SteppedMap<OneBucket>;

TEST_F(SteppedStacks, and_the_event_happen_one_after_the_other) {
    Map& map = make(stacks(1));
    using Kind = OneBucket::Operation::Kind;
    interrupt({&map}, {{}, {1, ~1ULL}},
              {{100, 0},
               {100, BPF_F_REUSE_STACKID},
               {0, 0, Kind::remove},
               {0, 0, Kind::take},
               {0, 0, Kind::copy}},
              {{200, 0}, {200, BPF_F_REUSE_STACKID}, {100, 0}}, 43);
}

/// Only the host removes, and does not outlive that.
TEST_F(SteppedStacks, are_as_before_or_as_after_a_death) {
    Map& map = make(stacks(1));
    using Kind = OneBucket::Operation::Kind;
    kill_in(map, {{}, {1, ~1ULL}}, {{100, 0}, {100, BPF_F_REUSE_STACKID}, {0, 0, Kind::copy}}, 43);
}

}  // namespace
}  // namespace taskwork::map
