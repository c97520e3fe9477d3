// SPDX-License-Identifier: Apache-2.0
//
// A process that stands still after an instruction of schedule, cancel, drain and section exit, at
// places spread over each of them (with TASKWORK_PROVE in the environment: after every one), while
// another does its own on the same slot, from beginning to end: nobody waits for it (K18, K38), the
// callback may overtake its scheduler (K23-K26), and when it goes on everything adds up. The races
// of two, in the real code, in an order that the test chooses.
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <string>
#include <tuple>

#include "defer/test_works.hpp"
#include "task/single_step.hpp"

namespace taskwork::defer {
namespace {

using task::current;
using task::Notify;
using task::Task;

/// Of the tests' fixture, which plain functions cannot use.
std::errc schedule_onto(TestScene& scene, std::uint32_t index, Task* target) {
    ScheduleRequest wanted;
    wanted.target = target;
    wanted.mode = Notify::none;
    wanted.callback = {kCallbackTest, 0, nullptr, nullptr, &scene.values[index]};
    wanted.user_count = &scene.user_count;
    wanted.totals = &scene.totals;
    return schedule(scene.values[index].slot, wanted);
}

Task* host_of(TestScene& scene) { return scene.target.load(std::memory_order_acquire); }
Task* exited_of(TestScene& scene) {
    return reinterpret_cast<Task*>(scene.words[0].load(std::memory_order_acquire));
}
Task* victim_of(TestScene& scene) {
    return reinterpret_cast<Task*>(scene.words[1].load(std::memory_order_acquire));
}

/// What the one that will stand still does: `prepare`, then `body`.
struct Life {
    const char* name;
    void (*prepare)(TestScene&);
    void (*body)(TestScene&);
};
void nothing(TestScene&) {}
void on_itself(TestScene& scene) {
    current()->section.enter(platform::stack_pointer());
    schedule_onto(scene, 0, current());
    schedule_onto(scene, 1, current());
    schedule_onto(scene, 2, current());
    cancel(scene.values[1].slot);
}
void drain_all(TestScene&) {
    current()->section.exit();
    task::safe_point();
}
constexpr Life kLives[] = {
    {"scheduling_onto_the_other", nothing,
     [](TestScene& scene) { schedule_onto(scene, 0, host_of(scene)); }},
    {"scheduling_onto_itself", nothing,
     [](TestScene& scene) { schedule_onto(scene, 0, current()); }},
    {"scheduling_onto_one_that_has_exited", nothing,
     [](TestScene& scene) { schedule_onto(scene, 0, exited_of(scene)); }},
    {"cancelling_what_is_on_itself", on_itself,
     [](TestScene& scene) {
         cancel(scene.values[0].slot);
         drain_all(scene);
     }},
    {"cancelling_what_is_on_the_other",
     [](TestScene& scene) { schedule_onto(scene, 0, host_of(scene)); },
     [](TestScene& scene) { cancel(scene.values[0].slot); }},
    {"draining", on_itself, drain_all},
    {"ending_a_section", nothing,
     [](TestScene& scene) {
         const task::Section section(current());
         schedule_onto(scene, 0, current());
         cancel(scene.values[0].slot);
         schedule_onto(scene, 0, current());
     }},
};

/// What the host does meanwhile.
struct Deed {
    const char* name;
    void (*function)(TestScene&);
};
constexpr Deed kDeeds[] = {
    {"schedules_onto_itself", [](TestScene& scene) { schedule_onto(scene, 0, current()); }},
    {"schedules_onto_it", [](TestScene& scene) { schedule_onto(scene, 0, victim_of(scene)); }},
    {"cancels", [](TestScene& scene) { cancel(scene.values[0].slot); }},
    {"deletes_and_recycles",
     [](TestScene& scene) {
         cancel_dead(scene.values[0].slot);
         reset(scene.values[0].slot);
     }},
    {"runs", [](TestScene&) { task::safe_point(); }},
    // The scheduler is late for a round that is over, and another has begun (R17, R18).
    {"runs_and_schedules_again",
     [](TestScene& scene) {
         task::safe_point();
         const task::Section section(current());
         schedule_onto(scene, 0, current());
     }},
    {"runs_and_cancels",
     [](TestScene& scene) {
         task::safe_point();
         cancel(scene.values[0].slot);
     }},
    {"uses_every_context",
     [](TestScene& scene) {
         for (std::uint32_t index = 1; index < TestScene::kValues; ++index) {
             schedule_onto(scene, index, current());
             cancel(scene.values[index].slot);
         }
     }},
};

class Stopped : public WorksTest, public testing::WithParamInterface<std::tuple<Life, Deed>> {
protected:
    Stopped() : WorksTest(24) {}
    void SetUp() override {
        if (!task::kCanSingleStep) {
            GTEST_SKIP() << "no single step under this sanitizer";
        }
        scene_->target.store(current(), std::memory_order_release);
    }

