// SPDX-License-Identifier: Apache-2.0
//
// Maps whose values hold a task-work slot or a spin lock.
#include <gtest/gtest.h>

#include <array>
#include <utility>

#include "map/test_map.hpp"
#include "map/value.hpp"

namespace taskwork::map {
namespace {

struct Value {
    std::uint64_t first;
    std::uint64_t slot;
    std::uint32_t lock;
    std::uint32_t last;
};

MapSpec with_fields(MapSpec spec) {
    spec.value_size = sizeof(Value);
    spec.fields.task_work = offsetof(Value, slot);
    spec.fields.spin_lock = offsetof(Value, lock);
    return spec;
}

class SpecialFields : public MapTest {
protected:
    static Value out(Map& map, std::uint64_t key, std::uint64_t flags = 0) {
        const Sections sections;
        Value value{};
        EXPECT_EQ(lookup_copy(map, &key, &value, flags), no_error);
        return value;
    }
    static std::uint64_t slot_word(Map& map, void* value) {
        return task_work_slot(map, value)->word.load(std::memory_order_acquire);
    }
    Map& hash_map_ = make(with_fields(hash(4)));
    Map& array_map_ = make(with_fields(array(4)));
};

// K80.
TEST_F(SpecialFields, are_refused_where_the_kernel_refuses_them) {
    EXPECT_EQ(refused(with_fields(spec(BPF_MAP_TYPE_HASH, 8, 8, 4, BPF_F_NO_PREALLOC))), no_error);
    EXPECT_EQ(refused(with_fields(spec(BPF_MAP_TYPE_HASH, 8, 8, 4, BPF_F_RDONLY))), no_error);
    EXPECT_EQ(refused(with_fields(spec(BPF_MAP_TYPE_HASH, 8, 8, 4, BPF_F_RDONLY_PROG))),
              std::errc::permission_denied);
    EXPECT_EQ(refused(with_fields(spec(BPF_MAP_TYPE_ARRAY, 4, 8, 4, BPF_F_WRONLY_PROG))),
              std::errc::permission_denied);
    EXPECT_EQ(refused(with_fields(spec(BPF_MAP_TYPE_ARRAY, 4, 8, 4, BPF_F_MMAPABLE))), no_error);
    EXPECT_EQ(refused(with_fields(spec(BPF_MAP_TYPE_RINGBUF, 0, 0, 4096))),
              std::errc::invalid_argument);
    MapSpec misaligned = with_fields(hash(4));
    misaligned.fields.task_work = 12;
    EXPECT_EQ(refused(misaligned), std::errc::invalid_argument);
    MapSpec outside = with_fields(hash(4));
    outside.fields.task_work = 24;
    EXPECT_EQ(refused(outside), std::errc::invalid_argument);
}

// K84, K85.
TEST_F(SpecialFields, are_ignored_on_update_and_zero_on_lookup) {
    const Value garbage{1, 0xdeaddeaddeaddead, 0xdeaddead, 2};
    for (Map* map : {&hash_map_, &array_map_}) {
        const Sections sections;
        const std::uint64_t key = 1;
        for (int i = 0; i < 2; ++i) {  // new, then present
            ASSERT_EQ(update(*map, &key, &garbage, BPF_ANY), no_error);
            auto* in_place = static_cast<Value*>(lookup(*map, &key));
            EXPECT_EQ(in_place->slot, 0U);
            EXPECT_EQ(in_place->lock, 0U);
            EXPECT_EQ(in_place->first, 1U);
            EXPECT_EQ(in_place->last, 2U);
        }
        ASSERT_EQ(schedule(*map, lookup(*map, &key)), no_error);
        EXPECT_NE(static_cast<Value*>(lookup(*map, &key))->slot, 0U);
        for (std::uint64_t flags : {std::uint64_t{0}, std::uint64_t{BPF_F_LOCK}}) {
            const Value seen = out(*map, 1, flags);
            EXPECT_EQ(seen.first, 1U);
            EXPECT_EQ(seen.slot, 0U);
            EXPECT_EQ(seen.lock, 0U);
            EXPECT_EQ(seen.last, 2U);
        }
    }
}

// K86, K41.
TEST_F(SpecialFields, array_update_cancels_and_the_slot_can_be_scheduled_at_once) {
    const Value value{};
    const std::uint32_t key = 2;
    {
        const Sections sections;
        void* element = lookup(array_map_, &key);
        ASSERT_EQ(schedule(array_map_, element), no_error);
        EXPECT_EQ(schedule(array_map_, element), std::errc::device_or_resource_busy);
        ASSERT_EQ(update(array_map_, &key, &value, BPF_ANY), no_error);
        EXPECT_EQ(schedule(array_map_, element), no_error);
    }
    EXPECT_EQ(runs(), 1);
}

// K87.
TEST_F(SpecialFields, array_update_under_the_lock_cancels_too) {
    const Value value{};
    const std::uint32_t key = 2;
    {
        const Sections sections;
        ASSERT_EQ(schedule(array_map_, lookup(array_map_, &key)), no_error);
        ASSERT_EQ(update(array_map_, &key, &value, BPF_F_LOCK), no_error);
    }
    EXPECT_EQ(runs(), 0);
}

// K88, K91.
TEST_F(SpecialFields, what_is_refused_cancels_nothing) {
    const Value value{};
    const std::uint64_t key = 2;
    ASSERT_EQ(put(hash_map_, 2, 0), no_error);
    {
        const Sections sections;
        ASSERT_EQ(schedule(array_map_, lookup(array_map_, &key)), no_error);
        EXPECT_EQ(remove(array_map_, &key), std::errc::invalid_argument);
        EXPECT_EQ(update(array_map_, &key, &value, BPF_NOEXIST), std::errc::file_exists);
        ASSERT_EQ(schedule(hash_map_, lookup(hash_map_, &key)), no_error);
        EXPECT_EQ(update(hash_map_, &key, &value, BPF_NOEXIST), std::errc::file_exists);
    }
    EXPECT_EQ(runs(), 2);
}

// K89.
TEST_F(SpecialFields, hash_replacement_cancels_the_old_and_starts_with_an_empty_slot) {
    const Value value{};
    const std::uint64_t key = 2;
    {
        const Sections sections;
        ASSERT_EQ(update(hash_map_, &key, &value, BPF_ANY), no_error);
        void* old = lookup(hash_map_, &key);
        ASSERT_EQ(schedule(hash_map_, old), no_error);
        ASSERT_EQ(update(hash_map_, &key, &value, BPF_EXIST), no_error);
        EXPECT_NE(lookup(hash_map_, &key), old);
        EXPECT_EQ(slot_word(hash_map_, lookup(hash_map_, &key)), 0U);
        // K96.
        EXPECT_EQ(schedule(hash_map_, old), std::errc::no_such_file_or_directory);
        EXPECT_EQ(schedule(hash_map_, lookup(hash_map_, &key)), no_error);
    }
    EXPECT_EQ(runs(), 1);
}

// K90.
TEST_F(SpecialFields, hash_update_under_the_lock_is_in_place_and_cancels_nothing) {
    const Value value{7, 0, 0, 8};
    const std::uint64_t key = 2;
    {
        const Sections sections;
        EXPECT_EQ(update(hash_map_, &key, &value, BPF_F_LOCK | BPF_EXIST),
                  std::errc::no_such_file_or_directory);
        ASSERT_EQ(update(hash_map_, &key, &value, BPF_F_LOCK), no_error);
        EXPECT_EQ(update(hash_map_, &key, &value, BPF_F_LOCK | BPF_NOEXIST),
                  std::errc::file_exists);
        void* element = lookup(hash_map_, &key);
        ASSERT_EQ(schedule(hash_map_, element), no_error);
        ASSERT_EQ(update(hash_map_, &key, &value, BPF_F_LOCK), no_error);
        EXPECT_EQ(lookup(hash_map_, &key), element);
        EXPECT_EQ(schedule(hash_map_, element), std::errc::device_or_resource_busy);
    }
    EXPECT_EQ(runs(), 1);
    EXPECT_EQ(out(hash_map_, 2).first, 7U);
}

TEST_F(SpecialFields, a_value_locked_by_the_code_below_is_refused_as_busy) {
    const Value value{};
    const Sections sections;
    const std::uint64_t key = 2;
    ASSERT_EQ(update(hash_map_, &key, &value, BPF_ANY), no_error);
    for (Map* map : {&hash_map_, &array_map_}) {
        void* element = lookup(*map, &key);
        ASSERT_EQ(lock_value(*map, element), no_error);
        Value seen{};
        EXPECT_EQ(update(*map, &key, &value, BPF_F_LOCK), std::errc::device_or_resource_busy);
        EXPECT_EQ(lookup_copy(*map, &key, &seen, BPF_F_LOCK), std::errc::device_or_resource_busy);
        unlock_value(*map, element);
        EXPECT_EQ(update(*map, &key, &value, BPF_F_LOCK), no_error);
    }
}

// A resilient lock is a special field as the others are, but for BPF_F_LOCK, which is not for it.
TEST_F(SpecialFields, resilient_locks_are_not_copied_and_not_taken_by_users) {
    for (MapSpec spec : {with_fields(hash(4)), with_fields(array(4))}) {
        std::swap(spec.fields.spin_lock, spec.fields.res_spin_lock);
        Map& map = make(spec);
        const Sections sections;
        const std::uint64_t key = 1;
        const Value garbage{1, 2, 0xdeaddead, 3};
        Value seen{9, 9, 9, 9};
        ASSERT_EQ(update(map, &key, &garbage, BPF_ANY), no_error);
        EXPECT_EQ(static_cast<Value*>(lookup(map, &key))->lock, 0U);
        ASSERT_EQ(lookup_copy(map, &key, &seen, 0), no_error);
        EXPECT_EQ(seen.first, 1U);
        EXPECT_EQ(seen.lock, 0U);
        EXPECT_EQ(seen.last, 3U);
        EXPECT_EQ(update(map, &key, &garbage, BPF_F_LOCK), std::errc::invalid_argument);
        EXPECT_EQ(lookup_copy(map, &key, &seen, BPF_F_LOCK), std::errc::invalid_argument);
        EXPECT_EQ(freeze(map), errc_kernel_notsupp);
        const auto in_value = [&map](void* value, std::size_t offset, std::size_t bytes) {
            return may_access_value(map, reinterpret_cast<std::uintptr_t>(value) + offset, bytes);
        };
        EXPECT_FALSE(in_value(lookup(map, &key), offsetof(Value, lock), 4));
        EXPECT_TRUE(in_value(lookup(map, &key), offsetof(Value, last), 4));
    }
}

// K92.
TEST_F(SpecialFields, hash_deletion_cancels_and_returns_a_zero_slot) {
    const Value value{5, 0, 0, 6};
    {
        const Sections sections;
        for (std::uint64_t key : {1U, 2U}) {
            ASSERT_EQ(update(hash_map_, &key, &value, BPF_ANY), no_error);
            void* element = lookup(hash_map_, &key);
            ASSERT_EQ(schedule(hash_map_, element), no_error);
            Value seen{9, 9, 9, 9};
            ASSERT_EQ(key == 1 ? remove(hash_map_, &key)
                               : lookup_and_remove(hash_map_, &key, &seen, 0),
                      no_error);
            if (key == 2) {
                EXPECT_EQ(seen.first, 5U);
                EXPECT_EQ(seen.slot, 0U);
                EXPECT_EQ(seen.lock, 0U);
                EXPECT_EQ(seen.last, 6U);
            }
            // K96.
            EXPECT_EQ(schedule(hash_map_, element), std::errc::no_such_file_or_directory);
        }
    }
    EXPECT_EQ(runs(), 0);
}

// K94.
TEST_F(SpecialFields, iteration_and_lookup_leave_works_alone) {
    const std::uint64_t key = 1;
    ASSERT_EQ(put(hash_map_, 1, 0), no_error);
    {
        const Sections sections;
        ASSERT_EQ(schedule(hash_map_, lookup(hash_map_, &key)), no_error);
        std::uint64_t next = 0;
        EXPECT_EQ(next_key(hash_map_, nullptr, &next), no_error);
        const auto nothing = [](const void*, void*, void*) noexcept -> long { return 0; };
        EXPECT_EQ(for_each(hash_map_, nothing, nullptr), 1);
        Value seen{};
        EXPECT_EQ(lookup_copy(hash_map_, &key, &seen, 0), no_error);
    }
    EXPECT_EQ(runs(), 1);
}

// K95.
TEST_F(SpecialFields, recycled_elements_start_with_an_empty_slot) {
    const Value value{};
    for (int i = 0; i < 300; ++i) {
        {
            const Sections sections;
            const std::uint64_t key = 1;
            ASSERT_EQ(update(hash_map_, &key, &value, BPF_ANY), no_error);
            void* element = lookup(hash_map_, &key);
            ASSERT_EQ(slot_word(hash_map_, element), 0U) << i;
            ASSERT_EQ(schedule(hash_map_, element), no_error) << i;
            ASSERT_EQ(remove(hash_map_, &key), no_error);
        }
        if (i % 50 == 49) {
            task::wait_until([&] { return usage(hash_map_).waiting == 0; });
        }
    }
    EXPECT_EQ(runs(), 0);
    const defer::WorkCounts counts = defer::counts(hash_map_.works);
    EXPECT_EQ(counts.scheduled, 300U);
    EXPECT_EQ(counts.cancelled + counts.dropped, 300U);
}

// K97, K11, K12.
TEST_F(SpecialFields, the_last_user_takes_all_works_with_him) {
    const Value value{};
    for (Map* map : {&hash_map_, &array_map_}) {
        get_reference(*map);
        {
            const Sections sections;
            for (std::uint64_t key = 0; key < 4; ++key) {
                ASSERT_EQ(update(*map, &key, &value, BPF_ANY), no_error);
                ASSERT_EQ(schedule(*map, lookup(*map, &key)), no_error);
            }
            put_user(*map);
            const std::uint64_t key = 0;
            EXPECT_EQ(schedule(*map, lookup(*map, &key)), std::errc::device_or_resource_busy);
            EXPECT_EQ(slot_word(*map, lookup(*map, &key)), 0U);
            get_user(*map);
            EXPECT_EQ(schedule(*map, lookup(*map, &key)), no_error);
            put_user(*map);
        }
        EXPECT_EQ(runs(), 0);
        EXPECT_EQ(defer::counts(map->works).in_flight, 0U);
        put_reference(*map);
    }
}

// K98.
TEST_F(SpecialFields, the_last_user_beside_schedules_leaves_no_work_behind) {
    constexpr int kRounds = 50;
    constexpr std::uint32_t kEntries = 64;
    for (int round = 0; round < kRounds; ++round) {
        Map& map = make(with_fields(array(kEntries)));
        get_reference(map);
        std::atomic<bool> started{false};
        std::atomic<bool> left{false};
        std::thread scheduler = task::task_thread([&] {
            // One section, so that nothing runs; updates make room for further schedules.
            const Sections sections;
            const Value value{};
            bool last_pass = false;
            while (!last_pass) {
                last_pass = left.load(std::memory_order_acquire);
                for (std::uint32_t key = 0; key < kEntries; ++key) {
                    const std::errc result = schedule(map, lookup(map, &key));
                    if (last_pass) {
                        EXPECT_NE(result, no_error);
                    } else {
                        EXPECT_TRUE(result == no_error ||
                                    result == std::errc::device_or_resource_busy ||
                                    result == std::errc::not_enough_memory);
                        if (key % 2 == 0) {
                            EXPECT_EQ(update(map, &key, &value, BPF_ANY), no_error);
                        }
                    }
                }
                started.store(true, std::memory_order_release);
            }
        });
        task::wait_until([&] { return started.load(std::memory_order_acquire); });
        put_user(map);
        left.store(true, std::memory_order_release);
        scheduler.join();
        EXPECT_EQ(runs(), 0);
        EXPECT_EQ(defer::counts(map.works).in_flight, 0U);
        {
            const Sections sections;
            for (std::uint32_t key = 0; key < kEntries; ++key) {
                EXPECT_EQ(slot_word(map, lookup(map, &key)), 0U);
            }
        }
        put_reference(map);
    }
}

// K99.
TEST_F(SpecialFields, a_map_outlives_the_callback_that_names_it) {
    static std::atomic<bool> entered;
    static std::atomic<bool> leave;
    entered.store(false);
    leave.store(false);
    defer::set_callback_runner(defer::kCallbackTest,
                               [](task::Task&, const defer::Callback&) noexcept {
                                   entered.store(true, std::memory_order_release);
                                   while (!leave.load(std::memory_order_acquire)) {
                                       std::this_thread::yield();
                                   }
                               });
    Map* map = &array_map_;
    std::thread target = task::task_thread([map] {
        const Sections sections;
        const std::uint32_t key = 0;
        EXPECT_EQ(schedule(*map, lookup(*map, &key)), no_error);
    });
    task::wait_until([&] { return entered.load(std::memory_order_acquire); });
    const std::uint64_t before = sync::GracePeriods::get().epoch();
    put_user(*map);
    // The worker has begun the grace period after which it would free the map.
    task::wait_until([&] { return sync::GracePeriods::get().epoch() > before; });
    EXPECT_NE(sync::Pool::load(map).state(), sync::kStateFree);
    leave.store(true, std::memory_order_release);
    target.join();
    task::wait_until([&] { return sync::Pool::load(map).state() == sync::kStateFree; });
}

}  // namespace
}  // namespace taskwork::map
