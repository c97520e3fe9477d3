// SPDX-License-Identifier: Apache-2.0
//
// An event after every instruction of schedule, cancel, drain and section exit: it schedules on the
// same work and on another, cancels, and claims from the pool (K116, K39).
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <tuple>

#include "defer/context.hpp"
#include "defer/task_work.hpp"
#include "sync/arena.hpp"
#include "task/single_step.hpp"
#include "task/test_domain.hpp"

namespace taskwork::defer {
namespace {

using task::current;
using task::Notify;

struct alignas(64) Value {
    Slot slot;
    platform::Atomic<std::uint64_t> runs;
};

struct Counts {
    std::uint64_t scheduled = 0;
    std::uint64_t unexpected = 0;
    int last_unexpected = 0;
};

struct Scene {
    Value* same = nullptr;
    Value* other = nullptr;
    WorkTotals* totals = nullptr;
    Counts counts;
};

void runner(task::Task&, const Callback& callback) noexcept {
    static_cast<Value*>(callback.value)->runs.fetch_add(1, std::memory_order_relaxed);
}

void schedule_counted(Scene& scene, Value& value) {
    ScheduleRequest request;
    request.target = current();
    request.callback = {kCallbackTest, 0, nullptr, nullptr, &value};
    request.totals = scene.totals;
    const std::errc result = schedule(value.slot, request);
    if (result == no_error) {
        ++scene.counts.scheduled;
    } else if (result != std::errc::device_or_resource_busy &&
               result != std::errc::not_enough_memory) {  // K117: these and no others.
        ++scene.counts.unexpected;
        scene.counts.last_unexpected = static_cast<int>(result);
    }
}

void body_schedule(void* argument) {
    auto& scene = *static_cast<Scene*>(argument);
    schedule_counted(scene, *scene.same);
}
void body_cancel(void* argument) { cancel(static_cast<Scene*>(argument)->same->slot); }
/// A schedule in an open section, cancelled before it could run, then another one that runs at the
/// section's end.
void body_section(void* argument) {
    auto& scene = *static_cast<Scene*>(argument);
    const task::Section section(current());
    schedule_counted(scene, *scene.same);
    cancel(scene.same->slot);
    schedule_counted(scene, *scene.same);
}
void body_claim(void*) {
    sync::Pool& pool = WorkTable::get().contexts;
    void* object = pool.claim(current()->process, kStateAttaching);
    if (object != nullptr) {
        pool.release(object);
    }
}

void event_schedule_same(void* argument) { body_schedule(argument); }
void event_schedule_other(void* argument) {
    auto& scene = *static_cast<Scene*>(argument);
    schedule_counted(scene, *scene.other);
}
void event_cancel(void* argument) { body_cancel(argument); }
void event_cancel_and_schedule(void* argument) {
    body_cancel(argument);
    body_schedule(argument);
}

struct Named {
    const char* name;
    void (*function)(void*);
};
constexpr Named kBodies[] = {{"schedule", body_schedule},
                             {"cancel", body_cancel},
                             {"section", body_section},
                             {"claim", body_claim}};
constexpr Named kEvents[] = {{"schedule_same", event_schedule_same},
                             {"schedule_other", event_schedule_other},
                             {"cancel", event_cancel},
                             {"cancel_and_schedule", event_cancel_and_schedule},
                             {"claim", body_claim}};

class EveryInstruction : public testing::TestWithParam<std::tuple<Named, Named>> {
protected:
    void SetUp() override {
        if (!task::kCanSingleStep) {
            GTEST_SKIP() << "no single step under this sanitizer";
        }
        ASSERT_EQ(WorkTable::create(8192), no_error);
        set_callback_runner(kCallbackTest, runner);
        auto* values = static_cast<Value*>(sync::Arena::allocate(sizeof(Value) * 2, 64));
        scene_.same = &values[0];
        scene_.other = &values[1];
        scene_.totals = static_cast<WorkTotals*>(sync::Arena::allocate(sizeof(WorkTotals), 64));
    }
    /// Everything the runs did adds up, nothing is left behind.
    void check(const char* how, std::uint64_t step) {
        task::safe_point();
        const WorkCounts sum = counts(*scene_.totals);
        ASSERT_EQ(sum.scheduled, scene_.counts.scheduled) << how << " at " << step;
        ASSERT_EQ(sum.scheduled, sum.ran + sum.cancelled) << how << " at " << step;
        ASSERT_EQ(sum.in_flight, 0U) << how << " at " << step;
        ASSERT_EQ(scene_.counts.unexpected, 0U)
            << how << " at " << step << ": error " << scene_.counts.last_unexpected;
        ASSERT_EQ(sum.ran, scene_.same->runs.load(std::memory_order_relaxed) +
                               scene_.other->runs.load(std::memory_order_relaxed))
            << how << " at " << step;
        ASSERT_EQ(current()->statistics.notifications.get(), 0U);
    }
    task::TestDomain domain_;
    Scene scene_;
};

TEST_P(EveryInstruction, K116_an_event_there_loses_nothing) {
    const auto [body, event] = GetParam();
    // Once to warm up: the first schedule publishes a context.
    body.function(&scene_);
    const std::uint64_t steps = task::single_step(body.function, &scene_, event.function, &scene_);
    check("after each", 0);
    ASSERT_GT(steps, 20U) << "the body was stepped through";
    task::Worker::synchronize();  // Contexts retired by cancels come back.
    // Every instruction again, with room between the events.
    constexpr std::uint64_t kStride = 17;
    for (std::uint64_t first = 1; first <= kStride; ++first) {
        task::single_step(body.function, &scene_, event.function, &scene_, first, kStride);
        check("after every 17th from", first);
        task::Worker::synchronize();
    }
    // And one event alone, at places spread over the body; over all of them where there is time.
    const std::uint64_t spread = std::getenv("TASKWORK_PROVE") != nullptr ? 1 : steps / 40 + 1;
    for (std::uint64_t first = 1; first <= steps && !HasFatalFailure(); first += spread) {
        task::single_step(body.function, &scene_, event.function, &scene_, first, 0);
        check("after one", first);
        if (first % 64 == 0) {
            task::Worker::synchronize();
        }
    }
    cancel(scene_.same->slot);
    cancel(scene_.other->slot);
    task::Worker::synchronize();
    task::Worker::synchronize();
    EXPECT_EQ(WorkTable::get().contexts.count_free(), WorkTable::get().contexts.count());
}

INSTANTIATE_TEST_SUITE_P(Of, EveryInstruction,
                         testing::Combine(testing::ValuesIn(kBodies), testing::ValuesIn(kEvents)),
                         [](const auto& instance) {
                             return std::string(std::get<0>(instance.param).name) + "_under_" +
                                    std::get<1>(instance.param).name;
                         });

}  // namespace
}  // namespace taskwork::defer
