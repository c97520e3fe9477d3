// SPDX-License-Identifier: Apache-2.0
//
// Values that are written where they stand, and the locks that keep them whole: a handler after
// each instruction of updates and copies with BPF_F_LOCK, of arrays and of hashes, of a lookup that
// deletes under the lock, and of updates of a per-CPU array; and deaths there. A death in the
// middle of such a write leaves each word as before or as after, and the lock free.
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <map>
#include <vector>

#include "map/test_steps.hpp"
#include "map/value.hpp"

namespace taskwork::map {
namespace {

struct Value {
    std::uint64_t first;
    std::uint32_t lock;
    std::uint32_t pad;
    std::uint64_t last;  ///< Written with the same number as `first`.
};

/// Of a hash or an array whose values have a lock.
struct Locked {
    using Words = std::array<std::uint64_t, 2>;  ///< First and last.
    using Model = std::map<std::uint64_t, Words>;
    static constexpr std::uint64_t kKeys = 2;

    struct Operation {
        enum class Kind { put, put_locked, copy_locked, take_locked, erase, get_first } kind;
        std::uint64_t key;
        std::uint64_t number = 0;
        struct Outcome {
            std::errc error = no_error;
            Words seen{};
            bool operator==(const Outcome&) const = default;
        } outcome{};

        void run(Map& map) noexcept {
            const task::ReadSection sleepable(*task::current(), sync::Flavour::sleepable);
            Value value{number, 0xdead, 0, number};
            switch (kind) {
            case Kind::put:
            case Kind::put_locked:
                outcome.error = update(map, &key, &value, kind == Kind::put ? BPF_ANY : BPF_F_LOCK);
                return;
            case Kind::copy_locked:
            case Kind::take_locked:
                outcome.error = kind == Kind::copy_locked
                                    ? lookup_copy(map, &key, &value, BPF_F_LOCK)
                                    : lookup_and_remove(map, &key, &value, BPF_F_LOCK);
                if (outcome.error == no_error) {
                    outcome.seen = {value.first, value.last};
                }
                return;
            case Kind::erase:
                outcome.error = remove(map, &key);
                return;
            case Kind::get_first:
                const auto* found =
                    static_cast<const platform::Atomic<std::uint64_t>*>(lookup(map, &key));
                outcome.error = found == nullptr ? std::errc::no_such_file_or_directory : no_error;
                outcome.seen[0] = found == nullptr ? 0 : found->load(std::memory_order_relaxed);
            }
        }
        friend void PrintTo(const Outcome& of, std::ostream* out) {
            *out << "error " << static_cast<int>(of.error) << ", " << of.seen[0] << " "
                 << of.seen[1];
        }
    };
    static void specify(Model& model, Operation& operation) {
        using Kind = Operation::Kind;
        operation.outcome = {};
        if (operation.kind == Kind::put || operation.kind == Kind::put_locked) {
            model[operation.key] = {operation.number, operation.number};
            return;
        }
        const auto found = model.find(operation.key);
        if (found == model.end()) {
            operation.outcome.error = std::errc::no_such_file_or_directory;
            return;
        }
        if (operation.kind == Kind::get_first) {
            operation.outcome.seen = {found->second[0], 0};
        } else if (operation.kind != Kind::erase) {
            operation.outcome.seen = found->second;
        }
        if (operation.kind == Kind::take_locked || operation.kind == Kind::erase) {
            model.erase(found);
        }
    }
    static bool is_refused(const Operation& body, const Operation& event) {
        return event.outcome.error == std::errc::device_or_resource_busy && event.key == body.key;
    }
    static bool may_be_left(const Model& before, const Model& after, const Model& left) {
        if (left.size() != before.size() || left.size() != after.size()) {
            return false;
        }
        for (const auto& [key, words] : left) {
            const auto old = before.find(key);
            const auto fresh = after.find(key);
            for (std::size_t i = 0; i < words.size(); ++i) {
                if (old == before.end() || fresh == after.end() ||
                    (words[i] != old->second[i] && words[i] != fresh->second[i])) {
                    return false;
                }
            }
        }
        return true;
    }
    static void fill(Map& map, const Model& model) {
        for (std::uint64_t key = 1; key <= kKeys; ++key) {
            Operation erase{Operation::Kind::erase, key};
            erase.run(map);
        }
        for (const auto& [key, words] : model) {
            Operation put{Operation::Kind::put_locked, key, words[0]};
            put.run(map);
            ASSERT_EQ(put.outcome.error, no_error);
        }
    }
    static Model content(Map& map) {
        Model found;
        const Sections sections;
        EXPECT_EQ(MapTable::get().locks.held(*task::current()), 0U);
        for (std::uint64_t key = 1; key <= kKeys; ++key) {
            if (void* const at = lookup(map, &key)) {
                const auto* value = static_cast<const Value*>(at);
                EXPECT_EQ(lock_word(map, at)->load(std::memory_order_relaxed), 0U)
                    << "of key " << key;
                found[key] = {value->first, value->last};
            }
        }
        return found;
    }
};

class SteppedLocked : public SteppedMap<Locked> {
protected:
    using Kind = Operation::Kind;
    static MapSpec with_lock(MapSpec spec) {
        spec.value_size = sizeof(Value);
        spec.fields.spin_lock = offsetof(Value, lock);
        return spec;
    }
    const Model both_{{1, {10, 10}}, {2, {20, 20}}};
    const Model second_{{2, {20, 20}}};
};

TEST_F(SteppedLocked, operations_of_an_array_and_the_event_happen_one_after_the_other) {
    interrupt({&make(with_lock(array(4)))}, {both_},
              {{Kind::put_locked, 1, 100}, {Kind::copy_locked, 1}},
              {{Kind::put_locked, 1, 200},
               {Kind::put_locked, 2, 201},
               {Kind::copy_locked, 1},
               {Kind::get_first, 1}},
              37);
    EXPECT_GT(refused_, 0U) << "the event met no lock";
}

TEST_F(SteppedLocked, operations_of_a_hash_and_the_event_happen_one_after_the_other) {
    std::vector<Map*> maps;
    for (int i = 0; i < 8; ++i) {
        maps.push_back(&make(with_lock(hash(4))));
    }
    interrupt(maps, {both_, second_},
              {{Kind::put_locked, 1, 100}, {Kind::copy_locked, 1}, {Kind::take_locked, 1}},
              {{Kind::put_locked, 1, 200},
               {Kind::put, 1, 201},
               {Kind::put_locked, 2, 202},
               {Kind::erase, 1},
               {Kind::copy_locked, 1},
               {Kind::get_first, 1}},
              131);
    EXPECT_GT(refused_, 0U) << "the event met no lock";
}

TEST_F(SteppedLocked, words_of_an_array_are_as_before_or_as_after_a_death) {
    kill_in(make(with_lock(array(4))), {both_},
            {{Kind::put, 1, 100}, {Kind::put_locked, 1, 101}, {Kind::copy_locked, 1}}, 41);
}

TEST_F(SteppedLocked, words_of_a_hash_are_as_before_or_as_after_a_death) {
    kill_in(make(with_lock(hash(4))), {both_, second_},
            {{Kind::put_locked, 1, 100}, {Kind::copy_locked, 1}, {Kind::take_locked, 1}}, 97);
}

// ---- Slots of processors ------------------------------------------------------------------------

/// The slots of one index of a per-CPU array. A user's update of all of them is one of each after
/// the other, so nobody reads more than one here.
struct ArraySlots {
    using Model = std::vector<std::uint64_t>;
    static constexpr std::uint32_t kIndex = 1;

