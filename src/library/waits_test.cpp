// SPDX-License-Identifier: Apache-2.0
#include <poll.h>
#include <setjmp.h>
#include <sys/epoll.h>
#include <sys/time.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <ctime>

#include "base/sanitizers.hpp"
#include "library/test_library.hpp"
#include "task/single_step.hpp"

namespace taskwork::library {
namespace {

constexpr long kMillisecond = 1'000'000;

/// A wait for what never comes, at most `timeout`. 0: it timed out; EINTR.
using Wait = int (*)(const timespec& timeout);

int wait_by_ppoll(const timespec& timeout) {
    pollfd nothing{-1, POLLIN, 0};
    return taskwork::ppoll(&nothing, 1, &timeout) < 0 ? errno : 0;
}

int wait_by_epoll(const timespec& timeout) {
    static const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
    epoll_event event{};
    const auto ms = static_cast<int>(timeout.tv_sec * 1000 + timeout.tv_nsec / kMillisecond);
    return taskwork::epoll_pwait(epoll, &event, 1, ms) < 0 ? errno : 0;
}

int wait_by_futex(const timespec& timeout) {
    static const std::atomic<std::uint32_t> word{0};
    const std::errc error = taskwork::futex_wait(word, 0, &timeout);
    return error == std::errc::timed_out ? 0 : static_cast<int>(error);
}

struct Named {
    const char* name;
    Wait wait;
};

class WaitTest : public testing::TestWithParam<Named> {
protected:
    void SetUp() override {
        ASSERT_EQ(init(), kNoError);
        me_ = this_task();
        safe_point();
    }
    Task me_;
};

INSTANTIATE_TEST_SUITE_P(, WaitTest,
                         testing::Values(Named{"ppoll", wait_by_ppoll},
                                         Named{"epoll_pwait", wait_by_epoll},
                                         Named{"futex_wait", wait_by_futex}),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST_P(WaitTest, times_out_when_nothing_is_pending) {
    EXPECT_EQ(GetParam().wait({0, kMillisecond}), 0);
    Work work;
    int runs = 0;
    ASSERT_EQ(schedule(work, me_, anywhere([&runs]() noexcept { ++runs; })), kNoError);
    EXPECT_EQ(runs, 1);
    EXPECT_EQ(GetParam().wait({0, kMillisecond}), 0);
}

TEST_P(WaitTest, does_not_begin_when_a_safe_point_has_something_to_do_in_either_mode) {
    for (const Mode mode : {Mode::signal, Mode::resume}) {
        Work work;
        int runs = 0;
        ASSERT_EQ(schedule(work, me_, at_safe_point([&runs]() noexcept { ++runs; }), mode),
                  kNoError);
        EXPECT_EQ(GetParam().wait({60, 0}), EINTR);
        EXPECT_EQ(runs, 0) << "a wait is no safe point";
        EXPECT_EQ(GetParam().wait({60, 0}), EINTR);
        safe_point();
        EXPECT_EQ(runs, 1);
        EXPECT_EQ(GetParam().wait({0, kMillisecond}), 0);
    }
}

TEST_P(WaitTest, is_interrupted_by_each_of_many_works_scheduled_by_another_thread) {
    if (kThreadSanitizer) {
        GTEST_SKIP() << "ThreadSanitizer holds signals back until a call that it knows";
    }
    std::atomic<int> waits{0};
    std::atomic<int> lost{0};
    std::atomic<bool> on{true};
    const Target target([&, wait = GetParam().wait] {
        safe_point();
        if (on) {
            lost += wait({20, 0}) == EINTR ? 0 : 1;
            ++waits;
        }
    });
    Work work;
    std::atomic<int> runs{0};
    for (int round = 1; round <= 2000; ++round) {
        ASSERT_EQ(schedule(work, target.task(), at_safe_point([&runs]() noexcept { ++runs; })),
                  kNoError);
        wait_until([&] { return runs == round && work.state() == Work::State::idle; });
    }
    on = false;
    ASSERT_EQ(schedule(work, target.task(), at_safe_point([]() noexcept {})), kNoError);
    wait_until([&] { return work.state() == Work::State::idle; });
    EXPECT_EQ(lost, 0);
}

TEST_P(WaitTest, resume_mode_does_not_disturb_a_thread_that_is_blocked) {
    std::atomic<bool> blocks{false};
    std::atomic<int> answer{-1};
    const Target target([&, wait = GetParam().wait] {
        if (answer == -1) {
            blocks = true;
            answer = wait({0, 300 * kMillisecond});
        }
        safe_point();
    });
    wait_until([&] { return blocks.load(); });
    const timespec pause{0, 50 * kMillisecond};
    ::nanosleep(&pause, nullptr);
    Work work;
    std::atomic<int> runs{0};
    ASSERT_EQ(
        schedule(work, target.task(), at_safe_point([&runs]() noexcept { ++runs; }), Mode::resume),
        kNoError);
    wait_until([&] { return runs == 1; });
    EXPECT_EQ(answer, 0);
}

TEST_P(WaitTest, on_a_thread_that_is_not_registered_waits_as_libc_does) {
    std::thread([wait = GetParam().wait] { EXPECT_EQ(wait({0, kMillisecond}), 0); }).join();
}

/// For the stepped tests: plain data and plain functions, for handlers use them.
struct Step {
    Wait wait = nullptr;
    timespec timeout{};
    int answer = -1;
    Task me;
    Work work;
    std::atomic<std::uint64_t> began_ns{0};
    std::atomic<std::uint64_t> fired_ns{0};
    /// What another thread is to do, and has done.
    std::atomic<int> asked{0};
    std::atomic<int> done{0};
};
Step step;

void wait_step(void*) { step.answer = step.wait(step.timeout); }

void schedule_here(void*) {
    EXPECT_EQ(schedule(step.work, step.me, at_safe_point([]() noexcept {})), kNoError);
    step.fired_ns = platform::now_ns();
}

/// Another thread schedules, and the event returns when it has: so its signal is here, too.
void schedule_elsewhere(void*) {
    const int round = ++step.asked;
    while (step.done != round) {
    }
    step.fired_ns = platform::now_ns();
}

/// One event, after the first, second, ... instruction of the wait. Whatever the instruction, the
/// wait ends; only if it had timed out before the event did it wait at all.
void step_through(Wait wait, void (*event)(void*)) {
    step.wait = wait;
    step.me = this_task();
    step.timeout = {0, kMillisecond};
    wait_step(
        nullptr);  // What only a first call does (lazy binding) is not among its instructions.
    const std::uint64_t steps =
        task::single_step(wait_step, nullptr, [](void*) {}, nullptr, 1, 1, false);
    ASSERT_GT(steps, 20U);
    step.timeout = {0, 10 * kMillisecond};
    std::uint64_t interrupted = 0;
    for (std::uint64_t at = 1; at <= steps; ++at) {
        step.answer = -1;
        step.fired_ns = 0;
        step.began_ns = platform::now_ns();
        task::single_step(wait_step, nullptr, event, nullptr, at, 0, false);
        if (step.answer == EINTR) {
            ++interrupted;
        } else {
            ASSERT_EQ(step.answer, 0);
            ASSERT_GT(step.fired_ns, step.began_ns + 9 * kMillisecond)
                << "the wait slept through a work scheduled after instruction " << at << " of "
                << steps;
        }
        safe_point();
        ASSERT_EQ(step.work.state(), Work::State::idle);
    }
    EXPECT_GT(interrupted, 10U);
}

TEST_P(WaitTest, loses_no_work_that_a_handler_schedules_after_any_of_its_instructions) {
    if (!task::kCanSingleStep) {
        GTEST_SKIP() << "stepping needs the shipped code";
    }
    step_through(GetParam().wait, schedule_here);
}

TEST_P(WaitTest, loses_no_work_that_another_thread_schedules_after_any_of_its_instructions) {
    if (!task::kCanSingleStep) {
        GTEST_SKIP() << "stepping needs the shipped code";
    }
    step.asked = 0;
    step.done = 0;
    const Target other([] {
        if (step.asked != step.done) {
            EXPECT_EQ(schedule(step.work, step.me, at_safe_point([]() noexcept {})), kNoError);
            ++step.done;
        }
    });
    step_through(GetParam().wait, schedule_elsewhere);
}

TEST_P(WaitTest, a_thread_that_left_the_wait_by_longjmp_waits_again) {
    if (kThreadSanitizer || kAddressSanitizer) {
        GTEST_SKIP() << "a jump out of a handler is what they complain of";
    }
    static sigjmp_buf out;
    struct sigaction action{};
    struct sigaction before{};
    action.sa_handler = [](int) { ::siglongjmp(out, 1); };
    ::sigaction(SIGALRM, &action, &before);
    if (sigsetjmp(out, 1) == 0) {
        const itimerval soon{{0, 0}, {0, 20'000}};
        ::setitimer(ITIMER_REAL, &soon, nullptr);
        GetParam().wait({20, 0});
        ADD_FAILURE() << "the alarm came";
    }
    ::sigaction(SIGALRM, &before, nullptr);
    const Target scheduler;
    EXPECT_EQ(GetParam().wait({0, kMillisecond}), 0);
    Work work;
    ASSERT_EQ(schedule(work, me_, at_safe_point([]() noexcept {})), kNoError);
    EXPECT_EQ(GetParam().wait({20, 0}), EINTR);
    safe_point();
    EXPECT_EQ(GetParam().wait({0, kMillisecond}), 0);
}

TEST(FutexWait, tells_a_wake_a_changed_word_and_a_bad_timeout_apart) {
    ASSERT_EQ(init(), kNoError);
    std::atomic<std::uint32_t> word{0};
    EXPECT_EQ(futex_wait(word, 1), std::errc::resource_unavailable_try_again);
    const timespec bad{0, -1};
    EXPECT_EQ(futex_wait(word, 0, &bad), std::errc::invalid_argument);
    std::atomic<bool> woken{false};
    const Target target([&] {
        if (!woken && futex_wait(word, 0) == kNoError) {
            woken = true;
        }
    });
    while (!woken) {
        futex_wake(word, 1);
        std::this_thread::yield();
    }
}

}  // namespace
}  // namespace taskwork::library
