// SPDX-License-Identifier: Apache-2.0
//
// What operations_instruction_test.cpp leaves open of events after instructions: an event that
// updates, deletes and looks up elements on top of schedule, cancel, drain, section exit and
// allocation, on the element whose work it is and on another; and one that claims and releases from
// a pool on top of operations of maps. Works and counts add up, and the map is as the operations
// say. With TASKWORK_PROVE in the environment: after every instruction, else after some of each.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdlib>
#include <string>
#include <vector>

#include "map/test_map.hpp"
#include "task/single_step.hpp"

namespace taskwork::map {
namespace {

struct Value {
    std::uint64_t number;
    std::uint64_t slot;
};

constexpr std::uint64_t kSame = 1;
constexpr std::uint64_t kOther = 2;
constexpr std::uint8_t kScratchUsed = sync::kStateUser;

/// What bodies and events work on; plain calls, legal in a handler.
struct Scene {
    Map* map = nullptr;
    sync::Pool scratch;
    std::uint64_t scheduled = 0;
    std::uint64_t unexpected = 0;
    std::uint64_t last_unexpected = 0;

    void expect(std::errc result, std::initializer_list<std::errc> allowed) {
        for (const std::errc one : allowed) {
            if (result == one) {
                return;
            }
        }
        ++unexpected;
        last_unexpected = static_cast<std::uint64_t>(result);
    }
    void schedule(std::uint64_t key) {
        const Sections sections;
        void* const value = map::lookup(*map, &key);
        if (value == nullptr) {
            return;
        }
        defer::ScheduleRequest request;
        request.target = task::current();
        request.callback = {defer::kCallbackTest, 0, nullptr, map, value};
        request.user_count = &map->user_count;
        request.totals = &map->works;
        const std::errc result = defer::schedule(*task_work_slot(*map, value), request);
        scheduled += result == no_error ? 1 : 0;
        expect(result, {no_error, std::errc::device_or_resource_busy, std::errc::not_enough_memory,
                        std::errc::no_such_file_or_directory});
    }
    void cancel(std::uint64_t key) {
        const Sections sections;
        if (void* const value = map::lookup(*map, &key); value != nullptr) {
            defer::cancel(*task_work_slot(*map, value));
        }
    }
    void update(std::uint64_t key) {
        const Sections sections;
        const Value value{key, 0xdead};
        expect(map::update(*map, &key, &value, BPF_ANY), {no_error, std::errc::not_enough_memory});
    }
    void remove(std::uint64_t key) {
        const Sections sections;
        expect(map::remove(*map, &key), {no_error, std::errc::no_such_file_or_directory,
                                         std::errc::invalid_argument});  // of arrays
    }
    void claim(bool retires) {
        void* object = scratch.claim({task::current()->process}, kScratchUsed);
        if (object == nullptr) {
            return;
        }
        if (retires) {
            scratch.retire(object);
        } else {
            scratch.release(object);
        }
    }
};

Scene& scene_of(void* argument) { return *static_cast<Scene*>(argument); }

struct Act {
    const char* name;
    void (*function)(void*);
    bool with_works = false;  ///< Bodies: works are on the list, in an open section, before.
};

void end_section(void*) {
    task::current()->section.exit();
    task::safe_point();
}

const std::vector<Act> kDeferralBodies = {
    {"schedule", [](void* s) { scene_of(s).schedule(kSame); }},
    {"cancel", [](void* s) { scene_of(s).cancel(kSame); }},
    {"cancel and drain",
     [](void* s) {
         scene_of(s).cancel(kSame);
         end_section(s);
     },
     true},
    {"drain", end_section, true},
    {"claim and release", [](void* s) { scene_of(s).claim(false); }},
    {"claim and retire", [](void* s) { scene_of(s).claim(true); }}};

const std::vector<Act> kMapEvents = {
    {"update", [](void* s) { scene_of(s).update(kSame); }},
    {"update of another", [](void* s) { scene_of(s).update(kOther); }},
    {"removal", [](void* s) { scene_of(s).remove(kSame); }},
    {"removal and insertion",
     [](void* s) {
         scene_of(s).remove(kSame);
         scene_of(s).update(kSame);
     }},
    {"update and schedule", [](void* s) {
         scene_of(s).update(kSame);
         scene_of(s).schedule(kSame);
     }}};

const std::vector<Act> kMapBodies = {{"update", [](void* s) { scene_of(s).update(kSame); }},
                                     {"removal", [](void* s) { scene_of(s).remove(kSame); }}};

const std::vector<Act> kAllocations = {
    {"claim and release", [](void* s) { scene_of(s).claim(false); }},
    {"claim and retire", [](void* s) { scene_of(s).claim(true); }}};

class DeferralUnderMapEvents : public MapTest {
protected:
    static constexpr std::uint32_t kScratch = 64;

