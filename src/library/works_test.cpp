// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <cstdlib>
#include <thread>
#include <vector>

#include "library/test_library.hpp"

namespace taskwork::library {
namespace {

class WorkTest : public testing::Test {
protected:
    void SetUp() override {
        ASSERT_EQ(init(), kNoError);
        me_ = this_task();
    }
    void TearDown() override {
        // Nothing is left over, and nothing was lost.
        wait_until([] { return counters().in_flight == 0; });
        const Counters sum = counters();
        EXPECT_EQ(sum.scheduled, sum.ran + sum.cancelled + sum.dropped);
    }
    Task me_;
};

TEST_F(WorkTest, a_callback_runs_once_in_its_thread_and_sees_what_was_done_before) {
    const Target target;
    Work work;
    int before = 0;
    std::atomic<int> seen{-1};
    std::atomic<pid_t> where{0};
    struct All {
        int* before;
        std::atomic<int>* seen;
        std::atomic<pid_t>* where;
    } all{&before, &seen, &where};
    before = 7;
    ASSERT_EQ(schedule(work, target.task(), anywhere([&all]() noexcept {
                           all.where->store(::gettid());
                           all.seen->store(*all.before);
                       })),
              kNoError);
    wait_until([&] { return work.state() == Work::State::idle; });
    EXPECT_EQ(seen, 7);
    EXPECT_EQ(where, target.task().thread_id());
    EXPECT_EQ(work.counters().ran, 1U);
}

TEST_F(WorkTest, onto_oneself_it_runs_before_schedule_returns) {
    Work work;
    int runs = 0;
    for (int round = 1; round <= 1000; ++round) {
        ASSERT_EQ(schedule(work, me_, anywhere([&runs]() noexcept { ++runs; })), kNoError);
        ASSERT_EQ(runs, round);
    }
}

TEST_F(WorkTest, a_safe_point_callback_waits_for_the_safe_point_in_both_modes) {
    for (const Mode mode : {Mode::signal, Mode::resume}) {
        Work work;
        int runs = 0;
        ASSERT_EQ(schedule(work, me_, at_safe_point([&runs]() noexcept {
                               std::vector<int> allocated(1000);
                               runs += static_cast<int>(allocated.size());
                           }),
                           mode),
                  kNoError);
        EXPECT_EQ(work.state(), Work::State::scheduled);
        EXPECT_EQ(runs, 0);
        safe_point();
        EXPECT_EQ(runs, 1000);
        EXPECT_EQ(work.state(), Work::State::idle);
        safe_point();
        EXPECT_EQ(runs, 1000);
    }
}

TEST_F(WorkTest, a_safe_point_callback_never_runs_in_a_handler_of_its_busy_thread) {
    std::atomic<bool> go{false};
    const Target target([&go] {
        if (go.load()) {
            safe_point();
        }
    });
    Work work;
    std::atomic<int> runs{0};
    ASSERT_EQ(schedule(work, target.task(), at_safe_point([&runs]() noexcept { ++runs; })),
              kNoError);
    // The signal has come and gone when a later one, of a work that may run there, has.
    Work probe;
    std::atomic<int> probed{0};
    ASSERT_EQ(schedule(probe, target.task(), anywhere([&probed]() noexcept { ++probed; })),
              kNoError);
    wait_until([&] { return probed == 1; });
    EXPECT_EQ(runs, 0);
    go = true;
    wait_until([&] { return runs == 1; });
}

TEST_F(WorkTest, busy_while_scheduled_and_while_running) {
    Work work;
    ASSERT_EQ(schedule(work, me_, at_safe_point([]() noexcept {})), kNoError);
    EXPECT_EQ(schedule(work, me_, at_safe_point([]() noexcept {})),
              std::errc::device_or_resource_busy);
    safe_point();

    std::atomic<int> phase{0};
    const Target target;
    ASSERT_EQ(schedule(work, target.task(), anywhere([&phase]() noexcept {
                           phase = 1;
                           while (phase != 2) {
                           }
                       })),
              kNoError);
    wait_until([&] { return phase == 1; });
    EXPECT_EQ(work.state(), Work::State::running);
    EXPECT_EQ(schedule(work, me_, anywhere([]() noexcept {})), std::errc::device_or_resource_busy);
    EXPECT_FALSE(work.cancel()) << "it has begun";
    phase = 2;
    wait_until([&] { return work.state() == Work::State::idle; });
}

TEST_F(WorkTest, no_such_process_for_a_thread_that_has_ended_or_never_was) {
    Task ended;
    std::thread([&ended] { ended = this_task(); }).join();
    EXPECT_TRUE(ended);
    EXPECT_FALSE(ended.is_alive());
    Work work;
    EXPECT_EQ(schedule(work, ended, anywhere([]() noexcept {})), std::errc::no_such_process);
    EXPECT_EQ(schedule(work, Task{}, anywhere([]() noexcept {})), std::errc::no_such_process);
    EXPECT_EQ(work.state(), Work::State::idle);
    EXPECT_EQ(schedule(work, me_, anywhere([]() noexcept {})), kNoError);
}

TEST_F(WorkTest, not_permitted_for_a_thread_that_is_not_registered) {
    std::thread([this] {
        EXPECT_FALSE(current_task());
        Work work;
        EXPECT_EQ(schedule(work, me_, anywhere([]() noexcept {})),
                  std::errc::operation_not_permitted);
        EXPECT_EQ(register_this_thread(), kNoError);
        EXPECT_EQ(schedule(work, current_task(), anywhere([]() noexcept {})), kNoError);
        EXPECT_EQ(unregister_this_thread(), kNoError);
        EXPECT_EQ(unregister_this_thread(), std::errc::operation_not_permitted);
    }).join();
}

TEST_F(WorkTest, no_memory_when_all_contexts_are_taken_and_again_some_when_works_end) {
    std::vector<Work> works(static_cast<std::size_t>(Options{}.works) + 16);
    std::size_t accepted = 0;
    std::errc error{};
    for (Work& work : works) {
        error = schedule(work, me_, at_safe_point([]() noexcept {}), Mode::resume);
        if (error != kNoError) {
            break;
        }
        ++accepted;
    }
    EXPECT_EQ(error, std::errc::not_enough_memory);
    EXPECT_GT(accepted, Options{}.works / 2);
    works.clear();
    safe_point();
    Work work;
    wait_until([&] { return schedule(work, me_, anywhere([]() noexcept {})) == kNoError; });
}

TEST_F(WorkTest, what_is_cancelled_does_not_start_and_the_work_is_free_at_once) {
    Work work;
    int runs = 0;
    for (int round = 0; round < 10; ++round) {
        ASSERT_EQ(schedule(work, me_, at_safe_point([&runs]() noexcept { ++runs; })), kNoError);
        const std::uint64_t before = work.round();
        EXPECT_NE(before, 0U);
        EXPECT_TRUE(work.cancel());
        EXPECT_FALSE(work.cancel());
        EXPECT_EQ(work.state(), Work::State::idle);
        ASSERT_EQ(schedule(work, me_, at_safe_point([&runs]() noexcept { runs += 100; })),
                  kNoError);
        EXPECT_NE(work.round(), before);
        safe_point();
        EXPECT_EQ(runs, (round + 1) * 100);
    }
}

TEST_F(WorkTest, destroying_cancels_and_never_waits) {
    std::atomic<int> phase{0};
    const Target target;
    std::atomic<int> runs{0};
    {
        Work running;
        ASSERT_EQ(schedule(running, target.task(), anywhere([&phase]() noexcept {
                               phase = 1;
                               while (phase != 2) {
                               }
                           })),
                  kNoError);
        wait_until([&] { return phase == 1; });
        Work scheduled;
        ASSERT_EQ(schedule(scheduled, target.task(), anywhere([&runs]() noexcept { ++runs; })),
                  kNoError);
    }
    phase = 2;
    Work last;
    std::atomic<bool> done{false};
    ASSERT_EQ(schedule(last, target.task(), anywhere([&done]() noexcept { done = true; })),
              kNoError);
    wait_until([&] { return done.load(); });
    EXPECT_EQ(runs, 0);
}

TEST_F(WorkTest, moving_keeps_what_is_scheduled_and_moving_over_it_cancels) {
    Work first;
    int runs = 0;
    ASSERT_EQ(schedule(first, me_, at_safe_point([&runs]() noexcept { ++runs; })), kNoError);
    const std::uint64_t round = first.round();
    Work second(std::move(first));
    EXPECT_EQ(second.round(), round);
    EXPECT_EQ(second.state(), Work::State::scheduled);
    EXPECT_EQ(first.state(), Work::State::idle);  // NOLINT: that is what is tested
    Work third;
    ASSERT_EQ(schedule(third, me_, at_safe_point([&runs]() noexcept { runs += 100; })), kNoError);
    third = std::move(second);
    safe_point();
    EXPECT_EQ(runs, 1);
}

TEST_F(WorkTest, a_callback_may_schedule_its_own_work_again) {
    struct Chain {
        Work work;
        Task task;
        std::atomic<int> runs{0};
        void next() noexcept {
            ++runs;
            if (runs < 100) {
                EXPECT_EQ(schedule(work, task, anywhere([this]() noexcept { next(); })), kNoError);
                // Scheduled now, so not a second time.
                EXPECT_EQ(schedule(work, task, anywhere([]() noexcept {})),
                          std::errc::device_or_resource_busy);
            }
        }
    };
    const Target target;
    Chain chain;
    chain.task = target.task();
    ASSERT_EQ(schedule(chain.work, chain.task, anywhere([&chain]() noexcept { chain.next(); })),
              kNoError);
    wait_until([&] { return chain.runs == 100 && chain.work.state() == Work::State::idle; });
    EXPECT_EQ(chain.work.counters().scheduled, 100U);
    EXPECT_EQ(chain.work.counters().ran, 100U);
}

TEST_F(WorkTest, from_its_own_callback_onto_another_thread) {
    struct PingPong {
        Work work;
        Task tasks[2];
        std::atomic<int> runs{0};
        void next() noexcept {
            const int run = ++runs;
            if (run < 200) {
                // The other may run and schedule before this one has returned.
                EXPECT_EQ(schedule(work, tasks[run % 2], anywhere([this]() noexcept { next(); })),
                          kNoError);
            }
        }
    };
    const Target one;
    const Target two;
    PingPong ball;
    ball.tasks[0] = one.task();
    ball.tasks[1] = two.task();
    ASSERT_EQ(schedule(ball.work, one.task(), anywhere([&ball]() noexcept { ball.next(); })),
              kNoError);
    wait_until([&] { return ball.runs == 200; });
    EXPECT_EQ(ball.work.cancel_and_wait(), kNoError);
}

TEST_F(WorkTest, a_callback_cannot_schedule_its_work_while_what_it_scheduled_runs) {
    struct Both {
        Work work;
        Task first;
        Task second;
        std::atomic<int> runs{0};
        std::atomic<bool> answered{false};
        std::errc answer{};
        void begin() noexcept {
            EXPECT_EQ(schedule(work, second, anywhere([this]() noexcept {
                                   ++runs;
                                   while (!answered.load()) {
                                   }
                               })),
                      kNoError);
            while (runs.load() == 0) {
            }
            answer = schedule(work, first, anywhere([this]() noexcept { ++runs; }));
            answered = true;
        }
    };
    const Target one;
    const Target two;
    Both both;
    both.first = one.task();
    both.second = two.task();
    ASSERT_EQ(schedule(both.work, both.first, anywhere([&both]() noexcept { both.begin(); })),
              kNoError);
    wait_until([&] { return both.answered.load(); });
    EXPECT_EQ(both.answer, std::errc::device_or_resource_busy);
    EXPECT_EQ(both.work.cancel_and_wait(), kNoError);
    EXPECT_EQ(both.runs, 1);
}

TEST_F(WorkTest, cancel_and_wait_returns_when_the_callback_has_ended) {
    const Target target;
    for (int round = 0; round < 50; ++round) {
        Work work;
        auto dies = std::make_unique<std::atomic<int>>(0);
        ASSERT_EQ(schedule(work, target.task(), anywhere([at = dies.get()]() noexcept {
                               at->store(1);
                               for (int turn = 0; turn < 20000; ++turn) {
                                   at->fetch_add(1);
                               }
                           })),
                  kNoError);
        if (round % 2 == 0) {
            wait_until([&] { return dies->load() != 0; });
        }
        ASSERT_EQ(work.cancel_and_wait(), kNoError);
        const int value = dies->load();
        EXPECT_TRUE(value == 0 || value == 20001) << value;
        dies.reset();
        EXPECT_EQ(work.state(), Work::State::idle);
    }
}

TEST_F(WorkTest, cancel_and_wait_ends_a_work_that_schedules_itself_for_ever) {
    struct Endless {
        Work work;
        Task task;
        std::atomic<int> runs{0};
        void next() noexcept {
            ++runs;
            const std::errc error =
                schedule(work, task, at_safe_point([this]() noexcept { next(); }));
            EXPECT_TRUE(error == kNoError || error == std::errc::device_or_resource_busy);
        }
    };
    const Target target([] { safe_point(); });
    Endless endless;
    endless.task = target.task();
    ASSERT_EQ(schedule(endless.work, endless.task,
                       at_safe_point([&endless]() noexcept { endless.next(); })),
              kNoError);
    wait_until([&] { return endless.runs > 100; });
    ASSERT_EQ(endless.work.cancel_and_wait(), kNoError);
    const int runs = endless.runs;
    Work probe;
    std::atomic<bool> done{false};
    ASSERT_EQ(schedule(probe, target.task(), at_safe_point([&done]() noexcept { done = true; })),
              kNoError);
    wait_until([&] { return done.load(); });
    EXPECT_EQ(endless.runs, runs);
}

TEST_F(WorkTest, cancel_and_wait_from_its_own_callback_would_deadlock_and_says_so) {
    Work work;
    std::errc error{};
    struct Both {
        Work* work;
        std::errc* error;
    } both{&work, &error};
    ASSERT_EQ(schedule(work, me_, at_safe_point([&both]() noexcept {
                           *both.error = both.work->cancel_and_wait();
                       })),
              kNoError);
    safe_point();
    EXPECT_EQ(error, std::errc::resource_deadlock_would_occur);
    ASSERT_EQ(schedule(work, me_, anywhere([&both]() noexcept {
                           *both.error = both.work->cancel_and_wait();
                       })),
              kNoError);
    EXPECT_EQ(error, std::errc::resource_deadlock_would_occur);
    // Another's: a callback declared anywhere may not wait at all.
    Work other;
    ASSERT_EQ(schedule(other, me_, anywhere([&both]() noexcept {
                           *both.error = both.work->cancel_and_wait();
                       })),
              kNoError);
    EXPECT_EQ(error, std::errc::operation_not_permitted);
    // One at a safe point may.
    ASSERT_EQ(schedule(other, me_, at_safe_point([&both]() noexcept {
                           *both.error = both.work->cancel_and_wait();
                       })),
              kNoError);
    safe_point();
    EXPECT_EQ(error, kNoError);
}

TEST_F(WorkTest, the_end_of_a_thread_runs_what_is_pending_and_then_refuses) {
    Work one;
    Work two;
    Work three;
    std::atomic<int> runs{0};
    std::errc late{};
    struct All {
        Work* three;
        std::atomic<int>* runs;
        std::errc* late;
        Task task;
    } all{&three, &runs, &late, {}};
    std::atomic<int> phase{0};
    std::thread thread([&] {
        all.task = this_task();
        phase = 1;
        while (phase != 2) {
        }
    });
    wait_until([&] { return phase == 1; });
    ASSERT_EQ(schedule(one, all.task, at_safe_point([&runs]() noexcept { ++runs; })), kNoError);
    ASSERT_EQ(schedule(two, all.task, at_safe_point([&all]() noexcept {
                           ++*all.runs;
                           *all.late =
                               schedule(*all.three, all.task, at_safe_point([]() noexcept {}));
                       })),
              kNoError);
    phase = 2;
    thread.join();
    EXPECT_EQ(runs, 2);
    // Whether its own last callback could still schedule or not: it is not lost silently.
    EXPECT_TRUE(late == kNoError || late == std::errc::no_such_process);
    EXPECT_EQ(schedule(three, all.task, anywhere([]() noexcept {})), std::errc::no_such_process);
}

TEST_F(WorkTest, a_reference_keeps_the_block_of_an_ended_thread_from_another) {
    std::vector<Task> kept;
    for (int turn = 0; turn < 64; ++turn) {
        Task task;
        std::thread([&task] { task = this_task(); }).join();
        ASSERT_TRUE(task);
        for (const Task& other : kept) {
            EXPECT_NE(other, task);
        }
        kept.push_back(task);
    }
    Work work;
    for (const Task& task : kept) {
        EXPECT_FALSE(task.is_alive());
        EXPECT_EQ(schedule(work, task, anywhere([]() noexcept {})), std::errc::no_such_process);
    }
    // Given back, the blocks serve again: more threads than there are blocks, one after the other.
    kept.clear();
    for (std::uint32_t turn = 0; turn < Options{}.threads + 10; ++turn) {
        std::thread([] {
            std::errc error = register_this_thread();
            while (error == std::errc::not_enough_memory) {  // until the worker has released some
                std::this_thread::yield();
                error = register_this_thread();
            }
            EXPECT_EQ(error, kNoError);
        }).join();
    }
}

TEST_F(WorkTest, a_thread_is_found_by_its_id) {
    const Target target;
    EXPECT_EQ(find_task(target.task().thread_id()), target.task());
    EXPECT_EQ(find_task(me_.thread_id()), me_);
    EXPECT_FALSE(find_task(1));
    EXPECT_EQ(current_task(), me_);
    EXPECT_NE(target.task(), me_);
}

TEST_F(WorkTest, schedulers_and_cancellers_of_one_work_lose_nothing) {
    const Target target([] { safe_point(); });
    Work work;
    std::atomic<std::uint64_t> accepted{0};
    std::atomic<std::uint64_t> cancelled{0};
    std::atomic<std::uint64_t> runs{0};
    std::vector<std::thread> threads;
    for (int index = 0; index < 3; ++index) {
        threads.emplace_back([&, index] {
            ASSERT_EQ(register_this_thread(), kNoError);
            for (int turn = 0; turn < 3000; ++turn) {
                if (index == 2) {
                    cancelled += work.cancel() ? 1 : 0;
                    continue;
                }
                const auto count = [&runs]() noexcept { ++runs; };
                const std::errc error =
                    turn % 2 == 0
                        ? schedule(work, target.task(), anywhere(count), Mode::signal)
                        : schedule(work, target.task(), at_safe_point(count), Mode::resume);
                accepted += error == kNoError ? 1 : 0;
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    wait_until([&] { return runs + cancelled == accepted; });
    EXPECT_GT(accepted, 0U);
}

}  // namespace
}  // namespace taskwork::library
