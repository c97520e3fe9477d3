// SPDX-License-Identifier: Apache-2.0
//
// For tests of a kind of map: an event after each instruction of an operation, and a death there,
// against a model of the kind. What happened has to be what the two operations do one after the
// other, in one order or the other; a death leaves the map as before the operation or as after it.
//
//     struct Sequence {
//         using Model = std::deque<std::uint64_t>;
//         struct Operation { ...; Outcome outcome; void run(Map& map) noexcept; };
//         // Does to the model what the operation does, and sets its outcome.
//         static void specify(Model& model, Operation& operation);
//         // From whatever is in the map.
//         static void fill(Map& map, const Model& model);
//         // Leaves the map as it is.
//         static Model content(Map& map);
//         // Optional. The event was refused a lock that the body holds: it must have done nothing.
//         static bool is_refused(const Operation& body, const Operation& event);
//         // Optional. What else a death may leave, of values that are written in place.
//         static bool may_be_left(const Model& before, const Model& after, const Model& left);
//     };
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "map/test_map.hpp"
#include "task/single_step.hpp"

namespace taskwork::map {

/// Runs `body` in a child that is killed after instruction `at`; false if there were fewer.
/// `unswept` is called when it is dead, before or while it is swept.
template <class Unswept>
bool die_in(void (*body)(void*), void* argument, std::uint64_t at, Unswept unswept) {
    task::TaskTable& table = task::TaskTable::get();
    const std::uint32_t before = table.processes.count_free();
    const pid_t child = ::fork();
    if (child == 0) {
        if (task::join_process("victim") != no_error || task::register_current(0, 0) != no_error) {
            ::_exit(3);
        }
        task::single_step(
            body, argument, [](void*) { ::kill(::getpid(), SIGKILL); }, nullptr, at, 0, false);
        ::_exit(4);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 4);
    unswept();
    task::wait_until([&] { return table.processes.count_free() == before; });
    return WIFSIGNALED(status);
}
inline bool die_in(void (*body)(void*), void* argument, std::uint64_t at) {
    return die_in(body, argument, at, [] {});
}

template <class Kind>
class SteppedMap : public MapTest {
protected:
    using Model = typename Kind::Model;
    using Operation = typename Kind::Operation;

    void SetUp() override {
        if (!task::kCanSingleStep) {
            GTEST_SKIP() << "no single step under this sanitizer";
        }
    }

    struct Stepped {
        Map* map;
        Operation* operation;
    };
    static void run_stepped(void* argument) {
        auto* stepped = static_cast<Stepped*>(argument);
        stepped->operation->run(*stepped->map);
    }
    /// Every instruction with TASKWORK_PROVE in the environment, else every `stride`-th.
    static std::uint64_t every(std::uint64_t stride) {
        return std::getenv("TASKWORK_PROVE") != nullptr ? 1 : stride * kStepFactor;
    }
    /// Of a map whose memory waits for grace periods: until it is back.
    static void settle(Map& map) {
        if (usage(map).waiting > 16) {
            task::wait_until([&map] { return usage(map).waiting == 0; });
        }
    }

    /// Each of `events` within each of `bodies` on each of `starts`. The maps are used in turn.
    void interrupt(const std::vector<Map*>& maps, const std::vector<Model>& starts,
                   const std::vector<Operation>& bodies, const std::vector<Operation>& events,
                   std::uint64_t stride) {
        std::uint64_t points = 0;
        std::uint64_t combination = 0;
        for (const Model& start : starts) {
            for (const Operation& body : bodies) {
                for (const Operation& event : events) {
                    for (std::uint64_t at = 1 + combination++ % every(stride);;
                         at += every(stride)) {
                        Map& map = *maps[points % maps.size()];
                        settle(map);
                        Kind::fill(map, start);
                        Operation x = body;
                        Operation y = event;
                        Stepped stepped_x{&map, &x};
                        Stepped stepped_y{&map, &y};
                        if (task::single_step(run_stepped, &stepped_x, run_stepped, &stepped_y, at,
                                              0) < at) {
                            break;
                        }
                        ++points;
                        const Model found = Kind::content(map);
                        const auto is_serial = [&](bool event_first) {
                            Model model = start;
                            Operation a = body;
                            Operation b = event;
                            Kind::specify(model, event_first ? b : a);
                            Kind::specify(model, event_first ? a : b);
                            return x.outcome == a.outcome && y.outcome == b.outcome &&
                                   found == model;
                        };
                        ASSERT_TRUE(is_serial(true) || is_serial(false) ||
                                    (is_refused(x, y) && is_alone(start, body, x, found)))
                            << "body " << testing::PrintToString(x.outcome) << ", event "
                            << testing::PrintToString(y.outcome) << ", left "
                            << testing::PrintToString(found) << " of "
                            << testing::PrintToString(start) << "; combination " << combination
                            << ", after instruction " << at;
                    }
                }
            }
        }
        EXPECT_GT(points, 50U);
        RecordProperty("points", static_cast<int>(points));
    }

    /// A member dies after an instruction of each of `bodies` on each of `starts`.
    void kill_in(Map& map, const std::vector<Model>& starts, const std::vector<Operation>& bodies,
                 std::uint64_t stride) {
        std::uint64_t deaths = 0;
        std::uint64_t combination = 0;
        for (const Model& start : starts) {
            for (const Operation& body : bodies) {
                for (std::uint64_t at = 1 + 4 * combination++ % every(stride);;
                     at += every(stride)) {
                    settle(map);
                    Kind::fill(map, start);
                    Operation x = body;
                    Stepped stepped{&map, &x};
                    if (!die_in(run_stepped, &stepped, at)) {
                        break;
                    }
                    ++deaths;
                    Model after = start;
                    Kind::specify(after, x);
                    const Model found = Kind::content(map);
                    ASSERT_TRUE(found == start || found == after ||
                                may_be_left(start, after, found))
                        << testing::PrintToString(found) << " after instruction " << at;
                }
            }
        }
        EXPECT_GT(deaths, 10U);
        RecordProperty("deaths", static_cast<int>(deaths));
    }

    /// Events that interrupt() has seen refused.
    std::uint64_t refused_ = 0;

private:
    bool is_refused(const Operation& body, const Operation& event) {
        if constexpr (requires { Kind::is_refused(body, event); }) {
            const bool refused = Kind::is_refused(body, event);
            refused_ += refused ? 1 : 0;
            return refused;
        }
        return false;
    }
    static bool is_alone(Model model, Operation body, const Operation& done, const Model& found) {
        Kind::specify(model, body);
        return done.outcome == body.outcome && found == model;
    }
    static bool may_be_left(const Model& before, const Model& after, const Model& left) {
        if constexpr (requires { Kind::may_be_left(before, after, left); }) {
            return Kind::may_be_left(before, after, left);
        }
        return false;
    }
};

}  // namespace taskwork::map
