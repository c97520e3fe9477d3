// SPDX-License-Identifier: Apache-2.0
//
// Maps whose values have special fields, under a crowd of threads and events (crowd.hpp). Works are
// scheduled, cancelled, and lose their elements; each ends once, and no context is lost. Values are
// written under their locks: by BPF_F_LOCK, and in regions as programs make them; nobody sees half
// of one, and no update is lost.
#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <string>

#include "map/spin_lock.hpp"
#include "map/test_map.hpp"
#include "map/value.hpp"
#include "tests/maps/crowd.hpp"

namespace taskwork::maps {
namespace {

using map::Map;
using test::Random;

constexpr std::uint32_t kEntries = 6;  ///< Few: everybody meets everybody.
constexpr std::uint64_t kKeys = 8;

/// What a user gives and gets; special fields read as zero.
struct FieldsValue {
    Value words;
    std::uint64_t field;  ///< Slot or lock.
};
constexpr std::int32_t kField = offsetof(FieldsValue, field);

struct Subject {
    const char* name;
    std::uint32_t type;
    std::int32_t map::SpecialFields::* field;
    std::uint32_t flags = 0;
};

struct Stage {
    Map* map = nullptr;
    std::atomic<std::uint64_t> next_number{1};
    std::atomic<std::uint64_t> torn{0};
    std::atomic<std::uint64_t> done{0};  ///< Works scheduled; regions left.
    std::atomic<std::int64_t> balance{0};
};
Stage* stage = nullptr;

constexpr auto expect = Crowd::expect;

FieldsValue next_value() noexcept {
    return {value_of(stage->next_number.fetch_add(1, std::memory_order_relaxed)), 0xdead};
}
void check_whole(const FieldsValue& value) noexcept {
    stage->torn.fetch_add(is_whole(value.words) && value.field == 0 ? 0 : 1,
                          std::memory_order_relaxed);
}
std::uint64_t draw_key(const Map& map, Random& random) noexcept {
    return random.below(map.type == BPF_MAP_TYPE_ARRAY ? kEntries : kKeys);
}

// ---- Works --------------------------------------------------------------------------------------

void schedule(Map& map, void* value) noexcept {
    defer::ScheduleRequest request;
    request.target = task::current();
    request.callback = {defer::kCallbackTest, 0, nullptr, &map, value};
    request.user_count = &map.user_count;
    request.totals = &map.works;
    const std::errc result = defer::schedule(*map::task_work_slot(map, value), request);
    stage->done.fetch_add(result == no_error ? 1 : 0, std::memory_order_relaxed);
    // ENOENT: the element has been deleted meanwhile.
    expect(result, {no_error, kBusy, kNoMemory, kNone});
}

void act_on_works(Random& random, bool) noexcept {
    Map& map = *stage->map;
    const std::uint64_t key = draw_key(map, random);
    const std::uint64_t kind = random.below(8);
    if (kind == 0) {
        const FieldsValue value = next_value();
        expect(map::update(map, &key, &value, BPF_ANY), {no_error, kFull, kNoMemory});
    } else if (kind == 1) {
        expect(map::remove(map, &key), {no_error, kNone, std::errc::invalid_argument});
    } else if (void* const value = map::lookup(map, &key); value != nullptr) {
        if (kind == 2) {
            defer::cancel(*map::task_work_slot(map, value));
        } else {
            schedule(map, value);
        }
    }
}

// ---- BPF_F_LOCK ---------------------------------------------------------------------------------

/// All writes in place and all copies are under the lock.
void act_locked(Random& random, bool) noexcept {
    Map& map = *stage->map;
    const std::uint64_t key = draw_key(map, random);
    FieldsValue value = next_value();
    switch (random.below(6)) {
    case 0: {
        const std::errc result = map::update(map, &key, &value, BPF_NOEXIST | BPF_F_LOCK);
        stage->balance.fetch_add(result == no_error ? 1 : 0, std::memory_order_relaxed);
        expect(result, {no_error, std::errc::file_exists, kFull, kNoMemory, kBusy});
        break;
    }
    case 1:
    case 2:
        expect(map::update(map, &key, &value, BPF_EXIST | BPF_F_LOCK),
               {no_error, kNone, kNoMemory, kBusy});
        break;
    case 3: {
        const std::errc result = map::lookup_and_remove(map, &key, &value, BPF_F_LOCK);
        expect(result, {no_error, kNone, kBusy, errc_kernel_notsupp});
        if (result == no_error) {
            stage->balance.fetch_sub(1, std::memory_order_relaxed);
            check_whole(value);
        }
        break;
    }
    default: {
        const std::errc result = map::lookup_copy(map, &key, &value, BPF_F_LOCK);
        expect(result, {no_error, kNone, kBusy});
        if (result == no_error) {
            check_whole(value);
        }
    }
    }
}

// ---- Regions ------------------------------------------------------------------------------------

/// Not atomic: the lock is all there is. Not inlined into loops: see spin_lock_test.cpp.
[[gnu::noinline]] void change_held(FieldsValue& value) noexcept {
    if (!is_whole(value.words)) {
        stage->torn.fetch_add(1, std::memory_order_relaxed);
    }
    value.words = value_of(value.words[0] + 1);
    stage->done.fetch_add(1, std::memory_order_relaxed);
}

/// As a program does that takes the lock of a value, and now and then of another one within.
void act_in_region(Random& random, bool) noexcept {
    Map& map = *stage->map;
    map::SpinLocks& locks = map::MapTable::get().locks;
    task::Task& self = *task::current();
    const bool resilient = map.fields.res_spin_lock != map::kNoField;
    const auto enter = [&](unsigned depth, auto& again) noexcept -> void {
        const std::uint64_t key = random.below(kEntries);
        void* const value = map::lookup(map, &key);
        map::LockWord& word = *map::lock_word(map, value);
        const std::errc result =
            locks.lock(self, word, resilient ? map::kResilientLockNs : map::kSpinLockNs);
        expect(result, {no_error, std::errc::resource_deadlock_would_occur, std::errc::timed_out});
        if (result != no_error) {
            return;
        }
        change_held(*static_cast<FieldsValue*>(value));
        if (resilient && depth == 0 && random.below(4) == 0) {
            again(depth + 1, again);
        }
        locks.unlock(self, word);
    };
    enter(0, enter);
}

// ---- Tests --------------------------------------------------------------------------------------

class FieldsStress : public map::MapTest, public testing::WithParamInterface<Subject> {
protected:
    FieldsStress() {
        const Subject& subject = GetParam();
        map::MapSpec of = spec(subject.type, subject.type == BPF_MAP_TYPE_ARRAY ? 4 : 8,
                               sizeof(FieldsValue), kEntries, subject.flags);
        of.fields.*subject.field = kField;
        shared_.map = &make(of);
        stage = &shared_;
    }
    ~FieldsStress() override { stage = nullptr; }

