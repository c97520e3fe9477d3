// SPDX-License-Identifier: Apache-2.0
//
// What a target is about when a work comes to it: it waits, it is stopped, it has not looked yet,
// it never looks, it becomes another program (K60-K79).
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "defer/test_works.hpp"
#include "sync/signal.hpp"

namespace taskwork::defer {
namespace {

using task::current;
using task::Notify;
using task::Task;
using task::wait_until;

class TargetStateTest : public WorksTest {
protected:
    /// A process of one task that does `life` and then exits in order; published in the scene.
    template <class Life>
    pid_t member(Life life) {
        const pid_t child = ::fork();
        if (child == 0) {
            if (task::join_process("target") != no_error ||
                task::register_current(0, 0) != no_error) {
                ::_exit(3);
            }
            scene_->target.store(current(), std::memory_order_release);
            life();
            task::exit_current();
            ::_exit(0);
        }
        wait_until([&] { return other() != nullptr; });
        return child;
    }
    Task* other() { return scene_->target.load(std::memory_order_acquire); }
    static void expect_exit(pid_t child) {
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    }
};

TEST_F(TargetStateTest, K60_a_restartable_wait_goes_on_after_the_callback) {
    int pipes[2];
    ASSERT_EQ(::pipe(pipes), 0);
    ssize_t size = -2;
    int error = 0;
    LifeThread target([&] {
        char byte = 0;
        size = ::read(pipes[0], &byte, 1);
        error = errno;
    });
    target.wait_for_state('S');
    ASSERT_EQ(schedule_on(value(0), target.task()), no_error);
    wait_until([&] { return value(0).count() == 1; });
    EXPECT_EQ(value(0).ran_on.load(std::memory_order_relaxed), target.task()->tid);
    target.wait_for_state('S');
    ASSERT_EQ(::write(pipes[1], "x", 1), 1);
    target.join();
    EXPECT_EQ(size, 1) << error;
    ::close(pipes[0]);
    ::close(pipes[1]);
}

TEST_F(TargetStateTest, K61_a_wait_that_cannot_be_restarted_is_interrupted) {
    int result = 0;
    int error = 0;
    LifeThread target([&] {
        const int epoll = ::epoll_create1(0);
        epoll_event event{};
        result = ::epoll_wait(epoll, &event, 1, 20'000);
        error = errno;
        ::close(epoll);
    });
    target.wait_for_state('S');
    ASSERT_EQ(schedule_on(value(0), target.task()), no_error);
    target.join();
    EXPECT_EQ(result, -1);
    EXPECT_EQ(error, EINTR);
    EXPECT_EQ(value(0).count(), 1U);
}

/// Counts signals of the application's: none of ours is one.
platform::Atomic<std::uint32_t> foreign;

TEST_F(TargetStateTest, K63_the_application_sees_no_signal) {
    // The handler that was there before ours is called for what is not ours alone.
    struct sigaction ours{};
    ASSERT_EQ(::sigaction(sync::kSignal, nullptr, &ours), 0);
    struct sigaction before{};
    before.sa_handler = [](int) { foreign.fetch_add(1, std::memory_order_relaxed); };
    ASSERT_EQ(::sigaction(sync::kSignal, &before, nullptr), 0);
    ASSERT_EQ(task::install_handler(), no_error);
    platform::Atomic<std::uint32_t> stop;
    LifeThread target(
        [&] { wait_until([&] { return stop.load(std::memory_order_acquire) != 0; }); });
    ASSERT_EQ(schedule_on(value(0), target.task()), no_error);
    wait_until([&] { return value(0).count() == 1; });
    EXPECT_EQ(foreign.load(std::memory_order_relaxed), 0U);
    ::raise(sync::kSignal);
    EXPECT_EQ(foreign.load(std::memory_order_relaxed), 1U) << "one of its own";
    stop.store(1, std::memory_order_release);
    target.join();
    before.sa_handler = SIG_DFL;
    ::sigaction(sync::kSignal, &before, nullptr);
    ASSERT_EQ(task::install_handler(), no_error);
}

/// What the child of a vfork shares with its parent.
struct Vforked {
    platform::Atomic<std::uint32_t> let_go;
    platform::Atomic<std::uint32_t> done;
};

int vforked(void* argument) {
    auto* shared = static_cast<Vforked*>(argument);
    while (shared->let_go.load(std::memory_order_acquire) == 0) {
        ::poll(nullptr, 0, 1);
    }
    shared->done.store(1, std::memory_order_release);
    ::_exit(0);
}

TEST_F(TargetStateTest, K64_a_target_that_cannot_be_interrupted_runs_it_when_its_wait_has_ended) {
    if (kThreadSanitizer || kAddressSanitizer) {
        GTEST_SKIP() << "a child in the memory of its parent is too much for sanitizers";
    }
    Vforked shared;
    std::uint32_t done_at_callback = 2;
    in_callback = [&](TestValue&) {
        done_at_callback = shared.done.load(std::memory_order_acquire);
    };
    pid_t child = 0;
    LifeThread target([&] {
        std::vector<char> stack(65536);
        // As vfork, which compilers know too much about: the parent sleeps, killable only.
        child = ::clone(vforked, stack.data() + stack.size(), CLONE_VM | CLONE_VFORK | SIGCHLD,
                        &shared);
        ::waitpid(child, nullptr, 0);
    });
    target.wait_for_state('D');
    ASSERT_EQ(schedule_on(value(0), target.task()), no_error);
    EXPECT_EQ(kernel_state(target.task()->pid, target.task()->tid), 'D') << "not woken";
    EXPECT_EQ(value(0).count(), 0U);
    EXPECT_EQ(schedule_on(value(0), target.task()), std::errc::device_or_resource_busy);
    shared.let_go.store(1, std::memory_order_release);
    wait_until([&] { return value(0).count() == 1; });
    target.join();
    EXPECT_EQ(done_at_callback, 1U);
}

TEST_F(TargetStateTest, K65_K72_a_stopped_target_runs_it_when_it_is_continued) {
    for (const Notify mode : {Notify::signal, Notify::resume}) {
        TestValue& work = value(mode == Notify::signal ? 0 : 1);
        scene_->target.store(nullptr, std::memory_order_release);
        const pid_t child = member([&] {
            while (work.count() == 0) {
                ::usleep(1000);
                if (mode == Notify::resume) {
                    task::safe_point();  // Resume mode waits for one.
                }
            }
        });
        ASSERT_EQ(::kill(child, SIGSTOP), 0);
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, WUNTRACED), child);
        ASSERT_TRUE(WIFSTOPPED(status));
        ASSERT_EQ(schedule_on(work, other(), mode), no_error);
        EXPECT_EQ(schedule_on(work, other(), mode), std::errc::device_or_resource_busy);
        EXPECT_EQ(kernel_state(child, child), 'T') << "still stopped";
        EXPECT_EQ(work.count(), 0U);
        ASSERT_EQ(::kill(child, SIGCONT), 0);
        expect_exit(child);
        EXPECT_EQ(work.count(), 1U);
    }
}

TEST_F(TargetStateTest, K66_several_works_wake_a_sleeper_and_all_run) {
    platform::Atomic<std::uint32_t> stop;
    LifeThread target([&] {
        while (stop.load(std::memory_order_acquire) == 0) {
            ::poll(nullptr, 0, 10'000);  // Without a run point of its own.
        }
    });
    target.wait_for_state('S');
    in_callback = [&](TestValue&) {
        if (runs() == 4) {
            stop.store(1, std::memory_order_release);  // The fifth is not counted yet.
        }
    };
    for (std::uint32_t index = 0; index < 5; ++index) {
        ASSERT_EQ(schedule_on(value(index), target.task()), no_error);
    }
    target.join();
    EXPECT_EQ(runs(), 5U);
    EXPECT_GE(current()->statistics.notifications.get(), 1U);
    EXPECT_LE(current()->statistics.notifications.get(), 5U);
}

TEST_F(TargetStateTest, K67_a_task_that_never_looks_is_not_disturbed) {
    // The worker takes no signals and comes to no run point.
    Task* worker = nullptr;
    task::TaskTable& table = task::TaskTable::get();
    for (std::uint32_t index = 0; index < table.tasks.count(); ++index) {
        Task& one = table.task_at(index);
        if (sync::Pool::load(&one).state() == task::kTaskAlive && &one != current()) {
            worker = &one;
        }
    }
    ASSERT_NE(worker, nullptr);
    ASSERT_EQ(schedule_on(value(0), worker), no_error);
    EXPECT_EQ(schedule_on(value(0), worker), std::errc::device_or_resource_busy);
    task::Worker::synchronize();
    cancel(value(0).slot);
    task::Worker::synchronize();
    EXPECT_EQ(totals().cancelled + totals().ran, 1U);
    ASSERT_EQ(schedule_on(value(0)), no_error) << "the slot is usable";
}

TEST_F(TargetStateTest, K68_what_is_cancelled_before_the_target_looks_wakes_it_once_at_most) {
    platform::Atomic<std::uint32_t> closed;
    platform::Atomic<std::uint32_t> open;
    LifeThread target([&] {
        sigset_t ours;
        sigemptyset(&ours);
        sigaddset(&ours, sync::kSignal);
        ::pthread_sigmask(SIG_BLOCK, &ours, nullptr);
        closed.store(1, std::memory_order_release);
        wait_until([&] { return open.load(std::memory_order_acquire) != 0; });
        ::pthread_sigmask(SIG_UNBLOCK, &ours, nullptr);
    });
    wait_until([&] { return closed.load(std::memory_order_acquire) != 0; });
    for (int round = 0; round < 10; ++round) {
        ASSERT_EQ(schedule_on(value(0), target.task()), no_error);
        cancel(value(0).slot);
    }
    EXPECT_EQ(current()->statistics.notifications.get(), 1U);
    open.store(1, std::memory_order_release);
    target.join();
    EXPECT_EQ(runs(), 0U);
    EXPECT_EQ(totals().cancelled, 10U);
    expect_all_contexts_back("after the target's end");
}

TEST_F(TargetStateTest, K70_resume_mode_leaves_a_blocked_target_in_its_wait) {
    int pipes[2];
    ASSERT_EQ(::pipe(pipes), 0);
    ssize_t size = -2;
    LifeThread target([&] {
        char byte = 0;
        size = ::read(pipes[0], &byte, 1);
        task::safe_point();
    });
    target.wait_for_state('S');
    ASSERT_EQ(schedule_on(value(0), target.task(), Notify::resume), no_error);
    task::Worker::synchronize();  // Whatever the worker would do about it is done.
    EXPECT_EQ(kernel_state(target.task()->pid, target.task()->tid), 'S');
    EXPECT_EQ(value(0).count(), 0U);
    EXPECT_EQ(current()->statistics.notifications.get(), 0U);
    ASSERT_EQ(::write(pipes[1], "x", 1), 1);
    target.join();
    EXPECT_EQ(size, 1);
    EXPECT_EQ(value(0).count(), 1U);
    ::close(pipes[0]);
    ::close(pipes[1]);
}

TEST_F(TargetStateTest, K71_a_signal_mode_work_takes_an_earlier_resume_mode_one_with_it) {
    platform::Atomic<std::uint32_t> stop;
    LifeThread target([&] {
        while (stop.load(std::memory_order_acquire) == 0) {
            ::poll(nullptr, 0, 10'000);
        }
    });
    target.wait_for_state('S');
    ASSERT_EQ(schedule_on(value(0), target.task(), Notify::resume), no_error);
    in_callback = [&](TestValue& own) {
        if (&own == &value(0)) {  // Runs last: newest first.
            stop.store(1, std::memory_order_release);
        }
    };
    ASSERT_EQ(schedule_on(value(1), target.task(), Notify::signal), no_error);
    target.join();
    EXPECT_EQ(value(0).count(), 1U);
    EXPECT_EQ(value(1).count(), 1U);
}

TEST_F(TargetStateTest, K75_after_the_last_run_point_nothing_is_queued) {
    platform::Atomic<Task*> exited;
    platform::Atomic<std::uint32_t> stop;
    std::thread thread([&] {
        ASSERT_EQ(task::register_current(0, 0), no_error);
        Task* self = current();
        task::exit_current();
        exited.store(self, std::memory_order_release);
        wait_until([&] { return stop.load(std::memory_order_acquire) != 0; });
    });
    {
        const task::ReadSection keep(*current(), sync::Flavour::sleepable);
        wait_until([&] { return exited.load(std::memory_order_acquire) != nullptr; });
        ScheduleRequest wanted = request(*scene_, value(0), exited.load(std::memory_order_acquire));
        wanted.callback.program = &value(1);
        EXPECT_EQ(schedule(value(0).slot, wanted), std::errc::no_such_process)
            << "though its thread lives";
        EXPECT_FALSE(references_program(&value(1)));
    }
    EXPECT_EQ(schedule_on(value(0)), no_error) << "the slot is idle";
    stop.store(1, std::memory_order_release);
    thread.join();
}

TEST_F(TargetStateTest, K77_works_that_are_pending_at_an_exec_are_dropped_and_counted) {
    platform::Atomic<std::uint64_t>& go = scene_->words[0];
    const pid_t child = member([&] {
        current()->section.enter(platform::stack_pointer());  // No run point before.
        while (go.load(std::memory_order_acquire) == 0) {
            ::usleep(200);
        }
        ::execl("/bin/true", "true", static_cast<char*>(nullptr));
    });
    ASSERT_EQ(schedule_on(value(0), other(), Notify::none), no_error);
    go.store(1, std::memory_order_release);
    expect_exit(child);
    wait_until([&] { return totals().dropped == 1; });
    EXPECT_EQ(totals().in_flight, 0U);
    EXPECT_EQ(runs(), 0U);
    EXPECT_EQ(schedule_on(value(0)), no_error) << "the slot is idle";
}

TEST_F(TargetStateTest, K79_a_process_that_exits_in_order_runs_what_is_queued) {
    platform::Atomic<std::uint64_t>& go = scene_->words[0];
    const pid_t child = member([&] {
        const task::Section section(current());
        while (go.load(std::memory_order_acquire) == 0) {
            ::usleep(200);
        }
    });
    ASSERT_EQ(schedule_on(value(0), other(), Notify::none), no_error);
    ASSERT_EQ(schedule_on(value(1), other(), Notify::none), no_error);
    go.store(1, std::memory_order_release);
    expect_exit(child);
    EXPECT_EQ(runs(), 2U);
    expect_ended("after the exit");
}

}  // namespace
}  // namespace taskwork::defer
