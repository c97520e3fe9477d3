// SPDX-License-Identifier: Apache-2.0
//
// An event after an instruction of operations of arrays and hashes that hash_instruction_test.cpp
// does not step through, of values with task works: updates, lookup_and_delete, the walks. It looks
// up, updates, deletes, schedules and cancels on the element in hand and on another. Results and
// content are those of the two done one after the other. With TASKWORK_PROVE in the environment:
// after every instruction, else after some of each.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "map/test_map.hpp"
#include "task/single_step.hpp"

namespace taskwork::map {
namespace {

constexpr std::uint64_t kAbsent = UINT64_MAX;
constexpr std::uint64_t kSame = 1;
constexpr std::uint64_t kOther = 2;

std::uint64_t stride() { return std::getenv("TASKWORK_PROVE") != nullptr ? 1 : 127 * kStepFactor; }

struct Value {
    std::uint64_t first;
    std::uint64_t slot;
    std::uint64_t last;  ///< Written with the same number as `first`.
};

enum class Kind { lookup, update, remove, take, walk, for_each, schedule, schedule_cancel };

/// Plain data and plain calls: legal in a handler.
struct Operation {
    Kind kind;
    std::uint64_t key = kSame;
    std::uint64_t number = 0;  ///< Of updates.
    std::uint64_t outcome = 0;
    static constexpr unsigned kSeenMax = 16;
    unsigned seen = 0;  ///< Of walks: what they came by.
    std::uint64_t keys[kSeenMax] = {};
    std::uint64_t numbers[kSeenMax] = {};

