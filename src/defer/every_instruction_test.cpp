// SPDX-License-Identifier: Apache-2.0
//
// An event after every instruction of schedule, run, cancel, delete, drain, section exit and
// allocation: it schedules on the same work and on another, onto the thread it interrupts and onto
// another, cancels, deletes, claims and releases (K116, K117, K39). Updates of a map as the event,
// or under it: src/map/deferral_instruction_test.cpp, src/map/operations_instruction_test.cpp.
//
// The short form puts one event after some instructions of each; with TASKWORK_PROVE in the
// environment there is one alone after each of them. `make prove` does that in the release build as
// well, which is the code that ships:
//     TASKWORK_PROVE=1 build/release/src/defer/defer_every_instruction_test
#include <gtest/gtest.h>
#include <poll.h>

#include <cstdlib>
#include <string>
#include <thread>
#include <tuple>

#include "defer/context.hpp"
#include "defer/task_work.hpp"
#include "sync/arena.hpp"
#include "task/single_step.hpp"
#include "task/test_domain.hpp"

namespace taskwork::defer {
namespace {

using task::current;

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
    Value* third = nullptr;
    WorkTotals* totals = nullptr;
    task::Task* elsewhere = nullptr;  ///< A thread that waits, and runs what it is told of.
    Counts counts;
};

void runner(task::Task&, const Callback& callback) noexcept {
    static_cast<Value*>(callback.value)->runs.fetch_add(1, std::memory_order_relaxed);
}

void schedule_counted(Scene& scene, Value& value, task::Task* target = current()) {
    ScheduleRequest request;
    request.target = target;
    request.callback = {kCallbackTest, 0, nullptr, nullptr, &value};
    request.totals = scene.totals;
    const std::errc result = schedule(value.slot, request);
    if (result == no_error) {
        ++scene.counts.scheduled;
    } else if (result != std::errc::device_or_resource_busy &&
               result != std::errc::not_enough_memory &&  // K117: these and no others,
               // and K96 where an event has deleted the element.
               !(result == std::errc::no_such_file_or_directory &&
                 value.slot.word.load(std::memory_order_relaxed) == kSlotDead)) {
        ++scene.counts.unexpected;
        scene.counts.last_unexpected = static_cast<int>(result);
    }
}

Scene& scene_of(void* argument) { return *static_cast<Scene*>(argument); }

void nothing(Scene&) {}
/// The slot has a context, which is idle.
void an_idle_work(Scene& scene) { schedule_counted(scene, *scene.same); }
/// Three on the own list, of which the middle one is cancelled; the section stays open.
void works_on_the_list(Scene& scene) {
    current()->section.enter(platform::stack_pointer());
    schedule_counted(scene, *scene.same);
    schedule_counted(scene, *scene.third);
    schedule_counted(scene, *scene.other);
    cancel(scene.third->slot);
}

void schedule_same(void* argument) {
    schedule_counted(scene_of(argument), *scene_of(argument).same);
}
void schedule_other(void* argument) {
    schedule_counted(scene_of(argument), *scene_of(argument).other);
}
void schedule_elsewhere(void* argument) {
    Scene& scene = scene_of(argument);
    schedule_counted(scene, *scene.same, scene.elsewhere);
}
void cancel_same(void* argument) { cancel(scene_of(argument).same->slot); }
void cancel_and_schedule(void* argument) {
    cancel_same(argument);
    schedule_same(argument);
}
void delete_same(void* argument) { cancel_dead(scene_of(argument).same->slot); }
/// Nobody else can reach the element that a body recycles, so only bodies do.
void delete_and_recycle(void* argument) {
    delete_same(argument);
    reset(scene_of(argument).same->slot);
}
/// A schedule in an open section, cancelled before it could run, then another one that runs at the
/// section's end.
void section(void* argument) {
    const task::Section open(current());
    schedule_same(argument);
    cancel_same(argument);
    schedule_same(argument);
}
void empty_section(void*) {
    const task::Section open(current());
    const task::ReadSection brief(*current(), sync::Flavour::brief);
}
void drain(void*) {
    current()->section.exit();
    task::safe_point();
}
void claim_and_release(void*) {
    sync::Pool& pool = WorkTable::get().contexts;
    if (void* object = pool.claim({current()->process}, kStateAttaching); object != nullptr) {
        pool.release(object);
    }
}
void claim_and_retire(void*) {
    sync::Pool& pool = WorkTable::get().contexts;
    if (void* object = pool.claim({current()->process}, kStateAttaching); object != nullptr) {
        begin_life(*static_cast<WorkContext*>(object), sync::Pool::load(object).round());
        pool.retire(object);
    }
}

struct Body {
    const char* name;
    void (*function)(void*);
    void (*prepare)(Scene&) = nothing;
};
constexpr Body kBodies[] = {{"schedule", schedule_same},
                            {"schedule_elsewhere", schedule_elsewhere},
                            {"cancel", cancel_same, an_idle_work},
                            {"cancel_on_the_list",
                             [](void* argument) {
                                 cancel_same(argument);
                                 drain(argument);
                             },
                             works_on_the_list},
                            {"delete_and_recycle", delete_and_recycle, an_idle_work},
                            {"section", section},
                            {"empty_section", empty_section},
                            {"drain", drain, works_on_the_list},
                            {"claim", claim_and_release},
                            {"retire", claim_and_retire}};
struct Event {
    const char* name;
    void (*function)(void*);
};
constexpr Event kEvents[] = {{"schedule_same", schedule_same},
                             {"schedule_other", schedule_other},
                             {"schedule_elsewhere", schedule_elsewhere},
                             {"cancel", cancel_same},
                             {"cancel_and_schedule", cancel_and_schedule},
                             {"delete", delete_same},
                             {"claim", claim_and_release},
                             {"retire", claim_and_retire}};

class EveryInstruction : public testing::TestWithParam<std::tuple<Body, Event>> {
protected:
    void SetUp() override {
        if (!task::kCanSingleStep) {
            GTEST_SKIP() << "no single step under this sanitizer";
        }
        ASSERT_EQ(WorkTable::create(8192), no_error);
        set_callback_runner(kCallbackTest, runner);
        auto* values = static_cast<Value*>(sync::Arena::allocate(sizeof(Value) * 3, 64));
        scene_.same = &values[0];
        scene_.other = &values[1];
        scene_.third = &values[2];
        scene_.totals = static_cast<WorkTotals*>(sync::Arena::allocate(sizeof(WorkTotals), 64));
        elsewhere_ = task::task_thread([this] {
            at_.store(current(), std::memory_order_release);
            while (stop_.load(std::memory_order_acquire) == 0) {
                ::poll(nullptr, 0, 20);  // No run point but the handler.
            }
        });
        task::wait_until([&] { return at_.load(std::memory_order_acquire) != nullptr; });
        scene_.elsewhere = at_.load(std::memory_order_acquire);
    }
    void TearDown() override {
        stop_.store(1, std::memory_order_release);
        if (elsewhere_.joinable()) {
            elsewhere_.join();
        }
    }
    /// The body once, with events as Stepper says. Returns the instructions of it.
    std::uint64_t step(const Body& body, const Event& event, std::uint64_t first,
                       std::uint64_t stride) {
        body.prepare(scene_);
        return task::single_step(body.function, &scene_, event.function, &scene_, first, stride);
    }
    /// Everything the runs did adds up, nothing is left behind.
    void check(const char* how, std::uint64_t at) {
        task::safe_point();
        task::wait_until([&] { return counts(*scene_.totals).in_flight == 0; });
        const WorkCounts sum = counts(*scene_.totals);
        ASSERT_EQ(sum.scheduled, scene_.counts.scheduled) << how << " at " << at;
        ASSERT_EQ(sum.scheduled, sum.ran + sum.cancelled) << how << " at " << at;
        ASSERT_EQ(sum.in_flight, 0U) << how << " at " << at;
        ASSERT_EQ(scene_.counts.unexpected, 0U)
            << how << " at " << at << ": error " << scene_.counts.last_unexpected;
        std::uint64_t runs = 0;
        for (const Value* value : {scene_.same, scene_.other, scene_.third}) {
            runs += value->runs.load(std::memory_order_relaxed);
        }
        ASSERT_EQ(sum.ran, runs) << how << " at " << at;
        if (scene_.same->slot.word.load(std::memory_order_relaxed) == kSlotDead) {
            reset(scene_.same->slot);
        }
    }
    task::TestDomain domain_;
    Scene scene_;
    platform::Atomic<task::Task*> at_;
    platform::Atomic<std::uint32_t> stop_;
    std::thread elsewhere_;
};

TEST_P(EveryInstruction, K39_K40_K116_K117_an_event_there_loses_nothing) {
    const auto [body, event] = GetParam();
    const bool all = std::getenv("TASKWORK_PROVE") != nullptr;
    // Once to warm up: the first schedule publishes a context.
    body.prepare(scene_);
    body.function(&scene_);
    // After each instruction of one run.
    const std::uint64_t steps = step(body, event, 1, 1);
    check("after each", 0);
    ASSERT_GT(steps, 10U) << "the body was stepped through";
    task::Worker::synchronize();  // Contexts retired by cancels come back.
    // With room between the events, so that each finds the body's doing and not the last one's. In
    // the short form the combinations begin at different places.
    constexpr std::uint64_t kStride = 17;
    const auto begin = static_cast<std::uint64_t>(body.name[0] + event.name[0] + event.name[3]);
    for (std::uint64_t first = all ? 1 : 1 + begin % kStride;
         first <= kStride && !HasFatalFailure(); first += all ? 1 : kStride) {
        step(body, event, first, kStride);
        check("after every 17th from", first);
        task::Worker::synchronize();
    }
    // And one event alone.
    const std::uint64_t spread = all ? 1 : steps / 6 + 1;
    std::uint64_t points = 0;
    for (std::uint64_t first = 1 + begin % spread; first <= steps && !HasFatalFailure();
         first += spread) {
        const bool fired = step(body, event, first, 0) >= first;
        check("after one", first);
        if (!fired) {
            break;  // It is shorter without the events of the first run, which use up contexts.
        }
        if (++points % 64 == 0) {
            task::Worker::synchronize();
        }
    }
    RecordProperty("points", static_cast<int>(points));
    for (Value* value : {scene_.same, scene_.other, scene_.third}) {
        cancel(value->slot);
    }
    const sync::Pool& pool = WorkTable::get().contexts;
    task::wait_until([&] { return pool.count_free() == pool.count(); });
    EXPECT_EQ(pool.count_free(), pool.count());
}

INSTANTIATE_TEST_SUITE_P(Of, EveryInstruction,
                         testing::Combine(testing::ValuesIn(kBodies), testing::ValuesIn(kEvents)),
                         [](const auto& instance) {
                             return std::string(std::get<0>(instance.param).name) + "_under_" +
                                    std::get<1>(instance.param).name;
                         });

}  // namespace
}  // namespace taskwork::defer
