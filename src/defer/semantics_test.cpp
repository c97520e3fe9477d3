// SPDX-License-Identifier: Apache-2.0
//
// Statements of the checklist (docs/kernel-checklist.md) about results, cancellation and callbacks
// that task_work_test.cpp leaves open.
#include <sys/mman.h>

#include <vector>

#include "defer/context.hpp"
#include "defer/test_works.hpp"

namespace taskwork::defer {
namespace {

using task::current;
using task::Notify;
using task::Task;
using task::wait_until;

class SemanticsTest : public WorksTest {
protected:
    explicit SemanticsTest(std::uint32_t contexts = 256) : WorksTest(contexts) {}
};

class SemanticsWithFewContexts : public SemanticsTest {
protected:
    SemanticsWithFewContexts() : SemanticsTest(2) {}
};

// --- results -------------------------------------------------------------------------------------

TEST_F(SemanticsTest, K4_resume_then_signal_on_one_slot_is_busy_too) {
    const task::Section section(current());
    EXPECT_EQ(schedule_on(value(0), current(), Notify::resume), no_error);
    EXPECT_EQ(schedule_on(value(0), current(), Notify::signal), std::errc::device_or_resource_busy);
}

TEST_F(SemanticsTest, K3_a_refused_schedule_changes_neither_target_nor_callback) {
    task::TargetThread holding;
    ASSERT_EQ(schedule_on(value(0), &holding.task()), no_error);
    ScheduleRequest second = request(*scene_, value(1), current(), Notify::resume);
    second.callback.program = &value(1);
    EXPECT_EQ(schedule(value(0).slot, second), std::errc::device_or_resource_busy);
    EXPECT_FALSE(references_program(&value(1)));
    const std::int32_t tid = holding.task().tid;
    holding.release();
    EXPECT_EQ(value(0).count(), 1U);
    EXPECT_EQ(value(0).ran_on.load(std::memory_order_relaxed), tid);
    EXPECT_EQ(value(1).count(), 0U);
}

TEST_F(SemanticsWithFewContexts, K13_what_is_refused_for_several_reasons_names_the_first) {
    // No target, then a dead slot, then no memory, then a busy slot or no user.
    cancel_dead(value(0).slot);
    EXPECT_EQ(schedule_on(value(0), nullptr), std::errc::no_such_process);
    scene_->user_count.store(0, std::memory_order_seq_cst);
    EXPECT_EQ(schedule_on(value(0)), std::errc::no_such_file_or_directory);
    scene_->user_count.store(1, std::memory_order_seq_cst);
    const task::Section section(current());
    ASSERT_EQ(schedule_on(value(1)), no_error);
    ASSERT_EQ(schedule_on(value(2)), no_error);
    scene_->user_count.store(0, std::memory_order_seq_cst);
    EXPECT_EQ(schedule_on(value(3)), std::errc::not_enough_memory) << "before the user count";
    EXPECT_EQ(schedule_on(value(0)), std::errc::no_such_file_or_directory) << "before the memory";
    EXPECT_EQ(schedule_on(value(1), nullptr), std::errc::no_such_process) << "before busy";
    EXPECT_EQ(schedule_on(value(1)), std::errc::device_or_resource_busy);
    scene_->user_count.store(1, std::memory_order_seq_cst);
}

TEST_F(SemanticsWithFewContexts, K14_K131_a_refusal_leaves_nothing_behind) {
    const task::ReadSection keep(*current(), sync::Flavour::sleepable);
    Task* exited = nullptr;
    task::task_thread([&] { exited = current(); }).join();
    ScheduleRequest wanted = request(*scene_, value(0), current());
    wanted.callback.program = &value(9);
    wanted.callback.map = &value(10);
    const auto expect_nothing = [&](const char* where) {
        EXPECT_FALSE(references_program(&value(9))) << where;
        EXPECT_FALSE(references_map(&value(10))) << where;
        EXPECT_EQ(totals().in_flight, 0U) << where;
        EXPECT_EQ(totals().scheduled, 0U) << where;
    };
    wanted.target = exited;
    EXPECT_EQ(schedule(value(0).slot, wanted), std::errc::no_such_process);
    expect_nothing("a target that has exited");
    wanted.target = current();
    scene_->user_count.store(0, std::memory_order_seq_cst);
    EXPECT_EQ(schedule(value(0).slot, wanted), std::errc::device_or_resource_busy);
    expect_nothing("no user");
    scene_->user_count.store(1, std::memory_order_seq_cst);
    cancel_dead(value(0).slot);
    EXPECT_EQ(schedule(value(0).slot, wanted), std::errc::no_such_file_or_directory);
    expect_nothing("a dead slot");
    reset(value(0).slot);
    {
        // The domain's pool of contexts is the limit.
        sync::Pool& pool = WorkTable::get().contexts;
        wait_until([&] { return pool.count_free() == pool.count(); });
        std::vector<void*> taken;
        while (void* context = pool.claim(0, kStateAttaching)) {
            taken.push_back(context);
        }
        EXPECT_EQ(taken.size(), 2U);
        EXPECT_EQ(schedule(value(0).slot, wanted), std::errc::not_enough_memory);
        EXPECT_EQ(value(0).slot.word.load(std::memory_order_acquire), 0U);
        expect_nothing("no memory");
        for (void* context : taken) {
            begin_life(*static_cast<WorkContext*>(context), sync::Pool::load(context).round() + 1);
            pool.release(context);
        }
    }
    expect_all_contexts_back("after refusals");
}

TEST_F(SemanticsTest, K16_a_slot_whose_target_was_gone_is_idle_and_not_busy) {
    const task::ReadSection keep(*current(), sync::Flavour::sleepable);
    Task* exited = nullptr;
    task::task_thread([&] { exited = current(); }).join();
    for (int round = 0; round < 3; ++round) {
        EXPECT_EQ(schedule_on(value(0), exited), std::errc::no_such_process);
        EXPECT_EQ(schedule_on(value(0)), no_error);
    }
    EXPECT_EQ(value(0).count(), 3U);
}

TEST_F(SemanticsTest, K17_a_busy_slot_is_of_no_concern_to_another) {
    task::TargetThread holding;
    ASSERT_EQ(schedule_on(value(0), &holding.task()), no_error);
    EXPECT_EQ(schedule_on(value(0)), std::errc::device_or_resource_busy);
    EXPECT_EQ(schedule_on(value(1)), no_error);
    EXPECT_EQ(value(1).count(), 1U);
    EXPECT_EQ(schedule_on(value(1), &holding.task()), no_error);
    holding.release();
    EXPECT_EQ(value(0).count(), 1U);
    EXPECT_EQ(value(1).count(), 2U);
}

// --- cancellation --------------------------------------------------------------------------------

TEST_F(SemanticsTest, K22_K43_of_many_cancellers_one_has_it) {
    constexpr int kThreads = 4;
    task::TargetThread holding;
    for (int round = 0; round < 100; ++round) {
        ASSERT_EQ(schedule_on(value(0), &holding.task()), no_error);
        platform::Atomic<std::uint32_t> ready;
        std::vector<std::thread> threads;
        for (int index = 0; index < kThreads; ++index) {
            threads.push_back(task::task_thread([&] {
                ready.fetch_add(1, std::memory_order_release);
                wait_until([&] { return ready.load(std::memory_order_acquire) == kThreads; });
                cancel(value(0).slot);
            }));
        }
        for (std::thread& thread : threads) {
            thread.join();
        }
        ASSERT_EQ(totals().cancelled, static_cast<std::uint64_t>(round) + 1);
        if (task::TaskTable::get().tasks.count_free() < 16) {
            task::Worker::synchronize();
        }
    }
    holding.release();
    EXPECT_EQ(runs(), 0U);
    expect_ended("after all rounds");
    expect_all_contexts_back("after all rounds");
}

TEST_F(SemanticsTest, K37_a_detach_does_not_wait_for_a_callback_that_runs) {
    platform::Atomic<std::uint32_t> inside;
    platform::Atomic<std::uint32_t> let_go;
    in_callback = [&](TestValue& own) {
        if (&own == &value(0)) {
            inside.store(1, std::memory_order_release);
            wait_until([&] { return let_go.load(std::memory_order_acquire) != 0; });
        } else {
            cancel(value(0).slot);  // From another callback.
        }
    };
    LifeThread target([&] { wait_until([&] { return value(0).count() == 1; }); });
    ASSERT_EQ(schedule_on(value(0), target.task()), no_error);
    wait_until([&] { return inside.load(std::memory_order_acquire) != 0; });
    ASSERT_EQ(schedule_on(value(1)), no_error);
    EXPECT_EQ(value(1).count(), 1U) << "the cancel came back while the callback stood still";
    EXPECT_EQ(value(0).slot.word.load(std::memory_order_acquire), 0U);
    EXPECT_EQ(value(0).count(), 0U);
    {
        // With the restrictions of an event as well.
        const task::NmiScope scope(*current(), platform::stack_pointer(), false);
        cancel(value(0).slot);
    }
    let_go.store(1, std::memory_order_release);
    target.join();
    EXPECT_EQ(value(0).count(), 1U);
    expect_ended("after the callback");
    expect_all_contexts_back("after the callback");
}

TEST_F(SemanticsTest, K45_K46_K78_a_cancelled_work_lets_go_of_program_map_and_target) {
    task::TargetThread holding;
    ScheduleRequest wanted = request(*scene_, value(0), &holding.task());
    wanted.callback.program = &value(1);  // Only the addresses matter.
    wanted.callback.map = &value(2);
    ASSERT_EQ(schedule(value(0).slot, wanted), no_error);
    EXPECT_TRUE(references_program(&value(1)) && references_map(&value(2)));
    cancel(value(0).slot);
    EXPECT_FALSE(references_program(&value(1)) || references_map(&value(2)));
    // The task object is not freed while its thread lives, and is freed when it has gone.
    const sync::Pool& tasks = task::TaskTable::get().tasks;
    task::Worker::synchronize();
    EXPECT_EQ(tasks.count_free(), tasks.count() - 3);
    holding.release();
    wait_until([&] { return tasks.count_free() == tasks.count() - 2; });
    expect_all_contexts_back("after the target's end");
}

TEST_F(SemanticsTest, K79_works_still_queued_at_a_threads_end_are_run) {
    task::TargetThread holding;
    for (std::uint32_t index = 0; index < 5; ++index) {
        ASSERT_EQ(schedule_on(value(index), &holding.task(), Notify::none), no_error);
    }
    holding.release();
    EXPECT_EQ(runs(), 5U);
    expect_ended("after the exit");
}

// --- callbacks -----------------------------------------------------------------------------------

TEST_F(SemanticsTest, K47_the_callback_runs_in_the_target_alone) {
    LifeThread first([&] { wait_until([&] { return value(0).count() == 20; }); });
    for (std::uint64_t round = 1; round <= 20; ++round) {
        ASSERT_EQ(schedule_when_free([&] { return schedule_on(value(0), first.task()); }),
                  no_error);
        wait_until([&] { return totals().ran == round; });
        EXPECT_EQ(value(0).ran_on.load(std::memory_order_relaxed), first.task()->tid);
    }
}

TEST_F(SemanticsTest, K50_the_callback_may_block_and_fault) {
    int pipes[2];
    ASSERT_EQ(::pipe(pipes), 0);
    auto* fresh = static_cast<volatile char*>(
        ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(fresh, MAP_FAILED);
    char byte = 0;
    in_callback = [&](TestValue&) {
        fresh[100] = 7;  // The page is not there yet.
        EXPECT_EQ(::read(pipes[0], &byte, 1), 1);
    };
    LifeThread target([&] { wait_until([&] { return value(0).count() == 1; }); });
    ASSERT_EQ(schedule_on(value(0), target.task()), no_error);
    target.wait_for_state('S');
    EXPECT_EQ(value(0).count(), 0U);
    ASSERT_EQ(::write(pipes[1], "x", 1), 1);
    target.join();
    EXPECT_EQ(value(0).count(), 1U);
    EXPECT_EQ(byte, 'x');
    EXPECT_EQ(fresh[100], 7);
    ::close(pipes[0]);
    ::close(pipes[1]);
    ::munmap(const_cast<char*>(fresh), 4096);
}

TEST_F(SemanticsTest, K54_a_work_runs_once_however_many_run_points_follow) {
    ASSERT_EQ(schedule_on(value(0)), no_error);
    for (int turn = 0; turn < 10; ++turn) {
        task::safe_point();
        const task::Section section(current());
    }
    EXPECT_EQ(value(0).count(), 1U);
}

/// Rounds in which a cancel comes about when the schedule does: before, beside or after it.
TEST_F(SemanticsTest, K123_every_round_that_is_not_cancelled_arrives_with_its_own_number) {
    platform::Atomic<std::uint64_t> number;
    platform::Atomic<std::uint64_t> arrived;
    platform::Atomic<std::uint64_t> go;
    platform::Atomic<std::uint64_t> done;
    constexpr std::uint64_t kRounds = 3000;
    constexpr std::uint64_t kOver = UINT64_MAX;
    in_callback = [&](TestValue&) {
        arrived.store(number.load(std::memory_order_relaxed), std::memory_order_release);
    };
    LifeThread target([&] {
        while (go.load(std::memory_order_acquire) != kOver) {
            task::safe_point();
            std::this_thread::yield();
        }
    });
    std::thread deleter = task::task_thread([&] {
        std::uint32_t random = 42;
        for (std::uint64_t round = 1;; ++round) {
            while (go.load(std::memory_order_acquire) < round) {
                std::this_thread::yield();
            }
            if (go.load(std::memory_order_acquire) == kOver) {
                return;
            }
            random = random * 1664525U + 1013904223U;
            for (std::uint32_t spin = 0; spin < (random >> 21); ++spin) {
                platform::signal_fence();
            }
            if (random % 4 != 0) {
                cancel(value(0).slot);
            }
            done.store(round, std::memory_order_release);
        }
    });
    std::uint64_t ran = 0;
    // Which of the two comes first is the scheduler's affair: until both have been seen.
    const std::uint64_t end_ns = platform::now_ns() + 20'000'000'000U;
    for (std::uint64_t round = 1;
         round <= kRounds || ((ran == 0 || totals().cancelled == 0) && platform::now_ns() < end_ns);
         ++round) {
        number.store(round, std::memory_order_relaxed);
        go.store(round, std::memory_order_release);
        const std::errc result = schedule_on(value(0), target.task(), Notify::none);
        ASSERT_TRUE(result == no_error || result == std::errc::device_or_resource_busy ||
                    result == std::errc::not_enough_memory);
        wait_until([&] { return done.load(std::memory_order_acquire) == round; });
        wait_until([&] { return totals().in_flight == 0; });
        const WorkCounts sum = totals();
        ASSERT_EQ(sum.scheduled, sum.ran + sum.cancelled) << "round " << round;
        if (sum.ran != ran) {
            ASSERT_EQ(sum.ran, ran + 1);
            ran = sum.ran;
            ASSERT_EQ(arrived.load(std::memory_order_acquire), round);
        }
    }
    go.store(kOver, std::memory_order_release);
    deleter.join();
    target.join();
    EXPECT_GT(ran, 0U);
    EXPECT_GT(totals().cancelled, 0U);
    expect_all_contexts_back("after all rounds");
}

// --- reclamation ---------------------------------------------------------------------------------

TEST_F(SemanticsWithFewContexts, K126_K129_a_reader_holds_memory_up_and_nobody_else) {
    platform::Atomic<std::uint32_t> let_go;
    LifeThread reader([&] {
        const task::ReadSection brief(*current(), sync::Flavour::brief);
        wait_until([&] { return let_go.load(std::memory_order_acquire) != 0; });
    });
    const sync::Pool& pool = WorkTable::get().contexts;
    // Both contexts are used and retired; the reader keeps them from coming back, and schedule,
    // run and cancel answer all the same.
    for (std::uint32_t index = 0; index < 2; ++index) {
        ASSERT_EQ(schedule_on(value(index)), no_error);
        cancel(value(index).slot);
    }
    EXPECT_EQ(schedule_on(value(0)), std::errc::not_enough_memory);
    cancel(value(0).slot);
    EXPECT_EQ(pool.count_free(), 0U);
    let_go.store(1, std::memory_order_release);
    reader.join();
    wait_until([&] { return pool.count_free() == pool.count(); });
    EXPECT_EQ(schedule_on(value(0)), no_error);
}

TEST_F(SemanticsTest, K128_the_last_reference_may_go_in_an_event) {
    task::TargetThread holding;
    ASSERT_EQ(schedule_on(value(0), &holding.task()), no_error);
    ASSERT_EQ(schedule_on(value(1)), no_error);
    {
        const task::NmiScope scope(*current(), platform::stack_pointer(), false);
        cancel(value(0).slot);  // Its node is still on a list,
        cancel(value(1).slot);  // this one has no other reference.
    }
    holding.release();
    expect_all_contexts_back("after the event");
}

TEST_F(SemanticsTest, K149_each_end_of_a_work_is_counted) {
    task::TargetThread holding;
    ASSERT_EQ(schedule_on(value(0)), no_error);
    ASSERT_EQ(schedule_on(value(1), &holding.task()), no_error);
    ASSERT_EQ(schedule_on(value(2), &holding.task()), no_error);
    EXPECT_EQ(totals().in_flight, 2U);
    cancel(value(1).slot);
    WorkCounts sum = totals();
    EXPECT_EQ(sum.scheduled, 3U);
    EXPECT_EQ(sum.ran, 1U);
    EXPECT_EQ(sum.cancelled, 1U);
    EXPECT_EQ(sum.in_flight, 1U);
    holding.release();
    sum = totals();
    EXPECT_EQ(sum.ran, 2U);
    EXPECT_EQ(sum.in_flight, 0U);
}

}  // namespace
}  // namespace taskwork::defer
