// SPDX-License-Identifier: Apache-2.0
//
// The states of a context as they are between any two instructions (K19-K22): after each one of
// schedule, run, cancel and detach the words are read, and what has changed must be one of the
// documented edges. And cancels at the very moment that a work is in a given state (K32, K33, K36).
#include <gtest/gtest.h>

#include <array>
#include <string>

#include "defer/context.hpp"
#include "defer/test_works.hpp"
#include "task/single_step.hpp"

namespace taskwork::defer {
namespace {

using task::current;

constexpr std::uint32_t kContexts = 8;

/// States in one row: those of the word, and the publication in progress.
constexpr std::size_t kStates = 9;
constexpr std::size_t row(std::uint8_t state) {
    return state == kStateAttaching ? kStates - 1 : state;
}
constexpr std::size_t row(WorkState state) { return row(static_cast<std::uint8_t>(state)); }
constexpr std::size_t kFree = sync::kStateFree;
constexpr std::size_t kRetired = sync::kStateRetired;
constexpr std::size_t kAttaching = kStates - 1;
constexpr std::array<const char*, kStates> kNames = {"free",    "retired",    "standby",
                                                     "pending", "scheduling", "scheduled",
                                                     "running", "freed",      "attaching"};

struct Edge {
    std::size_t from;
    std::size_t to;
};
/// The drawing in task_work.hpp, the publication and the end.
constexpr Edge kEdges[] = {
    {kFree, kAttaching},
    {kAttaching, row(WorkState::standby)},
    {kAttaching, kFree},  // Another one was published first (R1).
    {row(WorkState::standby), row(WorkState::pending)},
    {row(WorkState::pending), row(WorkState::scheduled)},
    {row(WorkState::pending), row(WorkState::standby)},  // No user reference (K11).
    {row(WorkState::scheduled), row(WorkState::running)},
    {row(WorkState::scheduled), row(WorkState::scheduling)},  // The list is closed (K15),
    {row(WorkState::scheduling), row(WorkState::standby)},    // K28.
    {row(WorkState::running), row(WorkState::standby)},
    {row(WorkState::standby), row(WorkState::freed)},
    {row(WorkState::pending), row(WorkState::freed)},
    {row(WorkState::scheduling), row(WorkState::freed)},
    {row(WorkState::scheduled), row(WorkState::freed)},
    {row(WorkState::running), row(WorkState::freed)},
    {row(WorkState::freed), kRetired},
};

/// What is seen between instructions. One thread looks, at itself.
struct Trace {
    std::array<std::uint64_t, kContexts> words{};
    bool seen[kStates][kStates] = {};
    std::uint64_t broken = 0;  ///< Standby with a node promised (K30), freed left (K21) and so on.
    std::uint64_t steps = 0;
    /// Once, when a context is in this state, this is done, as by an event.
    std::size_t when = kStates;
    void (*then)(TestScene&) = nullptr;
    bool one_edge = false;  ///< It takes one, so that it can be looked at as well.
    TestScene* scene = nullptr;

