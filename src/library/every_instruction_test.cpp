// SPDX-License-Identifier: Apache-2.0
//
// The public operations, interrupted after each of their instructions by a handler that uses the
// same works.
#include <atomic>
#include <cstdlib>

#include "library/test_library.hpp"
#include "task/single_step.hpp"

namespace taskwork::library {
namespace {

/// Plain data: handlers use it.
struct Scene {
    Task me;
    Work stepped;  ///< What the stepped operation works on,
    Work other;    ///< and one that only the handler uses.
    std::uint64_t accepted = 0;
    std::uint64_t cancelled = 0;
    std::uint64_t runs = 0;
};
Scene* scene = nullptr;

void count(std::errc error) {
    if (error == kNoError) {
        ++scene->accepted;
    } else if (error != std::errc::device_or_resource_busy) {
        std::abort();
    }
}

void schedule_both(void*) {
    const auto run = []() noexcept { ++scene->runs; };
    count(schedule(scene->other, scene->me, anywhere(run)));
    count(schedule(scene->stepped, scene->me, at_safe_point(run), Mode::resume));
}

void cancel_stepped(void*) { scene->cancelled += scene->stepped.cancel() ? 1 : 0; }

void look(void*) {
    const Task copy = current_task();
    if (copy != scene->me || !copy.is_alive()) {
        std::abort();
    }
    (void)scene->stepped.state();
    (void)scene->stepped.round();
}

using Body = void (*)(void*);

void schedule_here(void*) {
    count(schedule(scene->stepped, scene->me, anywhere([]() noexcept { ++scene->runs; })));
}
void schedule_safe(void*) {
    count(schedule(scene->stepped, scene->me, at_safe_point([]() noexcept { ++scene->runs; })));
    safe_point();
}
void schedule_and_cancel(void*) {
    count(schedule(scene->stepped, scene->me, at_safe_point([]() noexcept { ++scene->runs; })));
    cancel_stepped(nullptr);
}
void make_and_destroy(void*) {
    Work work;
    const std::uint64_t before = scene->runs;
    if (schedule(work, scene->me, anywhere([]() noexcept { ++scene->runs; })) != kNoError ||
        scene->runs == before) {
        std::abort();
    }
    ++scene->accepted;
}
void again_from_its_callback(void*) {
    count(schedule(scene->stepped, scene->me, anywhere([]() noexcept {
                       ++scene->runs;
                       count(schedule(scene->stepped, scene->me,
                                      anywhere([]() noexcept { ++scene->runs; })));
                   })));
}

struct Case {
    const char* name;
    Body body;
};

class LibraryInstructionTest : public testing::TestWithParam<Case> {
protected:
    void SetUp() override {
        if (!task::kCanSingleStep) {
            GTEST_SKIP() << "stepping needs the shipped code";
        }
        ASSERT_EQ(init(), kNoError);
        scene = &scene_;
        scene_.me = this_task();
    }
    /// One event after the first, the second, ... instruction, in turn.
    void step_with(void (*event)(void*)) {
        const Body body = GetParam().body;
        body(nullptr);
        const std::uint64_t steps =
            task::single_step(body, nullptr, [](void*) {}, nullptr, 1, 1, false);
        ASSERT_GT(steps, 50U);
        // With TASKWORK_PROVE after each instruction, else after some of them.
        const std::uint64_t stride = std::getenv("TASKWORK_PROVE") != nullptr ? 1 : 31;
        for (std::uint64_t at = 1; at <= steps; at += stride) {
            task::single_step(body, nullptr, event, nullptr, at, 0);
            safe_point();
            safe_point();
            ASSERT_EQ(scene_.stepped.state(), Work::State::idle) << "at instruction " << at;
            ASSERT_EQ(scene_.other.state(), Work::State::idle);
            ASSERT_EQ(scene_.runs + scene_.cancelled, scene_.accepted) << "at instruction " << at;
        }
    }
    Scene scene_;
};

INSTANTIATE_TEST_SUITE_P(, LibraryInstructionTest,
                         testing::Values(Case{"schedule_here", schedule_here},
                                         Case{"schedule_safe", schedule_safe},
                                         Case{"schedule_and_cancel", schedule_and_cancel},
                                         Case{"make_and_destroy", make_and_destroy},
                                         Case{"again_from_its_callback", again_from_its_callback}),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST_P(LibraryInstructionTest, a_handler_that_schedules_the_same_work_and_another_loses_nothing) {
    step_with(schedule_both);
}

TEST_P(LibraryInstructionTest, a_handler_that_cancels_the_same_work_loses_nothing) {
    step_with(cancel_stepped);
}

TEST_P(LibraryInstructionTest, a_handler_that_looks_changes_nothing) { step_with(look); }

}  // namespace
}  // namespace taskwork::library