    void run(Map& map) noexcept {
        const Sections sections;
        switch (kind) {
        case Kind::lookup: {
            const auto* value = static_cast<const Value*>(map::lookup(map, &key));
            outcome = value == nullptr ? kAbsent : value->first;
            break;
        }
        case Kind::update: {
            const Value value{number, 0xdead, number};
            outcome = static_cast<std::uint64_t>(map::update(map, &key, &value, BPF_ANY));
            break;
        }
        case Kind::remove:
            outcome = static_cast<std::uint64_t>(map::remove(map, &key));
            break;
        case Kind::take: {
            Value value{};
            const std::errc error = lookup_and_remove(map, &key, &value, 0);
            outcome = error == no_error ? value.first : kAbsent;
            break;
        }
        case Kind::walk: {
            const void* from = nullptr;
            while (seen < kSeenMax && next_key(map, from, &keys[seen]) == no_error) {
                from = &keys[seen++];
            }
            break;
        }
        case Kind::for_each:
            outcome = static_cast<std::uint64_t>(map::for_each(map, see, this));
            break;
        case Kind::schedule:
        case Kind::schedule_cancel:
            run_schedule(map);
        }
    }

private:
    static long see(const void* key, void* value, void* argument) noexcept {
        auto& self = *static_cast<Operation*>(argument);
        if (self.seen == kSeenMax) {
            return 1;
        }
        // The first word of either kind of key holds all of it.
        self.keys[self.seen] = *static_cast<const std::uint32_t*>(key);
        self.numbers[self.seen++] = static_cast<const Value*>(value)->first;
        return 0;
    }
    void run_schedule(Map& map) noexcept {
        void* const value = map::lookup(map, &key);
        outcome = kAbsent;
        if (value == nullptr) {
            return;
        }
        defer::Slot& slot = *task_work_slot(map, value);
        defer::ScheduleRequest request;
        request.target = task::current();
        request.callback = {defer::kCallbackTest, 0, nullptr, &map, value};
        request.user_count = &map.user_count;
        request.totals = &map.works;
        outcome = static_cast<std::uint64_t>(defer::schedule(slot, request));
        if (kind == Kind::schedule_cancel) {
            defer::cancel(slot);
        }
    }
};

using Content = std::map<std::uint64_t, std::uint64_t>;

/// The specification, of what has one.
std::uint64_t specify(Content& content, const Operation& operation, bool array) {
    const auto found = content.find(operation.key);
    const bool present = found != content.end();
    const std::uint64_t before = present ? found->second : kAbsent;
    switch (operation.kind) {
    case Kind::lookup:
        return before;
    case Kind::update:
        content[operation.key] = operation.number;
        return 0;
    case Kind::remove:
        if (array) {
            return static_cast<std::uint64_t>(std::errc::invalid_argument);
        }
        content.erase(operation.key);
        return present ? 0 : static_cast<std::uint64_t>(std::errc::no_such_file_or_directory);
    case Kind::take:
        content.erase(operation.key);
        return before;
    default:
        return operation.outcome;
    }
}

struct Stepped {
    Map* map;
    Operation* operation;
};

void run_stepped(void* argument) {
    auto* stepped = static_cast<Stepped*>(argument);
    stepped->operation->run(*stepped->map);
}

const std::vector<Operation> kEvents = {
    {Kind::lookup, kSame},          {Kind::lookup, kOther},   {Kind::update, kSame, 200},
    {Kind::update, kOther, 201},    {Kind::remove, kSame},    {Kind::remove, kOther},
    {Kind::schedule, kSame},        {Kind::schedule, kOther}, {Kind::schedule_cancel, kSame},
    {Kind::schedule_cancel, kOther}};

class OperationsUnderEvents : public MapTest {
protected:
    void SetUp() override {
        if (!task::kCanSingleStep) {
            GTEST_SKIP() << "no single step under this sanitizer";
        }
    }
    static MapSpec with_slot(MapSpec spec) {
        spec.value_size = sizeof(Value);
        spec.fields.task_work = offsetof(Value, slot);
        return spec;
    }
    /// Every element's number is its key.
    static void fill(Map& map, bool array) {
        for (std::uint64_t key = array ? 0 : kSame; key <= (array ? 3 : kOther); ++key) {
            Operation start{Kind::update, key, key};
            start.run(map);
            ASSERT_EQ(start.outcome, 0U);
        }
    }
    static Content content(Map& map, bool array) {
        Operation all{Kind::for_each};
        all.run(map);
        Content found;
        for (unsigned i = 0; i < all.seen; ++i) {
            found[all.keys[i]] = all.numbers[i];
        }
        EXPECT_EQ(found.size(), all.seen);
        EXPECT_EQ(all.outcome, all.seen);
        if (!array) {
            EXPECT_EQ(usage(map).elements, all.seen);
        }
        return found;
    }

    /// What a walk came by: nothing that was never there, and all that was there throughout, once
    /// unless the membership changed on the way (a walk starts again where its key is gone).
    static void check_walk(const Operation& walk, const Content& before, const Content& after) {
        ASSERT_LT(walk.seen, Operation::kSeenMax) << "the walk ends";
        std::map<std::uint64_t, unsigned> times;
        for (unsigned i = 0; i < walk.seen; ++i) {
            const std::uint64_t key = walk.keys[i];
            ++times[key];
            ASSERT_TRUE(before.count(key) != 0 || after.count(key) != 0) << "key " << key;
            if (walk.kind == Kind::for_each) {
                const bool old_one = before.count(key) != 0 && before.at(key) == walk.numbers[i];
                const bool new_one = after.count(key) != 0 && after.at(key) == walk.numbers[i];
                ASSERT_TRUE(old_one || new_one) << "key " << key << ": " << walk.numbers[i];
            }
        }
        for (const auto& [key, number] : before) {
            if (after.count(key) != 0) {
                ASSERT_GE(times[key], 1U) << "key " << key;
                if (before.size() == after.size()) {
                    ASSERT_EQ(times[key], 1U) << "key " << key;
                }
            }
        }
    }

