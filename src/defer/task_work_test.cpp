// SPDX-License-Identifier: Apache-2.0
#include "defer/task_work.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <vector>

#include "defer/context.hpp"
#include "defer/test_works.hpp"
#include "sync/arena.hpp"
#include "task/test_domain.hpp"

namespace taskwork::defer {
namespace {

using task::current;
using task::Notify;
using task::Task;
using task::task_thread;
using task::wait_until;

/// A value with a slot, as a map element has one, and what its callback saw.
struct alignas(64) Value {
    Slot slot;
    platform::Atomic<std::uint64_t> runs;
    platform::Atomic<std::int32_t> ran_on;
    platform::Atomic<std::uint32_t> level;
};

/// Called inside callbacks, if set.
std::function<void(Value&)> body;

void runner(Task& self, const Callback& callback) noexcept {
    auto& value = *static_cast<Value*>(callback.value);
    value.ran_on.store(self.tid, std::memory_order_relaxed);
    value.level.store(static_cast<std::uint32_t>(task::current_level(self)),
                      std::memory_order_relaxed);
    if (body) {
        body(value);
    }
    value.runs.fetch_add(1, std::memory_order_release);
}

class TaskWorkTest : public testing::Test {
protected:
    void SetUp() override {
        ASSERT_EQ(WorkTable::create(contexts_max()), no_error);
        set_callback_runner(kCallbackTest, runner);
        shared_ = static_cast<Shared*>(sync::Arena::allocate(sizeof(Shared), 64));
        new (shared_) Shared;
        shared_->user_count.store(1, std::memory_order_relaxed);
        body = nullptr;
    }
    virtual std::uint32_t contexts_max() { return 1024; }

    struct alignas(64) Shared {
        Value values[256];
        platform::Atomic<std::uint32_t> user_count;
        WorkTotals totals;
    };

