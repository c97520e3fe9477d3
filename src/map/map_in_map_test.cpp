// SPDX-License-Identifier: Apache-2.0
#include "map/map_in_map.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include "map/test_steps.hpp"

namespace taskwork::map {
namespace {

class MapsOfMaps : public MapTest {
protected:
    static MapSpec outer(std::uint32_t type, const Map& inner, std::uint32_t entries = 4) {
        MapSpec of = spec(type, type == BPF_MAP_TYPE_ARRAY_OF_MAPS ? 4 : 8, 4, entries);
        of.inner = &inner;
        return of;
    }
    static std::errc put_map(Map& outer, std::uint64_t key, Map& inner,
                             std::uint64_t flags = BPF_ANY) {
        const Sections sections;
        return put_inner(outer, &key, inner, flags);
    }
    static Map* found(Map& outer, std::uint64_t key) {
        const Sections sections;
        return find_inner(outer, &key);
    }
    static std::uint32_t maps_free() { return MapTable::get().maps.count_free(); }
    static constexpr std::uint32_t kBoth[] = {BPF_MAP_TYPE_ARRAY_OF_MAPS,
                                              BPF_MAP_TYPE_HASH_OF_MAPS};
};

TEST_F(MapsOfMaps, give_programs_the_map_and_users_its_id) {
    for (const std::uint32_t type : kBoth) {
        Map& first = make(array(4));
        Map& second = make(array(4));
        Map& map = make(outer(type, first));
        EXPECT_EQ(found(map, 1), nullptr);
        ASSERT_EQ(put_map(map, 1, first), no_error);
        EXPECT_EQ(found(map, 1), &first);
        ASSERT_EQ(put_map(map, 1, second), no_error);
        EXPECT_EQ(found(map, 1), &second);
        std::uint32_t id = 0;
        const std::uint64_t key = 1;
        {
            const Sections sections;
            EXPECT_EQ(lookup_copy(map, &key, &id, 0), no_error);
        }
        EXPECT_EQ(id, second.id);
        EXPECT_EQ(erase(map, 1), no_error);
        EXPECT_EQ(found(map, 1), nullptr);
        EXPECT_EQ(erase(map, 1), std::errc::no_such_file_or_directory);
        EXPECT_EQ(first.references.load(std::memory_order_relaxed), 1U);
        EXPECT_EQ(second.references.load(std::memory_order_relaxed), 1U);
    }
}

TEST_F(MapsOfMaps, take_only_maps_like_the_first) {
    Map& like = make(array(4));
    for (const std::uint32_t type : kBoth) {
        Map& map = make(outer(type, like));
        EXPECT_EQ(put_map(map, 0, make(array(5))), std::errc::invalid_argument);
        EXPECT_EQ(put_map(map, 0, make(array(4, 16))), std::errc::invalid_argument);
        EXPECT_EQ(put_map(map, 0, make(hash(4))), std::errc::invalid_argument);
        MapSpec with_slot = array(4);
        with_slot.fields.task_work = 0;
        EXPECT_EQ(put_map(map, 0, make(with_slot)), std::errc::invalid_argument);
        EXPECT_EQ(refused(outer(type, map)), std::errc::invalid_argument);
        EXPECT_EQ(usage(map).elements, 0U);
    }
    // Hashes may differ in their entries, and arrays that say so.
    Map& hashes = make(outer(BPF_MAP_TYPE_ARRAY_OF_MAPS, make(hash(4))));
    EXPECT_EQ(put_map(hashes, 0, make(hash(9))), no_error);
    MapSpec open = array(4);
    open.flags = BPF_F_INNER_MAP;
    Map& arrays = make(outer(BPF_MAP_TYPE_ARRAY_OF_MAPS, make(open)));
    open.max_entries = 9;
    EXPECT_EQ(put_map(arrays, 0, make(open)), no_error);
}

TEST_F(MapsOfMaps, have_the_errors_of_the_kernel) {
    Map& inner = make(array(4));
    Map& indexed = make(outer(BPF_MAP_TYPE_ARRAY_OF_MAPS, inner));
    EXPECT_EQ(put_map(indexed, 4, inner), std::errc::argument_list_too_long);
    EXPECT_EQ(put_map(indexed, 0, inner, BPF_EXIST), std::errc::invalid_argument);
    EXPECT_EQ(put_map(indexed, 0, inner, BPF_NOEXIST), std::errc::invalid_argument);
    EXPECT_EQ(erase(indexed, 4), std::errc::argument_list_too_long);
    Map& keyed = make(outer(BPF_MAP_TYPE_HASH_OF_MAPS, inner, 1));
    EXPECT_EQ(put_map(keyed, 7, inner, BPF_EXIST), std::errc::no_such_file_or_directory);
    EXPECT_EQ(put_map(keyed, 7, inner, BPF_NOEXIST), no_error);
    EXPECT_EQ(put_map(keyed, 7, inner, BPF_NOEXIST), std::errc::file_exists);
    EXPECT_EQ(put_map(keyed, 7, inner, BPF_EXIST), no_error);
    EXPECT_EQ(put_map(keyed, 8, inner), std::errc::argument_list_too_long);
    EXPECT_EQ(put_map(keyed, 7, inner, 4), std::errc::invalid_argument);
    // The user's, the outer maps' one.
    EXPECT_EQ(inner.references.load(std::memory_order_relaxed), 2U);
}

TEST_F(MapsOfMaps, keep_a_map_that_its_users_have_left_until_it_is_taken_out) {
    const std::uint32_t before = maps_free();
    Map& like = make(hash(4));
    for (const std::uint32_t type : kBoth) {
        Map& map = make(outer(type, like));
        Map& inner = make(hash(4));
        ASSERT_EQ(put_map(map, 2, inner), no_error);
        put_user(inner);
        task::Worker::synchronize();
        ASSERT_EQ(found(map, 2), &inner);
        EXPECT_EQ(put(inner, 5, 50), no_error);
        EXPECT_EQ(get(inner, 5), 50U);
        // By replacement, and by the end of the outer map.
        ASSERT_EQ(put_map(map, 2, like), no_error);
        Map& last = make(hash(4));
        ASSERT_EQ(put_map(map, 3, last), no_error);
        put_user(last);
        put_user(map);
    }
    put_user(like);
    task::wait_until([&] { return maps_free() == before; });
}

// K103, K97.
TEST_F(MapsOfMaps, do_not_count_as_users_of_their_inner_maps) {
    MapSpec with_slot = array(4, 16);
    with_slot.fields.task_work = 8;
    Map& inner = make(with_slot);
    for (const std::uint32_t type : kBoth) {
        Map& map = make(outer(type, inner));
        ASSERT_EQ(put_map(map, 0, inner), no_error);
    }
    const std::uint32_t key = 1;
    {
        const Sections sections;
        ASSERT_EQ(schedule(inner, lookup(inner, &key)), no_error);
        // The last user leaves: what is pending is cancelled, and nothing can be scheduled.
        put_user(inner);
        EXPECT_EQ(schedule(inner, lookup(inner, &key)), std::errc::device_or_resource_busy);
    }
    EXPECT_EQ(runs(), 0);
    // A user again: it works again.
    get_user(inner);
    {
        const Sections sections;
        EXPECT_EQ(schedule(inner, lookup(inner, &key)), no_error);
    }
    EXPECT_EQ(runs(), 1);
    put_user(inner);
}

// K97, K99, K103: whoever lets go, in whichever order, it is the inner map's last user who cancels.
TEST_F(MapsOfMaps, and_what_is_in_them_may_be_let_go_of_in_every_order_while_a_work_is_pending) {
    enum Step { user_of_inner, user_of_outer, program, entry };
    const std::uint32_t before = maps_free();
    MapSpec with_slot = hash(4, 16);
    with_slot.fields.task_work = 8;
    for (const std::uint32_t type : kBoth) {
        std::array<Step, 4> order = {user_of_inner, user_of_outer, program, entry};
        do {
            Map& inner = make(with_slot);
            Map& map = make(outer(type, inner));
            get_reference(inner);
            get_reference(map);
            ASSERT_EQ(put_map(map, 1, inner), no_error);
            ASSERT_EQ(put(inner, 5, 0), no_error);
            {
                const Sections sections;
                const std::uint64_t key = 5;
                void* const value = lookup(inner, &key);
                ASSERT_EQ(schedule(inner, value), no_error);
                bool has_user = true;
                int holders_of_outer = 2;
                for (const Step step : order) {
                    const std::uint64_t place = 1;
                    switch (step) {
                    case user_of_inner:
                        put_user(inner);
                        has_user = false;
                        break;
                    case user_of_outer:
                        put_user(map);
                        --holders_of_outer;
                        break;
                    case program:
                        put_reference(inner);
                        put_reference(map);
                        --holders_of_outer;
                        break;
                    case entry:
                        if (holders_of_outer != 0) {
                            ASSERT_EQ(remove(map, &place), no_error);
                        }
                        break;
                    }
                    ASSERT_EQ(defer::counts(inner.works).in_flight, has_user ? 1U : 0U);
                    ASSERT_EQ(schedule(inner, value), std::errc::device_or_resource_busy);
                }
            }
        } while (std::next_permutation(order.begin(), order.end()));
    }
    EXPECT_EQ(runs(), 0);
    task::wait_until([&] { return maps_free() == before; });
}

TEST_F(MapsOfMaps, are_found_whole_while_they_are_replaced) {
    for (const std::uint32_t type : kBoth) {
        Map& like = make(array(1));
        Map& map = make(outer(type, like));
        ASSERT_EQ(put_map(map, 0, like), no_error);
        std::atomic<bool> stop{false};
        std::atomic<std::uint64_t> lookups{0};
        std::vector<std::thread> readers;
        for (int i = 0; i < 2; ++i) {
            readers.push_back(task::task_thread([&] {
                while (!stop.load(std::memory_order_relaxed)) {
                    const Sections sections;
                    const std::uint64_t key = 0;
                    Map* inner = find_inner(map, &key);
                    ASSERT_NE(inner, nullptr);
                    const std::uint32_t index = 0;
                    const auto* value =
                        static_cast<const platform::Atomic<std::uint64_t>*>(lookup(*inner, &index));
                    ASSERT_EQ(value->load(std::memory_order_relaxed), inner == &like ? 0U : 77U);
                    lookups.fetch_add(1, std::memory_order_relaxed);
                }
            }));
        }
        for (int i = 0; i < 300; ++i) {
            Map& next = make(array(1));
            ASSERT_EQ(put(next, 0, 77), no_error);
            ASSERT_EQ(put_map(map, 0, next), no_error);
            put_user(next);
            if (i % 32 == 31) {
                task::Worker::synchronize();
            }
        }
        task::wait_until([&] { return lookups.load() > 1000; });
        stop.store(true);
        for (std::thread& reader : readers) {
            reader.join();
        }
        put_user(map);
        task::Worker::synchronize();
    }
}

// ---- An event after each instruction, and a death -----------------------------------------------

/// The host changes which of three maps stand there; events and members look them up and into them.
struct Places {
    using Model = std::map<std::uint64_t, std::uint64_t>;  ///< Which one stands at a key.
    static constexpr std::uint64_t kKeys = 2;
    static constexpr std::uint64_t kAbsent = UINT64_MAX;