    /// A process that lives `life` and stands still after instruction `at` of its body, while the
    /// host does `deed`. False if it came to the end before. Leaves what it stepped in `words[2]`.
    bool meet(const Life& life, const Deed& deed, std::uint64_t at) {
        // Those that have ended come back when the worker has seen them.
        task::wait_until([] { return task::TaskTable::get().tasks.count_free() > 8; });
        // A task that has exited stays memory while this section is open.
        const task::ReadSection keep(*current(), sync::Flavour::sleepable);
        Task* exited = nullptr;
        task::task_thread([&] { exited = current(); }).join();
        scene_->words[0].store(reinterpret_cast<std::uint64_t>(exited), std::memory_order_release);
        const pid_t child = ::fork();
        if (child == 0) {
            if (task::join_process("stopped") != no_error ||
                task::register_current(0, 0) != no_error) {
                ::_exit(3);
            }
            scene_->words[1].store(reinterpret_cast<std::uint64_t>(current()),
                                   std::memory_order_release);
            life.prepare(*scene_);
            struct Call {
                void (*body)(TestScene&);
                TestScene* scene;
            } call{life.body, scene_};
            const std::uint64_t steps = task::single_step(
                [](void* argument) {
                    auto* one = static_cast<Call*>(argument);
                    one->body(*one->scene);
                },
                &call, [](void*) { ::kill(::getpid(), SIGSTOP); }, nullptr, at, 0, false);
            scene_->words[2].store(steps, std::memory_order_release);
            task::safe_point();
            task::exit_current();
            ::_exit(4);
        }
        int status = 0;
        EXPECT_EQ(::waitpid(child, &status, WUNTRACED), child);
        const bool stood = WIFSTOPPED(status);
        if (stood) {
            deed.function(*scene_);
            ::kill(child, SIGCONT);
            EXPECT_EQ(::waitpid(child, &status, 0), child);
        }
        EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 4) << status;
        return stood;
    }
};

TEST_P(Stopped, K18_K23_K24_K25_K26_K28_K29_K38_one_that_stands_still_is_waited_for_by_nobody) {
    const auto [life, deed] = GetParam();
    EXPECT_FALSE(meet(life, deed, UINT64_MAX));
    const std::uint64_t steps = scene_->words[2].load(std::memory_order_acquire);
    ASSERT_GT(steps, 20U) << "the body was stepped through";
    const std::uint64_t stride = std::getenv("TASKWORK_PROVE") != nullptr ? 1 : steps / 10 + 1;
    std::uint64_t stands = 0;
    for (std::uint64_t at = 1; at <= steps && !HasFailure(); at += stride) {
        const std::string where = "stood after " + std::to_string(at);
        stands += meet(life, deed, at) ? 1 : 0;
        task::safe_point();
        expect_ended(where);
        EXPECT_EQ(totals().dropped, 0U) << where << ": nobody died";
        expect_all_contexts_back(where);
    }
    EXPECT_GT(stands, 5U);
}

INSTANTIATE_TEST_SUITE_P(Process, Stopped,
                         testing::Combine(testing::ValuesIn(kLives), testing::ValuesIn(kDeeds)),
                         [](const auto& instance) {
                             return std::string(std::get<0>(instance.param).name) +
                                    "_while_the_host_" + std::get<1>(instance.param).name;
                         });

}  // namespace
}  // namespace taskwork::defer
