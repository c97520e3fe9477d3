// SPDX-License-Identifier: Apache-2.0
//
// Per-CPU arrays and hashes, and the numbers that programs take for processors.
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <thread>

#include "map/test_steps.hpp"

namespace taskwork::map {
namespace {

std::uint32_t processors() { return MapTable::get().processors.count(); }

class PerCpu : public MapTest {
protected:
    static MapSpec per_cpu(std::uint32_t type, std::uint32_t value_size = 8,
                           std::uint32_t entries = 4) {
        return spec(type, type == BPF_MAP_TYPE_PERCPU_ARRAY ? 4 : 8, value_size, entries);
    }
    static std::errc put_slot(Map& map, std::uint64_t key, std::uint64_t value,
                              std::uint32_t processor, std::uint64_t flags = BPF_ANY) {
        const Sections sections;
        return update_slot(map, &key, &value, flags, processor);
    }
    /// All slots, as a user gets them.
    static std::vector<std::uint64_t> slots(Map& map, std::uint64_t key) {
        std::vector<std::uint64_t> values(processors(), 999);
        EXPECT_EQ(user_value_bytes(map), values.size() * 8);
        const Sections sections;
        return lookup_copy(map, &key, values.data(), 0) == no_error ? values
                                                                    : std::vector<std::uint64_t>{};
    }
    /// 0 but for one.
    static std::vector<std::uint64_t> only(std::uint32_t processor, std::uint64_t value) {
        std::vector<std::uint64_t> values(processors(), 0);
        values[processor] = value;
        return values;
    }
};

TEST_F(PerCpu, a_program_writes_the_slot_of_its_processor) {
    const std::uint32_t last = processors() - 1;
    for (const std::uint32_t type : {BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_PERCPU_HASH}) {
        Map& map = make(per_cpu(type));
        EXPECT_TRUE(is_per_cpu(map));
        ASSERT_EQ(put_slot(map, 2, 7, last), no_error);
        EXPECT_EQ(slots(map, 2), only(last, 7));
        ASSERT_EQ(put_slot(map, 2, 8, last, BPF_EXIST), no_error);
        EXPECT_EQ(slots(map, 2), only(last, 8));
        EXPECT_EQ(put_slot(map, 2, 9, 0, BPF_NOEXIST), std::errc::file_exists);
        EXPECT_EQ(put_slot(map, 2, 9, 0, BPF_F_LOCK), std::errc::invalid_argument);
        const Sections sections;
        const std::uint64_t key = 2;
        void* first = lookup(map, &key);
        ASSERT_NE(first, nullptr);
        EXPECT_EQ(*static_cast<std::uint64_t*>(slot_of(map, first, last)), 8U);
        // A program may touch each slot, and nothing between them.
        for (std::uint32_t i = 0; i < processors(); ++i) {
            const auto slot = reinterpret_cast<std::uintptr_t>(slot_of(map, first, i));
            EXPECT_TRUE(may_access_value(map, slot, 8));
            EXPECT_EQ(value_start(map, slot + 7), slot);
            EXPECT_FALSE(may_access_value(map, slot + 1, 8));
        }
    }
}

TEST_F(PerCpu, a_user_writes_all_slots_in_place) {
    for (const std::uint32_t type : {BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_PERCPU_HASH}) {
        Map& map = make(per_cpu(type));
        std::vector<std::uint64_t> values(processors());
        const std::uint64_t key = 1;
        void* place = nullptr;
        for (std::uint64_t round = 0; round < 3; ++round) {
            for (std::uint32_t i = 0; i < processors(); ++i) {
                values[i] = round * 100 + i;
            }
            const Sections sections;
            ASSERT_EQ(update_by_user(map, &key, values.data(), BPF_ANY), no_error);
            EXPECT_TRUE(place == nullptr || place == lookup(map, &key));
            place = lookup(map, &key);
            EXPECT_EQ(slots(map, 1), values);
        }
    }
}

TEST_F(PerCpu, new_elements_of_a_hash_begin_with_zeros) {
    Map& map = make(per_cpu(BPF_MAP_TYPE_PERCPU_HASH, 8, 1));
    const std::vector<std::uint64_t> garbage(processors(), UINT64_MAX);
    // Until the memory of a deleted element comes back.
    for (std::uint64_t key = 0; key < 1500; ++key) {
        const Sections sections;
        ASSERT_EQ(update_by_user(map, &key, garbage.data(), BPF_ANY), no_error);
        ASSERT_EQ(remove(map, &key), no_error);
        if (key % 500 == 499) {
            break;
        }
    }
    task::wait_until([&] { return usage(map).waiting == 0; });
    for (std::uint64_t key = 0; key < 500; ++key) {
        ASSERT_EQ(put_slot(map, key, 5, 0), no_error);
        ASSERT_EQ(slots(map, key), only(0, 5));
        ASSERT_EQ(erase(map, key), no_error);
    }
}

TEST_F(PerCpu, have_no_special_fields_and_the_limits_of_the_kernel) {
    for (const std::uint32_t type : {BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_PERCPU_HASH}) {
        MapSpec with_slot = per_cpu(type);
        with_slot.fields.task_work = 0;
        EXPECT_EQ(refused(with_slot), std::errc::operation_not_supported);  // K80
        EXPECT_EQ(refused(per_cpu(type, 32 << 10)), no_error);
        EXPECT_EQ(refused(per_cpu(type, (32 << 10) + 1)), std::errc::argument_list_too_long);
    }
}

TEST_F(PerCpu, a_processor_is_claimed_by_one_execution_at_a_time) {
    Processors& all = MapTable::get().processors;
    std::vector<Processors::Claim> claims;
    std::vector<bool> taken(all.count());
    for (std::uint32_t i = 0; i < all.count(); ++i) {
        // Everybody finds himself on the same one.
        claims.push_back(all.claim(0, all.count() - 1));
        EXPECT_TRUE(claims.back().exclusive);
        EXPECT_FALSE(taken[claims.back().number]);
        taken[claims.back().number] = true;
    }
    EXPECT_EQ(claims.front().number, all.count() - 1);
    EXPECT_EQ(all.shared(), 0U);
    const Processors::Claim late = all.claim(0, 0);
    EXPECT_FALSE(late.exclusive);
    EXPECT_EQ(late.number, 0U);
    EXPECT_EQ(all.shared(), 1U);
    all.release(late);
    EXPECT_FALSE(all.claim(0, 0).exclusive);  // It gave back what was not its own.
    for (const Processors::Claim& claim : claims) {
        all.release(claim);
    }
    EXPECT_TRUE(all.claim(5, 0).exclusive);
    all.sweep(4);  // another's death
    EXPECT_TRUE(!all.claim(6, 0).exclusive || all.count() > 1);
    all.sweep(5);
    const Processors::Claim after = all.claim(7, 0);
    EXPECT_TRUE(after.exclusive);
    EXPECT_EQ(after.number, 0U);
    all.sweep(6);
    all.sweep(7);
}

/// What a claim is for: a plain increment between claim and release is never lost.
TEST_F(PerCpu, plain_increments_of_threads_that_claim_are_all_there) {
    Processors& all = MapTable::get().processors;
    std::vector<std::uint64_t> counters(all.count() * 8, 0);  // A line each.
    constexpr unsigned kThreads = 6;
    constexpr std::uint64_t kEach = 20'000;
    std::vector<std::thread> threads;
    std::atomic<std::uint64_t> counted{0};
    for (unsigned thread = 0; thread < kThreads; ++thread) {
        threads.push_back(task::task_thread([&] {
            for (std::uint64_t i = 0; i < kEach; ++i) {
                const Processors::Claim claim = all.claim(1, 0);
                if (claim.exclusive) {
                    ++counters[claim.number * 8];
                    counted.fetch_add(1, std::memory_order_relaxed);
                }
                all.release(claim);
            }
        }));
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    std::uint64_t sum = 0;
    for (std::uint32_t i = 0; i < all.count(); ++i) {
        sum += counters[i * 8];
    }
    EXPECT_EQ(sum, counted.load());
    EXPECT_EQ(counted.load() + all.shared(), kThreads * kEach);
}

// ---- An event after each instruction, and a death -----------------------------------------------

/// A hash of which the slots of processor 0 are looked at.
struct Slots {
    using Model = std::map<std::uint64_t, std::uint64_t>;

    struct Operation {
        enum class Kind { put, put_all, erase, take, get } kind;
        std::uint64_t key;
        std::uint64_t number = 0;
        std::uint64_t outcome = 0;

        void run(Map& map) noexcept {
            const task::ReadSection sleepable(*task::current(), sync::Flavour::sleepable);
            if (kind == Kind::put_all || kind == Kind::take) {
                users_value[0] = number;
                const std::errc error = kind == Kind::put_all
                                            ? update_by_user(map, &key, users_value.data(), BPF_ANY)
                                            : lookup_and_remove(map, &key, users_value.data(), 0);
                outcome = kind == Kind::take && error == no_error
                              ? users_value[0]
                              : static_cast<std::uint64_t>(error);
            } else if (kind == Kind::get) {
                const auto* value =
                    static_cast<const platform::Atomic<std::uint64_t>*>(lookup(map, &key));
                outcome = value == nullptr ? UINT64_MAX : value->load(std::memory_order_relaxed);
            } else {
                outcome = static_cast<std::uint64_t>(
                    kind == Kind::put ? update_slot(map, &key, &number, BPF_ANY, 0)
                                      : remove(map, &key));
            }
        }
    };
    static void specify(Model& model, Operation& operation) {
        const bool present = model.count(operation.key) != 0;
        operation.outcome = 0;
        switch (operation.kind) {
        case Operation::Kind::put:
        case Operation::Kind::put_all:
            model[operation.key] = operation.number;
            break;
        case Operation::Kind::erase:
        case Operation::Kind::take:
            operation.outcome =
                !present ? static_cast<std::uint64_t>(std::errc::no_such_file_or_directory)
                : operation.kind == Operation::Kind::take ? model[operation.key]
                                                          : 0;
            model.erase(operation.key);
            break;
        case Operation::Kind::get:
            operation.outcome = present ? model[operation.key] : UINT64_MAX;
        }
    }
    static void fill(Map& map, const Model& model) {
        const Sections sections;
        for (std::uint64_t key = 1; key <= 2; ++key) {
            remove(map, &key);
        }
        for (const auto& [key, value] : model) {
            ASSERT_EQ(update_slot(map, &key, &value, BPF_ANY, 0), no_error);
        }
    }
    static Model content(Map& map) {
        Model found;
        const Sections sections;
        for (std::uint64_t key = 1; key <= 2; ++key) {
            if (const void* value = lookup(map, &key)) {
                found[key] = *static_cast<const std::uint64_t*>(value);
            }
        }
        EXPECT_EQ(usage(map).elements, found.size());
        return found;
    }
    /// What users give and get, all slots. They are no handlers.
    static inline std::vector<std::uint64_t> users_value;
};

class SteppedPerCpuHash : public SteppedMap<Slots> {
protected:
    using Kind = Operation::Kind;
    void SetUp() override {
        SteppedMap<Slots>::SetUp();
        Slots::users_value.assign(MapTable::get().processors.count(), 0);
    }
    /// An overwrite in place is gone if the event deletes the element that it writes into, as in
    /// the kernel; that is one of the two orders.
    const std::vector<Model> starts_ = {{}, {{1, 10}}};
    const std::vector<Operation> operations_ = {{Kind::put, 1, 100},
                                                {Kind::put_all, 1, 101},
                                                {Kind::erase, 1},
                                                {Kind::take, 1},
                                                {Kind::get, 1}};
};

TEST_F(SteppedPerCpuHash, and_the_event_happen_one_after_the_other) {
    std::vector<Map*> maps;
    for (int i = 0; i < 8; ++i) {
        maps.push_back(&make(spec(BPF_MAP_TYPE_PERCPU_HASH, 8, 8, 3)));
    }
    interrupt(maps, starts_, operations_,
              {{Kind::put, 1, 200}, {Kind::erase, 1}, {Kind::get, 1}, {Kind::put, 2, 201}}, 97);
}

TEST_F(SteppedPerCpuHash, is_as_before_or_as_after_a_death) {
    kill_in(make(spec(BPF_MAP_TYPE_PERCPU_HASH, 8, 8, 3)), starts_,
            {{Kind::put, 1, 100}, {Kind::put_all, 1, 101}, {Kind::erase, 1}, {Kind::take, 1}}, 73);
}

// An update that had found the element wrote into it when its value had been copied already, and
// was in neither.
TEST_F(PerCpu, an_update_in_place_is_in_the_map_or_with_whoever_took_the_element) {
    constexpr std::uint64_t kTaken = 200;  // So many updates are to be met by a removal.
    Map& map = make(per_cpu(BPF_MAP_TYPE_PERCPU_HASH));
    std::atomic<std::uint64_t> last{0};
    std::atomic<std::uint64_t> rounds{0};
    std::atomic<bool> stop{false};
    std::thread taker = task::task_thread([&] {
        std::vector<std::uint64_t> out(processors());
        const std::uint64_t key = 1;
        while (!stop.load()) {
            {
                const Sections sections;
                if (lookup_and_remove(map, &key, out.data(), 0) == no_error) {
                    last.store(out[0]);
                }
            }
            rounds.fetch_add(1);
        }
    });
    std::uint64_t number = 0;
    std::uint64_t lost = 0;
    std::uint64_t met = 0;
    const std::uint64_t end_ns = platform::now_ns() + 20'000'000'000U;
    while (met < kTaken && platform::now_ns() < end_ns) {
        const std::uint64_t key = 1;
        ++number;
        // The first makes it, mostly; the second is in place, mostly.
        if (put_slot(map, key, number, 0) != no_error ||
            put_slot(map, key, ++number, 0) != no_error) {
            std::this_thread::yield();  // a grace period is due
            continue;
        }
        bool is_there = false;
        {
            const Sections sections;
            const void* value = lookup(map, &key);
            is_there = value != nullptr && *static_cast<const std::uint64_t*>(value) == number;
        }
        if (!is_there) {
            // The removal that met it has told what it took when two more have come to their end.
            const std::uint64_t seen = rounds.load();
            task::wait_until([&] { return rounds.load() >= seen + 2; });
            ++met;
            lost += last.load() != number ? 1 : 0;
        }
    }
    stop.store(true);
    taker.join();
    EXPECT_GE(met, kTaken);
    EXPECT_EQ(lost, 0U);
}

}  // namespace
}  // namespace taskwork::map