    ScheduleRequest request(Value& value, Task* target = current(), Notify mode = Notify::signal) {
        ScheduleRequest wanted;
        wanted.target = target;
        wanted.mode = mode;
        wanted.callback = {kCallbackTest, 0, nullptr, nullptr, &value};
        wanted.user_count = &shared_->user_count;
        wanted.totals = &shared_->totals;
        return wanted;
    }
    std::errc schedule_on(Value& value, Task* target = current(), Notify mode = Notify::signal) {
        return schedule(value.slot, request(value, target, mode));
    }
    WorkCounts totals() { return counts(shared_->totals); }
    void expect_balance(const char* where) {
        const WorkCounts sum = totals();
        EXPECT_EQ(sum.scheduled, sum.ran + sum.cancelled + sum.dropped + sum.in_flight) << where;
    }
    task::TestDomain domain_;
    Shared* shared_ = nullptr;
};

// --- acquisition and results ---------------------------------------------------------------------

TEST_F(TaskWorkTest, K1_a_fresh_slot_is_scheduled_and_its_callback_runs_once) {
    Value& value = shared_->values[0];
    {
        const task::Section section(current());
        EXPECT_EQ(schedule_on(value), no_error);
        EXPECT_EQ(value.runs.load(std::memory_order_acquire), 0U);
    }
    EXPECT_EQ(value.runs.load(std::memory_order_acquire), 1U);
    EXPECT_EQ(value.ran_on.load(std::memory_order_relaxed), platform::thread_id());
    EXPECT_EQ(value.level.load(std::memory_order_relaxed),
              static_cast<std::uint32_t>(Level::task_work));
    task::safe_point();
    EXPECT_EQ(value.runs.load(std::memory_order_acquire), 1U) << "K54";
}

TEST_F(TaskWorkTest, K2_after_the_callback_the_slot_is_scheduled_again) {
    Value& value = shared_->values[0];
    for (std::uint64_t round = 1; round <= 5; ++round) {
        EXPECT_EQ(schedule_on(value), no_error);
        EXPECT_EQ(value.runs.load(std::memory_order_acquire), round);
    }
    EXPECT_EQ(totals().scheduled, 5U);
    EXPECT_EQ(totals().ran, 5U);
}

TEST_F(TaskWorkTest, K3_a_second_schedule_is_busy_and_alters_nothing) {
    Value& value = shared_->values[0];
    Value& other = shared_->values[1];
    task::TargetThread sleeper;
    {
        const task::Section section(current());
        ASSERT_EQ(schedule_on(value), no_error);
        ScheduleRequest second = request(other, &sleeper.task());
        EXPECT_EQ(schedule(value.slot, second), std::errc::device_or_resource_busy);
    }
    EXPECT_EQ(value.runs.load(std::memory_order_acquire), 1U);
    EXPECT_EQ(other.runs.load(std::memory_order_acquire), 0U);
}

TEST_F(TaskWorkTest, K4_the_modes_share_the_slot) {
    Value& value = shared_->values[0];
    const task::Section section(current());
    EXPECT_EQ(schedule_on(value, current(), Notify::signal), no_error);
    EXPECT_EQ(schedule_on(value, current(), Notify::resume), std::errc::device_or_resource_busy);
}

TEST_F(TaskWorkTest, K5_a_callback_finds_its_own_slot_busy) {
    Value& value = shared_->values[0];
    std::errc seen{};
    body = [&](Value& own) { seen = schedule_on(own); };
    ASSERT_EQ(schedule_on(value), no_error);
    EXPECT_EQ(seen, std::errc::device_or_resource_busy);
}

TEST_F(TaskWorkTest, K6_a_callback_schedules_another_slot_on_its_own_task) {
    Value& value = shared_->values[0];
    body = [&](Value& own) {
        if (&own == &shared_->values[0]) {
            EXPECT_EQ(schedule_on(shared_->values[1]), no_error);
        }
    };
    ASSERT_EQ(schedule_on(value), no_error);
    EXPECT_EQ(shared_->values[1].runs.load(std::memory_order_acquire), 1U) << "K56";
}

TEST_F(TaskWorkTest, K7_of_many_schedulers_of_an_empty_slot_one_wins) {
    constexpr int kThreads = 4;
    task::TargetThread sleeper;
    for (int round = 0; round < 200; ++round) {
        Value& value = shared_->values[round];
        platform::Atomic<std::uint32_t> won;
        platform::Atomic<std::uint32_t> busy;
        platform::Atomic<std::uint32_t> ready;
        std::vector<std::thread> threads;
        for (int index = 0; index < kThreads; ++index) {
            threads.push_back(task_thread([&] {
                ready.fetch_add(1, std::memory_order_release);
                while (ready.load(std::memory_order_acquire) != kThreads) {
                }
                const std::errc result = schedule_on(value, &sleeper.task());
                (result == no_error ? won : busy).fetch_add(1, std::memory_order_relaxed);
                if (result != no_error) {
                    EXPECT_EQ(result, std::errc::device_or_resource_busy);
                }
            }));
        }
        for (auto& thread : threads) {
            thread.join();
        }
        ASSERT_EQ(won.load(std::memory_order_relaxed), 1U);
        ASSERT_EQ(busy.load(std::memory_order_relaxed), kThreads - 1U);
    }
    task::Worker::synchronize();
    const sync::Pool& pool = WorkTable::get().contexts;
    EXPECT_EQ(pool.count() - pool.count_free(), 200U) << "one context a slot exists afterwards";
}

class FewContexts : public TaskWorkTest {
    std::uint32_t contexts_max() override { return 2; }
};

TEST_F(FewContexts, K8_without_a_context_the_answer_is_no_memory_and_the_slot_stays_empty) {
    const task::Section section(current());
    EXPECT_EQ(schedule_on(shared_->values[0]), no_error);
    EXPECT_EQ(schedule_on(shared_->values[1]), no_error);
    EXPECT_EQ(schedule_on(shared_->values[2]), std::errc::not_enough_memory);
    EXPECT_EQ(shared_->values[2].slot.word.load(std::memory_order_acquire), 0U);
    EXPECT_EQ(schedule_on(shared_->values[0]), std::errc::device_or_resource_busy)
        << "a full pool is of no concern to a slot that has a context";
}

TEST_F(TaskWorkTest, K11_without_user_references_the_answer_is_busy_and_the_slot_ends_empty) {
    Value& value = shared_->values[0];
    shared_->user_count.store(0, std::memory_order_seq_cst);
    EXPECT_EQ(schedule_on(value), std::errc::device_or_resource_busy);
    EXPECT_EQ(value.slot.word.load(std::memory_order_acquire), 0U);
    EXPECT_EQ(value.runs.load(std::memory_order_acquire), 0U);
    task::Worker::synchronize();
    EXPECT_EQ(WorkTable::get().contexts.count_free(), WorkTable::get().contexts.count())
        << "nothing is leaked";
    shared_->user_count.store(1, std::memory_order_seq_cst);
    EXPECT_EQ(schedule_on(value), no_error) << "K12";
    EXPECT_EQ(totals().scheduled, 1U);
}

TEST_F(TaskWorkTest, K15_a_target_past_its_last_run_point_is_no_such_process) {
    const task::ReadSection keep(*current(), sync::Flavour::sleepable);
    Task* target = nullptr;
    task_thread([&] { target = current(); }).join();
    Value& value = shared_->values[0];
    EXPECT_EQ(schedule_on(value, target), std::errc::no_such_process);
    EXPECT_EQ(schedule_on(value, target), std::errc::no_such_process) << "and not busy";
    EXPECT_EQ(schedule_on(value), no_error) << "the slot is idle again";
    EXPECT_EQ(totals().scheduled, 1U);
    expect_balance("after refusals");
}

TEST_F(TaskWorkTest, a_thread_that_is_no_task_is_refused) {
    std::errc seen{};
    Task* target = current();
    std::thread([&] { seen = schedule_on(shared_->values[0], target); }).join();
    EXPECT_EQ(seen, std::errc::no_such_process);
}

TEST_F(TaskWorkTest, a_closed_domain_refuses) {
    sync::Arena::header().closed.store(1, std::memory_order_seq_cst);
    EXPECT_EQ(schedule_on(shared_->values[0]), std::errc::no_such_process);
    sync::Arena::header().closed.store(0, std::memory_order_seq_cst);
}

// --- cancellation --------------------------------------------------------------------------------

TEST_F(TaskWorkTest, K31_K38_cancel_of_an_empty_or_idle_slot_runs_nothing) {
    Value& value = shared_->values[0];
    cancel(value.slot);
    ASSERT_EQ(schedule_on(value), no_error);
    cancel(value.slot);
    cancel(value.slot);
    EXPECT_EQ(value.slot.word.load(std::memory_order_acquire), 0U);
    EXPECT_EQ(value.runs.load(std::memory_order_acquire), 1U);
    task::Worker::synchronize();
    EXPECT_EQ(WorkTable::get().contexts.count_free(), WorkTable::get().contexts.count());
    EXPECT_EQ(totals().cancelled, 0U);
    EXPECT_EQ(totals().ran, 1U);
}

TEST_F(TaskWorkTest, K34_a_scheduled_work_is_cancelled_without_its_targets_help) {
    Value& value = shared_->values[0];
    task::TargetThread sleeper;
    ScheduleRequest wanted = request(value, &sleeper.task());
    wanted.callback.program = &value;  // Stands for a program: only its address matters.
    ASSERT_EQ(schedule(value.slot, wanted), no_error);
    EXPECT_TRUE(references_program(&value));
    cancel(value.slot);
    EXPECT_FALSE(references_program(&value)) << "K45: at once, although the target sleeps on";
    EXPECT_EQ(totals().cancelled, 1U);
    sleeper.release();
    EXPECT_EQ(value.runs.load(std::memory_order_acquire), 0U);
    task::Worker::synchronize();
    EXPECT_EQ(WorkTable::get().contexts.count_free(), WorkTable::get().contexts.count());
    expect_balance("after the husk was dropped");
}

TEST_F(TaskWorkTest, K36_detach_while_running_lets_the_callback_complete) {
    Value& value = shared_->values[0];
    body = [&](Value& own) {
        cancel(own.slot);
        EXPECT_EQ(own.slot.word.load(std::memory_order_acquire), 0U);
    };
    ASSERT_EQ(schedule_on(value), no_error) << "K37: from the callback itself";
    EXPECT_EQ(value.runs.load(std::memory_order_acquire), 1U);
    task::Worker::synchronize();
    EXPECT_EQ(WorkTable::get().contexts.count_free(), WorkTable::get().contexts.count());
    EXPECT_EQ(totals().ran, 1U);
    EXPECT_EQ(totals().cancelled, 0U);
}

TEST_F(TaskWorkTest, K41_after_detach_the_slot_takes_a_new_schedule_while_the_old_callback_runs) {
    Value& value = shared_->values[0];
    int depth = 0;
    body = [&](Value& own) {
        if (depth++ == 0) {
            cancel(own.slot);
            EXPECT_EQ(schedule_on(own), no_error);
        }
    };
    ASSERT_EQ(schedule_on(value), no_error);
    EXPECT_EQ(value.runs.load(std::memory_order_acquire), 2U);
    EXPECT_EQ(totals().ran, 2U);
}

TEST_F(TaskWorkTest, K42_two_generations_of_a_slot_run_in_two_tasks_at_once) {
    Value& value = shared_->values[0];
    platform::Atomic<std::uint32_t> inside;
    platform::Atomic<std::uint32_t> most;
    body = [&](Value&) {
        const std::uint32_t now = inside.fetch_add(1, std::memory_order_acq_rel) + 1;
        if (now == 2) {
            most.store(2, std::memory_order_release);
        }
        wait_until([&] { return most.load(std::memory_order_acquire) == 2; });
        inside.fetch_sub(1, std::memory_order_acq_rel);
    };
    std::vector<std::thread> threads;
    platform::Atomic<Task*> tasks[2];
    platform::Atomic<std::uint32_t> stop;
    for (auto& slot : tasks) {
        threads.push_back(task_thread([&slot, &stop] {
            slot.store(current(), std::memory_order_release);
            while (stop.load(std::memory_order_acquire) == 0) {
                task::safe_point();
            }
        }));
    }
    for (auto& slot : tasks) {
        wait_until([&] { return slot.load(std::memory_order_acquire) != nullptr; });
    }
    ASSERT_EQ(schedule_on(value, tasks[0].load(std::memory_order_acquire)), no_error);
    wait_until([&] { return inside.load(std::memory_order_acquire) == 1; });
    cancel(value.slot);
    ASSERT_EQ(schedule_on(value, tasks[1].load(std::memory_order_acquire)), no_error);
    wait_until([&] { return value.runs.load(std::memory_order_acquire) == 2; });
    stop.store(1, std::memory_order_release);
    for (auto& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(totals().ran, 2U);
}

TEST_F(TaskWorkTest, K96_a_dead_slot_refuses_and_stays_dead_until_it_is_recycled) {
    Value& value = shared_->values[0];
    task::TargetThread sleeper;
    ASSERT_EQ(schedule_on(value, &sleeper.task()), no_error);
    cancel_dead(value.slot);
    EXPECT_EQ(schedule_on(value), std::errc::no_such_file_or_directory);
    cancel(value.slot);
    EXPECT_EQ(schedule_on(value), std::errc::no_such_file_or_directory);
    reset(value.slot);
    EXPECT_EQ(schedule_on(value), no_error);
    sleeper.release();
    EXPECT_EQ(value.runs.load(std::memory_order_acquire), 1U) << "the cancelled one never ran";
}

TEST_F(TaskWorkTest, cancelled_works_do_not_pile_up_on_a_sleeping_target) {
    task::TargetThread sleeper;
    const sync::Pool& pool = WorkTable::get().contexts;
    // Many times more than there are contexts: without compaction this would run out.
    for (std::uint32_t round = 0; round < 20 * pool.count(); ++round) {
        Value& value = shared_->values[round % 256];
        std::errc result = schedule_on(value, &sleeper.task());
        if (result == std::errc::not_enough_memory) {
            task::Worker::synchronize();
            result = schedule_on(value, &sleeper.task());
        }
        ASSERT_EQ(result, no_error) << "round " << round;
        cancel(value.slot);
    }
    sleeper.release();
    task::Worker::synchronize();
    EXPECT_EQ(totals().cancelled, 20U * pool.count());
    EXPECT_EQ(totals().scheduled, 20U * pool.count());
    EXPECT_EQ(pool.count_free(), pool.count());
}

// --- execution and contexts ----------------------------------------------------------------------

TEST_F(TaskWorkTest, K55_one_targets_works_run_newest_first) {
    std::vector<Value*> order;
    body = [&](Value& value) { order.push_back(&value); };
    {
        const task::Section section(current());
        for (int index = 0; index < 4; ++index) {
            ASSERT_EQ(schedule_on(shared_->values[index]), no_error);
        }
    }
    EXPECT_EQ(order, (std::vector<Value*>{&shared_->values[3], &shared_->values[2],
                                          &shared_->values[1], &shared_->values[0]}));
}

TEST_F(TaskWorkTest, scheduling_onto_oneself_sends_no_signal) {
    Task& me = *current();
    for (int index = 0; index < 50; ++index) {
        ASSERT_EQ(schedule_on(shared_->values[index]), no_error);
    }
    EXPECT_EQ(me.statistics.notifications.get(), 0U);
}

TEST_F(TaskWorkTest, TW1_what_the_scheduler_did_before_is_visible_to_the_callback) {
    platform::Atomic<Task*> target;
    platform::Atomic<std::uint32_t> stop;
    std::uint64_t plain = 0;
    platform::Atomic<std::uint64_t> wrong;
    body = [&](Value& value) {
        if (plain != value.runs.load(std::memory_order_relaxed) + 1) {
            wrong.fetch_add(1, std::memory_order_relaxed);
        }
    };
    std::thread thread = task_thread([&] {
        target.store(current(), std::memory_order_release);
        while (stop.load(std::memory_order_acquire) == 0) {
            task::safe_point();
        }
    });
    wait_until([&] { return target.load(std::memory_order_acquire) != nullptr; });
    Value& value = shared_->values[0];
    for (std::uint64_t round = 1; round <= 2000; ++round) {
        plain = round;
        ASSERT_EQ(schedule_when_free([&] {
                      return schedule_on(value, target.load(std::memory_order_acquire),
                                         Notify::none);
                  }),
                  no_error);
        wait_until([&] { return totals().ran == round; });
    }
    stop.store(1, std::memory_order_release);
    thread.join();
    EXPECT_EQ(wrong.load(std::memory_order_relaxed), 0U);
}

TEST_F(TaskWorkTest, K117_an_event_inside_a_schedule_gets_an_answer) {
    Task& me = *current();
    Value& value = shared_->values[0];
    Value& other = shared_->values[1];
    // As a handler that interrupts the section of a schedule of the same slot.
    const task::Section section(&me);
    ASSERT_EQ(schedule_on(value), no_error);
    const task::NmiScope scope(me, platform::stack_pointer(), false);
    EXPECT_EQ(schedule_on(value), std::errc::device_or_resource_busy);
    EXPECT_EQ(schedule_on(other), no_error);
    cancel(value.slot);
    EXPECT_EQ(schedule_on(value), no_error);
}

// --- threads -------------------------------------------------------------------------------------

TEST_F(TaskWorkTest, K121_without_a_deleter_every_schedule_runs) {
    constexpr int kThreads = 4;
    platform::Atomic<std::uint64_t> scheduled;
    platform::Atomic<std::uint64_t> busy;
    std::vector<std::thread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
        threads.push_back(task_thread([&, thread] {
            std::uint32_t random = 12345U + static_cast<std::uint32_t>(thread);
            for (int round = 0; round < 20'000; ++round) {
                random = random * 1664525U + 1013904223U;
                const std::errc result = schedule_on(shared_->values[(random >> 16) % 16]);
                if (result == no_error) {
                    scheduled.fetch_add(1, std::memory_order_relaxed);
                } else {
                    ASSERT_EQ(result, std::errc::device_or_resource_busy);
                    busy.fetch_add(1, std::memory_order_relaxed);
                }
            }
        }));
    }
    for (auto& thread : threads) {
        thread.join();
    }
    std::uint64_t ran = 0;
    for (auto& value : shared_->values) {
        ran += value.runs.load(std::memory_order_acquire);
    }
    EXPECT_EQ(ran, scheduled.load(std::memory_order_relaxed));
    EXPECT_EQ(totals().scheduled, scheduled.load(std::memory_order_relaxed));
    EXPECT_EQ(totals().ran, ran);
    EXPECT_EQ(totals().in_flight, 0U);
}

TEST_F(TaskWorkTest, K122_with_deleters_every_schedule_ran_or_was_cancelled) {
    constexpr int kThreads = 4;
    platform::Atomic<std::uint64_t> scheduled;
    platform::Atomic<Task*> tasks[kThreads];
    platform::Atomic<std::uint32_t> ready;
    std::vector<std::thread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
        threads.push_back(task_thread([&, thread] {
            tasks[thread].store(current(), std::memory_order_release);
            ready.fetch_add(1, std::memory_order_release);
            wait_until([&] { return ready.load(std::memory_order_acquire) >= kThreads; });
            std::uint32_t random = 777U + static_cast<std::uint32_t>(thread);
            for (int round = 0; round < 10'000; ++round) {
                random = random * 1664525U + 1013904223U;
                Value& value = shared_->values[(random >> 16) % 16];
                if (random >> 30 == 0) {
                    cancel(value.slot);
                    continue;
                }
                Task* target = tasks[(random >> 8) % kThreads].load(std::memory_order_acquire);
                const std::errc result = schedule_on(
                    value, target, (random & 0x4000) != 0 ? Notify::signal : Notify::resume);
                if (result == no_error) {
                    scheduled.fetch_add(1, std::memory_order_relaxed);
                }
                task::safe_point();
            }
            // Nobody leaves while others may still choose it: the end of the test is not a race
            // with exits.
            ready.fetch_add(1, std::memory_order_release);
            wait_until([&] { return ready.load(std::memory_order_acquire) == 2 * kThreads; });
        }));
    }
    for (auto& thread : threads) {
        thread.join();
    }
    std::uint64_t ran = 0;
    for (auto& value : shared_->values) {
        ran += value.runs.load(std::memory_order_acquire);
    }
    task::Worker::synchronize();
    const WorkCounts sum = totals();
    EXPECT_EQ(sum.scheduled, scheduled.load(std::memory_order_relaxed));
    EXPECT_EQ(sum.ran, ran);
    EXPECT_EQ(sum.in_flight, 0U);
    EXPECT_EQ(sum.scheduled, sum.ran + sum.cancelled + sum.dropped);
    EXPECT_GT(sum.cancelled, 0U);
    for (auto& value : shared_->values) {
        cancel(value.slot);
    }
    task::Worker::synchronize();
    EXPECT_EQ(WorkTable::get().contexts.count_free(), WorkTable::get().contexts.count()) << "K130";
}

TEST_F(TaskWorkTest, threads_that_exit_under_schedules_lose_nothing) {
    platform::Atomic<std::uint64_t> scheduled;
    platform::Atomic<std::uint32_t> stop;
    platform::Atomic<Task*> target;
    std::thread churn([&] {
        for (int round = 0; round < 300; ++round) {
            task_thread([&] {
                target.store(current(), std::memory_order_release);
                for (int spin = 0; spin < 200; ++spin) {
                    task::safe_point();
                }
            }).join();
            if (task::TaskTable::get().tasks.count_free() < 16) {
                task::Worker::synchronize();  // Faster than control blocks come back.
            }
        }
        stop.store(1, std::memory_order_release);
    });
    while (stop.load(std::memory_order_acquire) == 0) {
        const task::Section section(current());
        const task::ReadSection keep(*current(), sync::Flavour::sleepable);
        Task* to = target.load(std::memory_order_acquire);
        if (to == nullptr || sync::Pool::load(to).state() != task::kTaskAlive) {
            continue;
        }
        const std::errc result = schedule_on(shared_->values[0], to);
        if (result == no_error) {
            scheduled.fetch_add(1, std::memory_order_relaxed);
        }
    }
    churn.join();
    const WorkCounts sum = totals();
    EXPECT_EQ(sum.scheduled, scheduled.load(std::memory_order_relaxed));
    EXPECT_EQ(sum.ran, sum.scheduled);
    EXPECT_EQ(sum.in_flight, 0U);
    EXPECT_EQ(shared_->values[0].runs.load(std::memory_order_acquire), sum.ran);
}

// --- death ---------------------------------------------------------------------------------------

TEST_F(TaskWorkTest, works_on_a_killed_process_are_dropped_and_counted) {
    Value& value = shared_->values[0];
    platform::Atomic<Task*>& target = *static_cast<platform::Atomic<Task*>*>(
        sync::Arena::allocate(sizeof(platform::Atomic<Task*>), 64));
    const pid_t child = ::fork();
    if (child == 0) {
        task::join_process("child");
        task::register_current(0, 0);
        current()->section.enter(platform::stack_pointer());  // Never comes to a run point.
        target.store(current(), std::memory_order_release);
        for (;;) {
            ::pause();
        }
    }
    wait_until([&] { return target.load(std::memory_order_acquire) != nullptr; });
    ASSERT_EQ(schedule_on(value, target.load(std::memory_order_acquire)), no_error);
    Value& cancelled = shared_->values[1];
    ASSERT_EQ(schedule_on(cancelled, target.load(std::memory_order_acquire)), no_error);
    cancel(cancelled.slot);
    ::kill(child, SIGKILL);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    wait_until([&] { return totals().dropped == 1; });
    EXPECT_EQ(totals().in_flight, 0U);
    EXPECT_EQ(totals().cancelled, 1U);
    EXPECT_EQ(schedule_on(value), no_error) << "the slot is idle again";
    expect_balance("after the sweep");
}

// A scheduler that died between claiming a context and publishing it left the counts of the
// context's previous life to be added a second time.
TEST_F(TaskWorkTest, a_context_claimed_and_never_published_counts_nothing) {
    sync::Pool& pool = WorkTable::get().contexts;
    for (int round = 0; round < 3; ++round) {
        // All contexts have a life behind them.
        for (auto& value : shared_->values) {
            ASSERT_EQ(schedule_on(value), no_error);
            cancel(value.slot);
        }
        task::Worker::synchronize();
    }
    const WorkCounts before = counts(WorkTable::get().domain);
    constexpr std::uint16_t kDead = 4000;  // An owner that no process has.
    for (std::uint32_t claimed = 0; claimed < 300; ++claimed) {
        ASSERT_NE(pool.claim(kDead, kStateAttaching), nullptr);
    }
    EXPECT_TRUE(sweep(kDead));
    task::Worker::synchronize();
    task::Worker::synchronize();
    const WorkCounts after = counts(WorkTable::get().domain);
    EXPECT_EQ(after.scheduled, before.scheduled);
    EXPECT_EQ(after.ran, before.ran);
    EXPECT_EQ(pool.count_free(), pool.count());
}

// A member killed at random instants of schedule, cancel and drain: the counts balance, no context
// is lost, and slots are usable.
TEST_F(TaskWorkTest, a_death_at_any_instant_leaves_counts_balanced_and_contexts_found) {
    task::TargetThread sleeper;
    std::uint32_t random = 4711;
    for (int round = 0; round < 60; ++round) {
        const std::uint64_t before = totals().scheduled;
        const pid_t child = ::fork();
        if (child == 0) {
            task::join_process("child");
            task::register_current(0, 0);
            for (std::uint32_t step = 0;; ++step) {
                Value& value = shared_->values[step % 32];
                schedule_on(value, step % 3 == 0 ? &sleeper.task() : current(), Notify::none);
                if (step % 5 == 0) {
                    cancel(shared_->values[(step / 5) % 32].slot);
                }
                task::safe_point();
            }
        }
        random = random * 1664525U + 1013904223U;
        if (round % 2 == 1) {  // the others may die before they are members
            wait_until([&] { return totals().scheduled > before; });
        }
        ::usleep(1000 + (random >> 20));
        ::kill(child, SIGKILL);
        ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    }
    wait_until([&] {
        return task::TaskTable::get().processes.count_free() ==
               task::TaskTable::get().processes.count() - 1;
    });
    sleeper.release();
    for (auto& value : shared_->values) {
        cancel(value.slot);
    }
    task::Worker::synchronize();
    task::Worker::synchronize();
    const WorkCounts sum = totals();
    EXPECT_GT(sum.scheduled, 0U);
    EXPECT_EQ(sum.in_flight, 0U);
    EXPECT_EQ(sum.scheduled, sum.ran + sum.cancelled + sum.dropped);
    EXPECT_EQ(WorkTable::get().contexts.count_free(), WorkTable::get().contexts.count());
}

}  // namespace
}  // namespace taskwork::defer