    struct Operation {
        enum class Kind { put, put_all, get } kind;
        std::uint32_t processor = 0;
        std::uint64_t number = 0;
        std::uint64_t outcome = 0;

        void run(Map& map) noexcept {
            const task::ReadSection sleepable(*task::current(), sync::Flavour::sleepable);
            if (kind == Kind::get) {
                outcome = static_cast<const platform::Atomic<std::uint64_t>*>(
                              slot_of(map, lookup(map, &kIndex), processor))
                              ->load(std::memory_order_relaxed);
            } else if (kind == Kind::put) {
                outcome = static_cast<std::uint64_t>(
                    update_slot(map, &kIndex, &number, BPF_ANY, processor));
            } else {
                outcome = static_cast<std::uint64_t>(
                    update_by_user(map, &kIndex, users_value.data(), BPF_ANY));
            }
        }
    };
    static void specify(Model& model, Operation& operation) {
        operation.outcome = 0;
        if (operation.kind == Operation::Kind::get) {
            operation.outcome = model[operation.processor];
        } else if (operation.kind == Operation::Kind::put) {
            model[operation.processor] = operation.number;
        } else {
            model = users_value;
        }
    }
    static bool may_be_left(const Model& before, const Model& after, const Model& left) {
        for (std::size_t i = 0; i < left.size(); ++i) {
            if (left[i] != before[i] && left[i] != after[i]) {
                return false;
            }
        }
        return true;
    }
    static void fill(Map& map, const Model& model) {
        for (std::uint32_t i = 0; i < model.size(); ++i) {
            ASSERT_EQ(update_slot(map, &kIndex, &model[i], BPF_ANY, i), no_error);
        }
    }
    static Model content(Map& map) {
        Model found;
        for (std::uint32_t i = 0; i < users_value.size(); ++i) {
            Operation get{Operation::Kind::get, i};
            get.run(map);
            found.push_back(get.outcome);
        }
        return found;
    }
    /// What put_all writes.
    static inline std::vector<std::uint64_t> users_value;
};

class SteppedPerCpuArray : public SteppedMap<ArraySlots> {
protected:
    using Kind = Operation::Kind;
    void SetUp() override {
        SteppedMap<ArraySlots>::SetUp();
        const std::uint32_t processors = MapTable::get().processors.count();
        last_ = processors - 1;
        ArraySlots::users_value.clear();
        for (std::uint32_t i = 0; i < processors; ++i) {
            start_.push_back(10 + i);
            ArraySlots::users_value.push_back(100 + i);
        }
    }
    Map& make_slots() { return make(spec(BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 3)); }
    std::uint32_t last_ = 0;
    Model start_;
};

TEST_F(SteppedPerCpuArray, and_the_event_happen_one_after_the_other) {
    interrupt({&make_slots()}, {start_},
              {{Kind::put, last_, 50}, {Kind::put_all}, {Kind::get, last_}},
              {{Kind::put, 0, 60}, {Kind::put, last_, 61}, {Kind::get, 0}, {Kind::get, last_}}, 13);
}

TEST_F(SteppedPerCpuArray, slots_are_as_before_or_as_after_a_death) {
    kill_in(make_slots(), {start_}, {{Kind::put, last_, 50}, {Kind::put_all}}, 11);
}

}  // namespace
}  // namespace taskwork::map
