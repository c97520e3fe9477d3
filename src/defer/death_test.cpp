// SPDX-License-Identifier: Apache-2.0
//
// A member that dies after an instruction of schedule, cancel, drain and section exit, at places
// spread over each of them (with TASKWORK_PROVE in the environment: after every one). The counts
// balance once it has been swept, every context is found again, and the slots are usable.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <new>
#include <string>

#include "defer/task_work.hpp"
#include "sync/arena.hpp"
#include "task/single_step.hpp"
#include "task/test_domain.hpp"

namespace taskwork::defer {
namespace {

using task::current;
using task::Notify;
using task::Task;
using task::wait_until;

struct alignas(64) Value {
    Slot slot;
    platform::Atomic<std::uint64_t> runs;
};

/// In the arena: what the victim leaves behind is looked at from here.
struct alignas(64) Scene {
    Value values[4];
    WorkTotals totals;
    platform::Atomic<Task*> sleeper;
    platform::Atomic<std::uint64_t> steps;  ///< Of a victim that came to the end.
};

void runner(Task&, const Callback& callback) noexcept {
    static_cast<Value*>(callback.value)->runs.fetch_add(1, std::memory_order_relaxed);
}

std::errc schedule_on(Scene& scene, Value& value, Task* target) {
    ScheduleRequest request;
    request.target = target;
    request.mode = Notify::none;
    request.callback = {kCallbackTest, 0, nullptr, nullptr, &value};
    request.totals = &scene.totals;
    return schedule(value.slot, request);
}

Task* sleeper_of(Scene& scene) { return scene.sleeper.load(std::memory_order_acquire); }

/// What the victim does: `prepare`, and then `body`, in which it dies.
struct Life {
    const char* name;
    void (*prepare)(Scene&);
    void (*body)(void*);
};

void nothing(Scene&) {}

void pending_on_other(Scene& scene) { schedule_on(scene, scene.values[0], sleeper_of(scene)); }

void pending_on_self(Scene& scene) {
    current()->section.enter(platform::stack_pointer());
    schedule_on(scene, scene.values[0], current());
    schedule_on(scene, scene.values[1], current());
}

/// Three on the list, of which the middle one is cancelled: the drain meets all kinds.
void pending_and_cancelled(Scene& scene) {
    pending_on_self(scene);
    schedule_on(scene, scene.values[2], current());
    cancel(scene.values[1].slot);
}

void used_before(Scene& scene) {
    schedule_on(scene, scene.values[0], current());
    task::safe_point();
}

Scene& scene_of(void* argument) { return *static_cast<Scene*>(argument); }

void body_schedule_on_self(void* argument) {
    schedule_on(scene_of(argument), scene_of(argument).values[0], current());
}
void body_schedule_on_other(void* argument) {
    schedule_on(scene_of(argument), scene_of(argument).values[0], sleeper_of(scene_of(argument)));
}
void body_cancel(void* argument) { cancel(scene_of(argument).values[0].slot); }
void body_cancel_dead(void* argument) { cancel_dead(scene_of(argument).values[0].slot); }
/// The outermost section ends with works on the list.
void body_section(void* argument) {
    Scene& scene = scene_of(argument);
    const task::Section section(current());
    schedule_on(scene, scene.values[0], current());
    cancel(scene.values[0].slot);
    schedule_on(scene, scene.values[0], current());
    schedule_on(scene, scene.values[1], sleeper_of(scene));
}
/// Opened by `prepare`; its end drains.
void body_drain(void*) {
    current()->section.exit();
    task::safe_point();
}

constexpr Life kLives[] = {
    {"first_schedule_on_itself", nothing, body_schedule_on_self},
    {"next_schedule_on_itself", used_before, body_schedule_on_self},
    {"first_schedule_on_another", nothing, body_schedule_on_other},
    {"next_schedule_on_another", used_before, body_schedule_on_other},
    {"cancel_of_an_idle_work", used_before, body_cancel},
    {"cancel_on_itself", pending_on_self, body_cancel},
    {"cancel_on_another", pending_on_other, body_cancel},
    {"cancel_dead_on_itself", pending_on_self, body_cancel_dead},
    {"cancel_dead_on_another", pending_on_other, body_cancel_dead},
    {"drain", pending_on_self, body_drain},
    {"drain_with_cancelled", pending_and_cancelled, body_drain},
    {"section", nothing, body_section},
};

class Death : public testing::TestWithParam<Life> {
protected:
    void SetUp() override {
        if (!task::kCanSingleStep) {
            GTEST_SKIP() << "no single step under this sanitizer";
        }
        ASSERT_EQ(WorkTable::create(256), no_error);
        set_callback_runner(kCallbackTest, runner);
        scene_ = static_cast<Scene*>(sync::Arena::allocate(sizeof(Scene), 64));
        new (scene_) Scene;
    }

