// SPDX-License-Identifier: Apache-2.0
//
// A handler after every instruction of an operation of a hash, and a death there. The outcome of
// both operations and the content of the map have to be those of the two done one after the other,
// in one order or the other; a death in between has to leave the map as before or as after.
#include <gtest/gtest.h>

#include <cstdlib>
#include <vector>

#include "map/test_hash_steps.hpp"

namespace taskwork::map {
namespace {

/// With TASKWORK_PROVE in the environment: every so many. Each combination starts from another
/// instruction.
std::uint64_t stride(std::uint64_t proving, std::uint64_t otherwise) {
    return std::getenv("TASKWORK_PROVE") != nullptr ? proving : otherwise * kStepFactor;
}

/// The specification.
std::uint64_t specify(Content& content, const Operation& operation) {
    const auto found = content.find(operation.key);
    const bool present = found != content.end();
    const auto result = [](std::errc error) { return static_cast<std::uint64_t>(error); };
    switch (operation.kind) {
    case Operation::Kind::get:
        return present ? found->second : kAbsent;
    case Operation::Kind::erase:
        if (!present) {
            return result(std::errc::no_such_file_or_directory);
        }
        content.erase(found);
        return 0;
    case Operation::Kind::take: {
        const std::uint64_t value =
            present ? found->second : result(std::errc::no_such_file_or_directory);
        content.erase(operation.key);
        return value;
    }
    default:
        break;
    }
    if (present && operation.kind == Operation::Kind::put_new) {
        return result(std::errc::file_exists);
    }
    if (!present && operation.kind == Operation::Kind::put_present) {
        return result(std::errc::no_such_file_or_directory);
    }
    if (!present && content.size() == kEntries) {
        return result(std::errc::argument_list_too_long);
    }
    content[operation.key] = operation.value;
    return 0;
}

class EveryInstruction : public SteppedHash {
protected:
    void SetUp() override {
        SteppedHash::SetUp();
        if (!IsSkipped()) {
            make_maps(hash(kEntries));
        }
    }
};

TEST_F(EveryInstruction, a_handler_and_what_it_interrupts_happen_one_after_the_other) {
    using Kind = Operation::Kind;
    const std::vector<Content> starts = {{{kB, 2}}, {{kA, 1}, {kB, 2}}, {}};
    const std::vector<Operation> bodies = {
        {Kind::put, kA, 100}, {Kind::put_new, kA, 101}, {Kind::put_present, kA, 102},
        {Kind::erase, kA},    {Kind::take, kA},         {Kind::get, kA}};
    const std::vector<Operation> events = {{Kind::put, kA, 200},     {Kind::erase, kA},
                                           {Kind::get, kA},          {Kind::put, kC, 201},
                                           {Kind::put_new, kB, 202}, {Kind::erase, kB}};
    const std::uint64_t every = stride(1, 97);
    std::uint64_t points = 0;
    unsigned combination = 0;
    for (const Content& start : starts) {
        for (const Operation& body : bodies) {
            for (const Operation& event : events) {
                for (std::uint64_t at = 1 + combination++ % every;; at += every) {
                    fill(start);
                    Operation x = body;
                    Operation y = event;
                    y.outcome = 12345;
                    Stepped stepped_x{map_, &x};
                    Stepped stepped_y{map_, &y};
                    const std::uint64_t steps =
                        task::single_step(run_stepped, &stepped_x, run_stepped, &stepped_y, at, 0);
                    if (steps < at) {
                        break;
                    }
                    ++points;
                    Content event_first = start;
                    const std::uint64_t y1 = specify(event_first, y);
                    const std::uint64_t x1 = specify(event_first, x);
                    Content body_first = start;
                    const std::uint64_t x2 = specify(body_first, x);
                    const std::uint64_t y2 = specify(body_first, y);
                    const Content found = content();
                    const bool as_first =
                        x.outcome == x1 && y.outcome == y1 && found == event_first;
                    const bool as_second =
                        x.outcome == x2 && y.outcome == y2 && found == body_first;
                    // HT.2: an insertion in progress holds the room that it is about to use.
                    Content refused = start;
                    const bool as_refused =
                        x.kind <= Operation::Kind::put_present && x.outcome == 0 &&
                        y.kind <= Operation::Kind::put_present && start.count(x.key) == 0 &&
                        start.size() == kEntries - 1 &&
                        y.outcome ==
                            static_cast<std::uint64_t>(std::errc::argument_list_too_long) &&
                        specify(refused, x) == x.outcome && found == refused;
                    ASSERT_TRUE(as_first || as_second || as_refused)
                        << "start of " << start.size() << ", body " << int(x.kind) << " -> "
                        << x.outcome << ", event " << int(y.kind) << " of " << y.key << " -> "
                        << y.outcome << " after instruction " << at << "; waiting "
                        << usage(*map_).waiting;
                    expect_whole();
                }
            }
        }
    }
    EXPECT_GT(points, 100U);
    RecordProperty("points", static_cast<int>(points));
}

// Deaths. The child is a member of the domain; the worker sweeps after it.

class Death : public EveryInstruction {};

TEST_F(Death, at_any_instruction_leaves_the_map_as_before_or_as_after) {
    using Kind = Operation::Kind;
    const std::vector<Content> starts = {{{kB, 2}}, {{kA, 1}, {kB, 2}}};
    const std::vector<Operation> bodies = {
        {Kind::put, kA, 100}, {Kind::put_present, kA, 101}, {Kind::erase, kA}, {Kind::take, kA}};
    const std::uint64_t every = stride(1, 43);
    std::uint64_t deaths = 0;
    unsigned combination = 0;
    for (const Content& start : starts) {
        for (const Operation& body : bodies) {
            for (std::uint64_t at = 1 + 4 * combination++ % every;; at += every) {
                fill(start);
                Operation x = body;
                Stepped stepped{map_, &x};
                if (!die_in(run_stepped, &stepped, at)) {
                    break;
                }
                ++deaths;
                Content after = start;
                specify(after, x);
                const Content found = content();
                ASSERT_TRUE(found == start || found == after) << "after instruction " << at;
                expect_whole();
                // Room and memory are all there again.
                for (std::uint64_t key : {kA, kB, kC}) {
                    erase(*map_, key);
                }
                task::wait_until([&] { return usage(*map_).waiting == 0; });
                ASSERT_EQ(usage(*map_).elements, 0U);
                ASSERT_EQ(put(*map_, kA, 1), no_error);
                ASSERT_EQ(put(*map_, kB, 1), no_error);
                ASSERT_EQ(put(*map_, kC, 1), std::errc::argument_list_too_long);
            }
        }
    }
    EXPECT_GT(deaths, 20U);
    RecordProperty("deaths", static_cast<int>(deaths));
}

}  // namespace
}  // namespace taskwork::map