    void step_through(const MapSpec& spec, const std::vector<Operation>& bodies, bool array) {
        std::vector<Map*> maps;
        for (int i = 0; i < 8; ++i) {  // In turn: spares of one come back meanwhile.
            maps.push_back(&make(spec));
        }
        std::uint64_t points = 0;
        std::uint64_t combination = 0;
        for (const Operation& body : bodies) {
            for (const Operation& event : kEvents) {
                SCOPED_TRACE("body " + std::to_string(int(body.kind)) + ", event " +
                             std::to_string(int(event.kind)) + " of " + std::to_string(event.key));
                for (std::uint64_t at = 1 + 31 * combination++ % stride();; at += stride()) {
                    Map& map = *maps[points % maps.size()];
                    if (usage(map).waiting > 4) {
                        task::wait_until([&] { return usage(map).waiting == 0; });
                    }
                    fill(map, array);
                    const Content start = content(map, array);
                    Operation x = body;
                    Operation y = event;
                    Stepped stepped_x{&map, &x};
                    Stepped stepped_y{&map, &y};
                    const std::uint64_t steps =
                        task::single_step(run_stepped, &stepped_x, run_stepped, &stepped_y, at, 0);
                    if (steps < at) {
                        break;
                    }
                    if (++points % 32 == 0) {
                        task::Worker::synchronize();  // Contexts retired by cancels come back.
                    }
                    SCOPED_TRACE("after instruction " + std::to_string(at));
                    check(map, start, x, y, array);
                    if (HasFailure()) {
                        return;
                    }
                }
            }
        }
        EXPECT_GT(points, 100U);
        RecordProperty("points", static_cast<int>(points));
    }

    static void check(Map& map, const Content& start, const Operation& x, const Operation& y,
                      bool array) {
        Content event_first = start;
        const std::uint64_t y1 = specify(event_first, y, array);
        const std::uint64_t x1 = specify(event_first, x, array);
        Content body_first = start;
        const std::uint64_t x2 = specify(body_first, x, array);
        const std::uint64_t y2 = specify(body_first, y, array);
        const Content found = content(map, array);
        ASSERT_TRUE((x.outcome == x1 && y.outcome == y1 && found == event_first) ||
                    (x.outcome == x2 && y.outcome == y2 && found == body_first))
            << "body -> " << x.outcome << ", event -> " << y.outcome;
        if (x.kind == Kind::walk || x.kind == Kind::for_each) {
            check_walk(x, start, found);
        }
        if (y.kind == Kind::schedule || y.kind == Kind::schedule_cancel) {
            // Refused only where the body has deleted the element.
            const bool deleted = !array && found.count(y.key) == 0;
            const bool refused =
                y.outcome == kAbsent ||
                y.outcome == static_cast<std::uint64_t>(std::errc::no_such_file_or_directory);
            ASSERT_TRUE(y.outcome == 0 || (deleted && refused)) << y.outcome;
        }
        task::safe_point();
        const defer::WorkCounts works = defer::counts(map.works);
        ASSERT_EQ(works.in_flight, 0U);
        ASSERT_EQ(works.scheduled, works.ran + works.cancelled);
        // Values are whole (an array's are written in place, word by word, like the kernel's), and
        // slots can be used.
        for (const auto& [key, number] : found) {
            const Sections sections;
            const auto* value = static_cast<const Value*>(map::lookup(map, &key));
            ASSERT_NE(value, nullptr);
            ASSERT_TRUE(value->last == value->first ||
                        (array && (value->last == x.number || value->last == y.number)));
            Operation again{Kind::schedule_cancel, key};
            again.run(map);
            ASSERT_EQ(again.outcome, 0U);
        }
    }
};

TEST_F(OperationsUnderEvents, of_an_array) {
    step_through(with_slot(array(4)),
                 {{Kind::update, kSame, 100}, {Kind::lookup}, {Kind::walk}, {Kind::for_each}},
                 true);
}

TEST_F(OperationsUnderEvents, of_a_hash) {
    step_through(
        with_slot(hash(4)),
        {{Kind::take}, {Kind::walk}, {Kind::for_each}, {Kind::update, kSame, 100}, {Kind::remove}},
        false);
}

}  // namespace
}  // namespace taskwork::map