    struct Operation {
        enum class Kind { put, put_new, erase, take, copy, find } kind;
        std::uint64_t key;
        std::uint64_t which = 0;    ///< Of puts.
        std::uint64_t outcome = 0;  ///< An error, or what was found there.

        void run(Map& map) noexcept {
            const Sections sections;
            std::uint32_t id = 0;
            switch (kind) {
            case Kind::put:
            case Kind::put_new:
                outcome = static_cast<std::uint64_t>(
                    put_inner(map, &key, *inner[which], kind == Kind::put ? BPF_ANY : BPF_NOEXIST));
                return;
            case Kind::erase:
                outcome = static_cast<std::uint64_t>(remove(map, &key));
                return;
            case Kind::take:
                outcome = lookup_and_remove(map, &key, &id, 0) == no_error ? of_id(id) : kAbsent;
                return;
            case Kind::copy:
                outcome = lookup_copy(map, &key, &id, 0) == no_error ? of_id(id) : kAbsent;
                return;
            case Kind::find:
                outcome = kAbsent;
                if (Map* const found = find_inner(map, &key)) {
                    const std::uint32_t index = 0;
                    outcome =
                        static_cast<const platform::Atomic<std::uint64_t>*>(lookup(*found, &index))
                            ->load(std::memory_order_relaxed);
                }
            }
        }
        static std::uint64_t of_id(std::uint32_t id) noexcept {
            std::uint64_t which = 0;
            while (which < inner.size() && inner[which]->id != id) {
                ++which;
            }
            return which;
        }
    };
    static void specify(Model& model, Operation& operation) {
        using Kind = Operation::Kind;
        const auto found = model.find(operation.key);
        const bool present = found != model.end();
        operation.outcome = 0;
        switch (operation.kind) {
        case Kind::put_new:
            if (present) {
                operation.outcome = static_cast<std::uint64_t>(std::errc::file_exists);
                return;
            }
            [[fallthrough]];
        case Kind::put:
            model[operation.key] = operation.which;
            return;
        case Kind::erase:
            if (!present) {
                operation.outcome =
                    static_cast<std::uint64_t>(std::errc::no_such_file_or_directory);
            }
            break;
        default:
            operation.outcome = present ? found->second : kAbsent;
        }
        if (operation.kind == Kind::erase || operation.kind == Kind::take) {
            model.erase(operation.key);
        }
    }
    static void fill(Map& map, const Model& model) {
        for (std::uint64_t key = 0; key < kKeys; ++key) {
            Operation{Operation::Kind::erase, key}.run(map);
        }
        for (const auto& [key, which] : model) {
            Operation put{Operation::Kind::put, key, which};
            put.run(map);
            ASSERT_EQ(put.outcome, 0U);
        }
    }
    /// A reference for each place, and that of the test.
    static Model content(Map& map) {
        Model found;
        std::array<std::uint32_t, 3> references{1, 1, 1};
        for (std::uint64_t key = 0; key < kKeys; ++key) {
            Operation find{Operation::Kind::find, key};
            find.run(map);
            if (find.outcome != kAbsent) {
                found[key] = find.outcome;
                ++references[find.outcome];
            }
        }
        for (std::size_t i = 0; i < inner.size(); ++i) {
            EXPECT_EQ(inner[i]->references.load(std::memory_order_relaxed), references[i]) << i;
        }
        return found;
    }
    static inline std::array<Map*, 3> inner;
};

class SteppedOuter : public SteppedMap<Places> {
protected:
    using Kind = Operation::Kind;
    Map& make_outer(std::uint32_t type) {
        for (std::uint64_t i = 0; i < Places::inner.size(); ++i) {
            Places::inner[i] = &make(array(1));
            EXPECT_EQ(put(*Places::inner[i], 0, i), no_error);
        }
        MapSpec outer = spec(type, type == BPF_MAP_TYPE_ARRAY_OF_MAPS ? 4 : 8, 4, 4);
        outer.inner = Places::inner[0];
        return make(outer);
    }
    const std::vector<Model> starts_ = {{{1, 0}}, {{0, 2}}};
    const std::vector<Operation> events_ = {{Kind::find, 1}, {Kind::find, 0}};
};

TEST_F(SteppedOuter, array_and_the_event_happen_one_after_the_other) {
    interrupt({&make_outer(BPF_MAP_TYPE_ARRAY_OF_MAPS)}, starts_,
              {{Kind::put, 1, 1}, {Kind::erase, 1}, {Kind::copy, 1}, {Kind::find, 1}}, events_, 29);
}

TEST_F(SteppedOuter, hash_and_the_event_happen_one_after_the_other) {
    interrupt({&make_outer(BPF_MAP_TYPE_HASH_OF_MAPS)}, starts_,
              {{Kind::put, 1, 1},
               {Kind::put_new, 1, 1},
               {Kind::erase, 1},
               {Kind::take, 1},
               {Kind::copy, 1},
               {Kind::find, 1}},
              events_, 83);
}

/// Members look up; only the host changes.
TEST_F(SteppedOuter, maps_are_as_before_a_death) {
    for (const std::uint32_t type : {BPF_MAP_TYPE_ARRAY_OF_MAPS, BPF_MAP_TYPE_HASH_OF_MAPS}) {
        kill_in(make_outer(type), starts_, {{Kind::find, 1}, {Kind::copy, 1}}, 41);
    }
}

}  // namespace
}  // namespace taskwork::map