    /// A victim that dies after instruction `at` of the life's body (0: not at all). False if it
    /// came to the end.
    bool live(const Life& life, std::uint64_t at) {
        const pid_t child = ::fork();
        if (child == 0) {
            if (task::join_process("victim") != no_error ||
                task::register_current(0, 0) != no_error) {
                ::_exit(3);
            }
            life.prepare(*scene_);
            const std::uint64_t steps = task::single_step(
                life.body, scene_, [](void*) { ::kill(::getpid(), SIGKILL); }, nullptr,
                at == 0 ? UINT64_MAX : at, 0, false);
            scene_->steps.store(steps, std::memory_order_relaxed);
            ::_exit(4);
        }
        int status = 0;
        EXPECT_EQ(::waitpid(child, &status, 0), child);
        EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 4) << status;
        const task::TaskTable& table = task::TaskTable::get();
        wait_until([&] { return table.processes.count_free() == processes_free_; });
        return WIFSIGNALED(status);
    }

    std::uint64_t runs() const {
        std::uint64_t sum = 0;
        for (const Value& value : scene_->values) {
            sum += value.runs.load(std::memory_order_relaxed);
        }
        return sum;
    }

    /// After the sweep: nothing is in flight but on the sleeper, and when that has drained, nothing
    /// at all; each slot can be used; every context comes back.
    void expect_whole(std::uint64_t at) {
        wait_until([&] {
            const WorkCounts sum = counts(scene_->totals);
            return sum.scheduled == sum.ran + sum.cancelled + sum.dropped && sum.in_flight == 0;
        });
        for (Value& value : scene_->values) {
            reset(value.slot);  // Of a deleted element, recycled.
            ASSERT_EQ(schedule_on(*scene_, value, current()), no_error) << "after " << at;
            task::safe_point();
            cancel(value.slot);
        }
        const WorkCounts sum = counts(scene_->totals);
        ASSERT_EQ(sum.scheduled, sum.ran + sum.cancelled + sum.dropped) << "after " << at;
        ASSERT_EQ(sum.in_flight, 0U) << "after " << at;
        // A victim may die after its callback and before it says that it ran: then it is dropped.
        ASSERT_LE(sum.ran, runs()) << "after " << at;
        ASSERT_LE(runs() - sum.ran, sum.dropped) << "after " << at;
        const sync::Pool& contexts = WorkTable::get().contexts;
        wait_until([&] {
            task::Worker::synchronize();
            return contexts.count_free() == contexts.count();
        });
    }

    task::TestDomain domain_;
    Scene* scene_ = nullptr;
    std::uint32_t processes_free_ = 0;
};

TEST_P(Death, after_any_instruction_leaves_counts_balanced_and_contexts_found) {
    const Life& life = GetParam();
    processes_free_ = task::TaskTable::get().processes.count_free();
    // Runs what victims leave on it, at once.
    platform::Atomic<std::uint32_t> stop;
    std::thread sleeper = task::task_thread([&] {
        scene_->sleeper.store(current(), std::memory_order_release);
        while (stop.load(std::memory_order_acquire) == 0) {
            ::usleep(200);
            task::safe_point();
        }
    });
    wait_until([&] { return sleeper_of(*scene_) != nullptr; });
    EXPECT_FALSE(live(life, 0));
    expect_whole(0);
    const std::uint64_t steps = scene_->steps.load(std::memory_order_relaxed);
    EXPECT_GT(steps, 20U) << "the body was stepped through";
    const std::uint64_t stride = std::getenv("TASKWORK_PROVE") != nullptr ? 1 : steps / 25 + 1;
    std::uint64_t deaths = 0;
    for (std::uint64_t at = 1; at <= steps && !HasFatalFailure() && !HasFailure(); at += stride) {
        deaths += live(life, at) ? 1 : 0;
        expect_whole(at);
    }
    EXPECT_GT(deaths, 10U);
    RecordProperty("deaths", static_cast<int>(deaths));
    stop.store(1, std::memory_order_release);
    sleeper.join();
}

INSTANTIATE_TEST_SUITE_P(In, Death, testing::ValuesIn(kLives),
                         [](const auto& instance) { return std::string(instance.param.name); });

}  // namespace
}  // namespace taskwork::defer