    void look() {
        for (std::uint32_t index = 0; index < kContexts; ++index) {
            const sync::Word now = sync::Pool::load(WorkTable::get().contexts.at(index));
            const sync::Word before{words[index]};
            words[index] = now.bits;
            if (now == before) {
                continue;
            }
            const std::size_t from = row(before.state());
            const std::size_t to = row(now.state());
            if (from != to) {
                seen[from][to] = true;
            }
            // Rounds go up by one, where a life or a round begins, and stand still elsewhere.
            const bool begins = (from == kFree && to == kAttaching) ||
                                (from == row(WorkState::standby) && to == row(WorkState::pending));
            broken += now.round() - before.round() == (begins ? 1U : 0U) ? 0 : 1;
            // K30: nothing of a work is left in standby.
            broken +=
                to == row(WorkState::standby) && (now.flags() & ~unsigned{kFlagSlot}) != 0 ? 1 : 0;
            // K29: a freed one gains no reference.
            broken += from == row(WorkState::freed) && to == row(WorkState::freed) &&
                              (now.flags() & ~unsigned{before.flags()}) != 0
                          ? 1
                          : 0;
        }
    }
    void forget() {
        for (std::uint32_t index = 0; index < kContexts; ++index) {
            words[index] = sync::Pool::load(WorkTable::get().contexts.at(index)).bits;
        }
    }
    void disturb() {
        if (then == nullptr) {
            return;
        }
        for (const std::uint64_t word : words) {
            if (row(sync::Word{word}.state()) == when) {
                auto* once = then;
                then = nullptr;
                {
                    const task::NmiScope scope(*current(), platform::stack_pointer(), false);
                    once(*scene);
                }
                if (one_edge) {
                    look();
                } else {
                    forget();  // Its edges are looked at where they are the body's.
                }
                return;
            }
        }
    }
};

void on_step(void* argument) {
    auto* trace = static_cast<Trace*>(argument);
    ++trace->steps;
    trace->look();
    trace->disturb();
}

/// The thread that has exited, for K15.
task::Task* exited = nullptr;

std::errc schedule_here(TestScene& scene, std::uint32_t index, task::Task* target) {
    ScheduleRequest wanted;
    wanted.target = target;
    wanted.callback = {kCallbackTest, 0, nullptr, nullptr, &scene.values[index]};
    wanted.user_count = &scene.user_count;
    wanted.totals = &scene.totals;
    return schedule(scene.values[index].slot, wanted);
}

class Edges : public WorksTest {
protected:
    Edges() : WorksTest(kContexts) {}
    void SetUp() override {
        if (!task::kCanSingleStep) {
            GTEST_SKIP() << "no single step under this sanitizer";
        }
        trace_.scene = scene_;
        trace_.forget();
    }
    /// Steps through it, inside a section that keeps retired contexts from coming back meanwhile.
    void step(void (*body)(TestScene&)) {
        struct Call {
            void (*body)(TestScene&);
            TestScene* scene;
        } call{body, scene_};
        {
            const task::ReadSection keep(*current(), sync::Flavour::brief);
            trace_.forget();
            task::single_step(
                [](void* argument) {
                    auto* one = static_cast<Call*>(argument);
                    one->body(*one->scene);
                },
                &call, on_step, &trace_, 1, 1, false);
        }
        const sync::Pool& pool = WorkTable::get().contexts;
        task::wait_until([&] {
            for (std::uint32_t index = 0; index < pool.count(); ++index) {
                if (sync::Pool::load(pool.at(index)).state() == sync::kStateRetired) {
                    return false;
                }
            }
            return true;
        });
    }
    void step_disturbed(void (*body)(TestScene&), std::size_t when, void (*then)(TestScene&),
                        bool one_edge = false) {
        trace_.one_edge = one_edge;
        trace_.when = when;
        trace_.then = then;
        step(body);
        EXPECT_EQ(trace_.then, nullptr) << "it was never " << kNames[when];
        trace_.then = nullptr;
    }
    Trace trace_;
};

void body_schedule(TestScene& scene) {
    scene.words[0].store(static_cast<std::uint64_t>(schedule_here(scene, 0, current())),
                         std::memory_order_relaxed);
}
void body_schedule_onto_exited(TestScene& scene) {
    scene.words[0].store(static_cast<std::uint64_t>(schedule_here(scene, 0, exited)),
                         std::memory_order_relaxed);
}
/// A schedule whose round passes through the state: `scheduling` is taken back from a closed list.
void (*body_until(WorkState state))(TestScene&) {
    return state == WorkState::scheduling ? body_schedule_onto_exited : body_schedule;
}
void body_cancel(TestScene& scene) { cancel(scene.values[0].slot); }
void body_cancel_scheduled(TestScene& scene) {
    const task::Section section(current());
    body_schedule(scene);
    cancel(scene.values[0].slot);
}

TEST_F(Edges, K19_K20_K21_K27_K30_only_documented_edges_are_taken_and_every_one_is) {
    task::task_thread([] { exited = current(); }).join();
    step(body_schedule);  // Publishes and runs.
    step(body_schedule);
    step(body_cancel);
    step(body_cancel_scheduled);
    // A round without user references, and one on a closed list.
    scene_->user_count.store(0, std::memory_order_seq_cst);
    step(body_schedule);
    scene_->user_count.store(1, std::memory_order_seq_cst);
    step(body_schedule_onto_exited);
    step(body_cancel);
    // Two publish: the event's comes first.
    step_disturbed(body_schedule, kAttaching,
                   [](TestScene& scene) { schedule_here(scene, 0, current()); });
    // Cancels by an event, and by the callback itself.
    for (const WorkState state : {WorkState::standby, WorkState::pending, WorkState::scheduling,
                                  WorkState::scheduled, WorkState::running}) {
        // In standby it is retired in the same breath.
        step_disturbed(body_until(state), row(state), body_cancel, state != WorkState::standby);
        step(body_cancel);
    }
    // The same, with the cancel under the eyes.
    in_callback = [](TestValue& own) { cancel(own.slot); };
    step(body_schedule);
    in_callback = nullptr;
    EXPECT_EQ(trace_.broken, 0U);
    EXPECT_GT(trace_.steps, 2000U);
    for (std::size_t from = 0; from < kStates; ++from) {
        for (std::size_t to = 0; to < kStates; ++to) {
            bool documented = false;
            for (const Edge& edge : kEdges) {
                documented = documented || (edge.from == from && edge.to == to);
            }
            EXPECT_EQ(trace_.seen[from][to], documented)
                << kNames[from] << " -> " << kNames[to]
                << (documented ? " was never taken" : " is not documented");
        }
    }
    expect_ended("after all");
    expect_all_contexts_back("after all");
}

std::errc result_of(const TestScene& scene) {
    return static_cast<std::errc>(scene.words[0].load(std::memory_order_relaxed));
}

TEST_F(Edges, K32_K33_a_work_cancelled_before_it_is_scheduled_is_refused_and_never_runs) {
    task::task_thread([] { exited = current(); }).join();
    for (const WorkState state : {WorkState::pending, WorkState::scheduling}) {
        step_disturbed(body_until(state), row(state), body_cancel, true);
        EXPECT_EQ(result_of(*scene_), state == WorkState::pending
                                          ? std::errc::device_or_resource_busy
                                          : std::errc::no_such_process);
        EXPECT_EQ(value(0).slot.word.load(std::memory_order_acquire), 0U);
    }
    EXPECT_EQ(runs(), 0U);
    EXPECT_EQ(totals().scheduled, 0U) << "a refused round counts nothing";
    EXPECT_EQ(totals().cancelled, 0U);
    expect_all_contexts_back("after both");
}

TEST_F(Edges, K34_K53_a_work_cancelled_on_its_way_to_the_list_does_not_run) {
    step_disturbed(body_schedule, row(WorkState::scheduled), body_cancel, true);
    EXPECT_EQ(result_of(*scene_), no_error) << "it was scheduled, and its canceller counts it";
    EXPECT_EQ(runs(), 0U);
    EXPECT_EQ(totals().cancelled, 1U);
    expect_ended("after it");
    expect_all_contexts_back("after it");
}

TEST_F(Edges, K36_K39_a_work_cancelled_by_an_event_on_its_callback_completes) {
    step_disturbed(body_schedule, row(WorkState::running), body_cancel, true);
    EXPECT_EQ(runs(), 1U);
    EXPECT_EQ(totals().ran, 1U);
    EXPECT_EQ(totals().cancelled, 0U);
    expect_all_contexts_back("after it");
}

/// A cancel after instructions of the drain that takes the work (after all of them, in the matrix
/// of every_instruction_test.cpp).
TEST_F(Edges, K35_a_cancel_beside_the_drain_either_comes_first_or_leaves_the_callback) {
    std::uint64_t steps = 0;  // Of all of it, by the first turn, which is not disturbed.
    std::uint64_t cancelled = 0;
    std::uint64_t ran = 0;
    for (std::uint64_t at = UINT64_MAX; at == UINT64_MAX || at <= steps;
         at = at == UINT64_MAX ? 1 : at + 1 + at % 23) {
        const std::uint64_t cancelled_before = totals().cancelled;
        const std::uint64_t runs_before = runs();
        current()->section.enter(platform::stack_pointer());
        ASSERT_EQ(schedule_on(value(0)), no_error);
        const std::uint64_t stepped = task::single_step(
            [](void*) {
                current()->section.exit();
                task::safe_point();
            },
            nullptr, [](void* scene) { cancel(static_cast<TestScene*>(scene)->values[0].slot); },
            scene_, at, 0);
        steps = at == UINT64_MAX ? stepped : steps;
        const bool was_cancelled = totals().cancelled == cancelled_before + 1;
        ASSERT_EQ(runs() - runs_before, was_cancelled ? 0U : 1U) << "cancel after " << at;
        ++(was_cancelled ? cancelled : ran);
        expect_ended("cancel after " + std::to_string(at));
        cancel(value(0).slot);
        if (at % 2 == 0) {
            task::Worker::synchronize();
        }
    }
    EXPECT_GT(cancelled, 0U);
    EXPECT_GT(ran, 0U);
    expect_all_contexts_back("after all");
}

}  // namespace
}  // namespace taskwork::defer