    /// Of an array: nobody has seen the zeros that it begins with.
    void fill() {
        for (std::uint64_t key = 0; key < kEntries; ++key) {
            const FieldsValue value = next_value();
            const map::Sections sections;
            ASSERT_EQ(map::update(*shared_.map, &key, &value, BPF_ANY), no_error);
            ++shared_.balance;
        }
    }
    void expect_locks_free() {
        for (std::uint64_t key = 0; key < kKeys; ++key) {
            const map::Sections sections;
            void* const value = map::lookup(*shared_.map, &key);
            EXPECT_TRUE(value == nullptr ||
                        map::lock_word(*shared_.map, value)->load(std::memory_order_acquire) == 0);
        }
    }
    Stage shared_;
};

class WorksStress : public FieldsStress {};
TEST_P(WorksStress, ends_each_work_once_and_loses_no_context) {
    Map& map = *shared_.map;
    Crowd(act_on_works).run([] {});
    task::safe_point();
    for (std::uint64_t key = 0; key < kKeys; ++key) {
        const map::Sections sections;
        (void)map::remove(map, &key);
    }
    const defer::WorkCounts works = defer::counts(map.works);
    EXPECT_EQ(works.in_flight, 0U);
    EXPECT_EQ(works.scheduled, shared_.done.load());
    EXPECT_EQ(works.scheduled, works.ran + works.cancelled + works.dropped);
    EXPECT_EQ(works.ran, static_cast<std::uint64_t>(runs()));
    EXPECT_GT(works.ran, 0U);
    task::wait_until([&] { return map::usage(map).waiting == 0; });
    // An array keeps the contexts of its slots until its last user leaves.
    map::put_user(map);
    const sync::Pool& contexts = defer::WorkTable::get().contexts;
    task::wait_until([&] { return contexts.count_free() == contexts.count(); });
}
INSTANTIATE_TEST_SUITE_P(
    Of, WorksStress,
    testing::Values(Subject{"array", BPF_MAP_TYPE_ARRAY, &map::SpecialFields::task_work},
                    Subject{"hash", BPF_MAP_TYPE_HASH, &map::SpecialFields::task_work},
                    Subject{"hash_on_demand", BPF_MAP_TYPE_HASH, &map::SpecialFields::task_work,
                            BPF_F_NO_PREALLOC},
                    Subject{"lru_hash", BPF_MAP_TYPE_LRU_HASH, &map::SpecialFields::task_work}),
    [](const auto& instance) { return std::string(instance.param.name); });

class LockedStress : public FieldsStress {};
TEST_P(LockedStress, leaves_values_whole_and_all_locks_free) {
    Map& map = *shared_.map;
    fill();
    Crowd(act_locked).run([] {});
    EXPECT_EQ(shared_.torn.load(), 0U);
    EXPECT_EQ(static_cast<std::int64_t>(map::usage(map).elements), shared_.balance.load());
    expect_locks_free();
    task::wait_until([&] { return map::usage(map).waiting == 0; });
}
INSTANTIATE_TEST_SUITE_P(
    Of, LockedStress,
    testing::Values(Subject{"array", BPF_MAP_TYPE_ARRAY, &map::SpecialFields::spin_lock},
                    Subject{"hash", BPF_MAP_TYPE_HASH, &map::SpecialFields::spin_lock},
                    Subject{"hash_on_demand", BPF_MAP_TYPE_HASH, &map::SpecialFields::spin_lock,
                            BPF_F_NO_PREALLOC}),
    [](const auto& instance) { return std::string(instance.param.name); });

class RegionStress : public FieldsStress {};
TEST_P(RegionStress, loses_no_update) {
    for (std::uint64_t key = 0; key < kEntries; ++key) {
        const FieldsValue value{value_of(0), 0};
        const map::Sections sections;
        ASSERT_EQ(map::update(*shared_.map, &key, &value, BPF_ANY), no_error);
    }
    Crowd(act_in_region).run([] {});
    EXPECT_EQ(shared_.torn.load(), 0U);
    expect_locks_free();
    std::uint64_t sum = 0;
    for (std::uint64_t key = 0; key < kEntries; ++key) {
        const map::Sections sections;
        sum += static_cast<const FieldsValue*>(map::lookup(*shared_.map, &key))->words[0];
    }
    EXPECT_EQ(sum, shared_.done.load());
}
INSTANTIATE_TEST_SUITE_P(Of, RegionStress,
                         testing::Values(Subject{"array_spin_lock", BPF_MAP_TYPE_ARRAY,
                                                 &map::SpecialFields::spin_lock},
                                         Subject{"array_res_spin_lock", BPF_MAP_TYPE_ARRAY,
                                                 &map::SpecialFields::res_spin_lock},
                                         Subject{"hash_res_spin_lock", BPF_MAP_TYPE_HASH,
                                                 &map::SpecialFields::res_spin_lock}),
                         [](const auto& instance) { return std::string(instance.param.name); });

}  // namespace
}  // namespace taskwork::maps