    void SetUp() override {
        if (!task::kCanSingleStep) {
            GTEST_SKIP() << "no single step under this sanitizer";
        }
        void* objects = sync::Arena::allocate(sync::Pool::bytes(kScratch, 64), 64);
        ASSERT_NE(objects, nullptr);
        scene_.scratch.init(objects, kScratch, 64,
                            task::Worker::adopt_pool(scene_.scratch, nullptr, true));
    }
    void TearDown() override {
        if (task::kCanSingleStep) {
            task::Worker::disown_pool(scene_.scratch);
        }
    }

    void step_through(MapSpec spec, const std::vector<Act>& bodies,
                      const std::vector<Act>& events) {
        spec.value_size = sizeof(Value);
        spec.fields.task_work = offsetof(Value, slot);
        scene_.map = &make(spec);
        std::uint64_t points = 0;
        std::uint64_t combination = 0;
        for (const Act& body : bodies) {
            for (const Act& event : events) {
                SCOPED_TRACE(std::string(event.name) + " on top of " + body.name);
                const std::uint64_t steps = run(body, event, UINT64_MAX);
                ASSERT_GT(steps, 20U) << "the body was stepped through";
                const std::uint64_t stride =
                    std::getenv("TASKWORK_PROVE") != nullptr ? 1 : steps / 8 + 1;
                for (std::uint64_t at = 1 + combination++ % stride; at <= steps; at += stride) {
                    run(body, event, at);
                    ++points;
                    check("after instruction " + std::to_string(at));
                    if (HasFailure()) {
                        return;
                    }
                }
            }
        }
        EXPECT_GT(points, 20U);
        RecordProperty("points", static_cast<int>(points));
    }

private:
    std::uint64_t run(const Act& body, const Act& event, std::uint64_t at) {
        scene_.update(kSame);
        scene_.update(kOther);
        if (body.with_works) {
            task::current()->section.enter(platform::stack_pointer());
            scene_.schedule(kSame);
            scene_.schedule(kOther);
        } else {
            scene_.schedule(kSame);  // Has a context, and is idle again.
        }
        return task::single_step(body.function, &scene_, event.function, &scene_, at, 0);
    }
    void check(const std::string& where) {
        task::safe_point();
        ASSERT_EQ(scene_.unexpected, 0U) << where << ": error " << scene_.last_unexpected;
        const defer::WorkCounts works = defer::counts(scene_.map->works);
        ASSERT_EQ(works.in_flight, 0U) << where;
        ASSERT_EQ(works.scheduled, scene_.scheduled) << where;
        ASSERT_EQ(works.scheduled, works.ran + works.cancelled) << where;
        ASSERT_EQ(works.ran, static_cast<std::uint64_t>(runs())) << where;
        // Elements are whole and their slots usable.
        for (const std::uint64_t key : {kSame, kOther}) {
            scene_.update(key);
            const Sections sections;
            const auto* value = static_cast<const Value*>(map::lookup(*scene_.map, &key));
            ASSERT_TRUE(value != nullptr && value->number == key) << where;
            scene_.schedule(key);
            scene_.cancel(key);
        }
        // What is retired comes back, all of it.
        const sync::Pool& contexts = defer::WorkTable::get().contexts;
        for (const std::uint64_t key : {kSame, kOther}) {
            scene_.remove(key);
        }
        task::wait_until([&] {
            return contexts.count_free() == contexts.count() &&
                   scene_.scratch.count_free() == kScratch && usage(*scene_.map).waiting == 0;
        });
        ASSERT_EQ(contexts.count_free(), contexts.count()) << where;
        ASSERT_EQ(scene_.scratch.count_free(), kScratch) << where;
    }

    Scene scene_;
};

TEST_F(DeferralUnderMapEvents, K116_updates_of_a_hash_on_top_of_works) {
    step_through(hash(4), kDeferralBodies, kMapEvents);
}

TEST_F(DeferralUnderMapEvents, K116_updates_of_an_array_on_top_of_works) {
    step_through(array(4), kDeferralBodies, kMapEvents);
}

TEST_F(DeferralUnderMapEvents, K116_allocations_on_top_of_operations_of_a_hash) {
    step_through(hash(4), kMapBodies, kAllocations);
}

TEST_F(DeferralUnderMapEvents, K116_allocations_on_top_of_operations_of_an_array) {
    step_through(array(4), kMapBodies, kAllocations);
}

}  // namespace
}  // namespace taskwork::map
