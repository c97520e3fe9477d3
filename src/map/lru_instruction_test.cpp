// SPDX-License-Identifier: Apache-2.0
//
// A handler in an operation of the LRU kinds, and a death there. What is found has to be what the
// two operations do one after the other, in one order or the other, whichever element they evict; a
// death has to leave the map as before, as after, or one that was to be evicted short. Not after
// every instruction: an eviction is long, so strides are taken, which begin elsewhere each time.
#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "map/test_hash_steps.hpp"

namespace taskwork::map {
namespace {

constexpr std::uint64_t kD = 44;

/// Outcome and content: what an operation may lead to.
using Result = std::pair<std::uint64_t, Content>;

std::vector<Result> specify(const Content& content, const Operation& operation) {
    const auto error = [&content](std::errc code) {
        return std::vector<Result>{{static_cast<std::uint64_t>(code), content}};
    };
    const auto found = content.find(operation.key);
    const bool present = found != content.end();
    Content after = content;
    switch (operation.kind) {
    case Operation::Kind::get:
        return {{present ? found->second : kAbsent, content}};
    case Operation::Kind::erase:
        after.erase(operation.key);
        return present ? std::vector<Result>{{0, after}}
                       : error(std::errc::no_such_file_or_directory);
    case Operation::Kind::take:
        after.erase(operation.key);
        return present ? std::vector<Result>{{found->second, after}}
                       : error(std::errc::no_such_file_or_directory);
    case Operation::Kind::put_new:
        if (present) {
            return error(std::errc::file_exists);
        }
        break;
    case Operation::Kind::put_present:
        if (!present) {
            return error(std::errc::no_such_file_or_directory);
        }
        break;
    case Operation::Kind::put:
        break;
    }
    after[operation.key] = operation.value;
    if (after.size() <= kEntries) {
        return {{0, after}};
    }
    std::vector<Result> results;
    for (const auto& [victim, value] : content) {
        Content rest = after;
        rest.erase(victim);
        results.emplace_back(0, rest);
    }
    return results;
}

/// Whether `first` and then `second` may end with these outcomes and this content.
bool may_follow(const Content& start, const Operation& first, const Operation& second,
                const Content& found) {
    for (const auto& [outcome, between] : specify(start, first)) {
        if (outcome != first.outcome) {
            continue;
        }
        for (const auto& [last, after] : specify(between, second)) {
            if (last == second.outcome && after == found) {
                return true;
            }
        }
    }
    return false;
}

/// An insertion under way holds the room that it is about to use, and a deletion the room that it
/// is about to give back: an insertion that interrupts one evicts though the map is not full, and
/// in vain if both insertions are of the same key.
bool may_have_evicted_early(const Content& start, const Operation& body, const Operation& event,
                            const Content& found) {
    const auto puts = [](const Operation& operation) {
        return operation.kind == Operation::Kind::put || operation.kind == Operation::Kind::put_new;
    };
    const bool event_inserts =
        puts(event) && (start.count(event.key) == 0 || event.key == body.key);
    const bool body_inserts = puts(body) && start.count(body.key) == 0;
    const bool body_deletes =
        (body.kind == Operation::Kind::erase || body.kind == Operation::Kind::take) &&
        start.count(body.key) != 0;
    if (!event_inserts || (!body_inserts && !body_deletes)) {
        return false;
    }
    for (const auto& [victim, value] : start) {
        Content rest = start;
        rest.erase(victim);
        if (may_follow(rest, event, body, found) ||
            (body_deletes && may_follow(rest, body, event, found))) {
            return true;
        }
    }
    return false;
}

struct Kind {
    const char* name;
    std::uint32_t type;
    std::uint32_t flags = 0;
};

class LruEveryInstruction : public SteppedHash, public testing::WithParamInterface<Kind> {
protected:
    void SetUp() override {
        SteppedHash::SetUp();
        if (!IsSkipped()) {
            make_maps(spec(GetParam().type, 8, 8, kEntries, GetParam().flags));
            ASSERT_EQ(map_->max_entries, kEntries);
        }
    }
    /// As SteppedHash's, with the key that only events put.
    void fill_anew(const Content& content) {
        fill({});
        erase(*map_, kD);
        for (const auto& [key, value] : content) {
            Operation put{Operation::Kind::put, key, value};
            put.run(*map_);
            ASSERT_EQ(put.outcome, 0U);
        }
    }
    Content found() {
        Content all = content();
        if (const std::uint64_t value = get(*map_, kD); value != kAbsent) {
            all[kD] = value;
        }
        return all;
    }
    /// What the map says of itself agrees with what is in it, and it can be filled.
    void expect_room() {
        EXPECT_EQ(usage(*map_).elements, found().size());
        for (std::uint64_t key : {kA, kB, kC}) {
            Operation put{Operation::Kind::put, key, key};
            put.run(*map_);
            EXPECT_EQ(put.outcome, 0U);
        }
        EXPECT_EQ(usage(*map_).elements, kEntries);
        EXPECT_EQ(get(*map_, kC), kC);
    }
};

TEST_P(LruEveryInstruction, a_handler_and_what_it_interrupts_happen_one_after_the_other) {
    using Put = Operation::Kind;
    const std::uint64_t stride = std::getenv("TASKWORK_PROVE") != nullptr ? 97 : 479 * kStepFactor;
    const std::vector<Content> starts = {{{kB, 2}}, {{kA, 1}, {kB, 2}}, {}};
    const std::vector<Operation> bodies = {
        {Put::put, kA, 100}, {Put::put_new, kC, 101}, {Put::put_present, kB, 102},
        {Put::erase, kA},    {Put::take, kA},         {Put::get, kA}};
    const std::vector<Operation> events = {{Put::put, kA, 200},     {Put::erase, kA},
                                           {Put::get, kA},          {Put::put, kD, 201},
                                           {Put::put_new, kB, 202}, {Put::erase, kB}};
    std::uint64_t points = 0;
    unsigned combination = 0;
    for (const Content& start : starts) {
        for (const Operation& body : bodies) {
            for (const Operation& event : events) {
                for (std::uint64_t at = 1 + 7 * combination++ % stride;; at += stride) {
                    fill_anew(start);
                    Operation x = body;
                    Operation y = event;
                    y.outcome = 12345;
                    Stepped stepped_x{map_, &x};
                    Stepped stepped_y{map_, &y};
                    if (task::single_step(run_stepped, &stepped_x, run_stepped, &stepped_y, at, 0) <
                        at) {
                        break;
                    }
                    ++points;
                    const Content left = found();
                    ASSERT_TRUE(may_follow(start, x, y, left) || may_follow(start, y, x, left) ||
                                may_have_evicted_early(start, x, y, left))
                        << "start of " << start.size() << ", body " << int(x.kind) << " -> "
                        << x.outcome << ", event " << int(y.kind) << " of " << y.key << " -> "
                        << y.outcome << " after instruction " << at << ": "
                        << testing::PrintToString(left);
                    expect_room();
                }
            }
        }
    }
    EXPECT_GT(points, 100U);
    RecordProperty("points", static_cast<int>(points));
}

TEST_P(LruEveryInstruction, a_death_loses_at_most_what_was_to_be_evicted) {
    using Put = Operation::Kind;
    const std::uint64_t stride = std::getenv("TASKWORK_PROVE") != nullptr ? 7 : 263 * kStepFactor;
    const std::vector<Content> starts = {{{kB, 2}}, {{kA, 1}, {kB, 2}}};
    const std::vector<Operation> bodies = {
        {Put::put, kA, 100}, {Put::put, kC, 101}, {Put::erase, kA}, {Put::take, kA}};
    std::uint64_t deaths = 0;
    unsigned combination = 0;
    for (const Content& start : starts) {
        for (const Operation& body : bodies) {
            for (std::uint64_t at = 1 + 4 * combination++;; at += stride) {
                fill_anew(start);
                Operation x = body;
                Stepped stepped{map_, &x};
                if (!die_in(run_stepped, &stepped, at)) {
                    break;
                }
                ++deaths;
                const Content left = found();
                bool allowed = left == start;
                for (const auto& [outcome, after] : specify(start, x)) {
                    Content evicted = start;
                    for (const auto& [key, value] : start) {
                        if (after.count(key) == 0) {
                            evicted.erase(key);
                        }
                    }
                    allowed = allowed || left == after || left == evicted;
                }
                ASSERT_TRUE(allowed) << testing::PrintToString(left) << " after instruction " << at;
                expect_room();
                for (std::uint64_t key : {kA, kB, kC, kD}) {
                    erase(*map_, key);
                }
                ASSERT_EQ(usage(*map_).elements, 0U);
                // All memory comes back.
                task::wait_until([&] { return usage(*map_).waiting == 0; });
            }
        }
    }
    EXPECT_GT(deaths, 20U);
    RecordProperty("deaths", static_cast<int>(deaths));
}

void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }

INSTANTIATE_TEST_SUITE_P(Kinds, LruEveryInstruction,
                         testing::Values(Kind{"common", BPF_MAP_TYPE_LRU_HASH},
                                         Kind{"own_lists", BPF_MAP_TYPE_LRU_HASH,
                                              BPF_F_NO_COMMON_LRU},
                                         Kind{"per_cpu", BPF_MAP_TYPE_LRU_PERCPU_HASH}),
                         [](const auto& parameter) { return std::string(parameter.param.name); });

}  // namespace
}  // namespace taskwork::map
