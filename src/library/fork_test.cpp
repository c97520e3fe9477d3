// SPDX-License-Identifier: Apache-2.0
#include <sys/syscall.h>

#include <atomic>
#include <csignal>
#include <cstdlib>

#include "base/sanitizers.hpp"
#include "library/test_library.hpp"

namespace taskwork::library {
namespace {

class ForkTest : public testing::Test {
protected:
    void SetUp() override {
        if (kThreadSanitizer) {
            GTEST_SKIP() << "ThreadSanitizer allows no threads in a child of a threaded process";
        }
        ASSERT_EQ(init(), kNoError);
        me_ = this_task();
    }
    Task me_;
};

TEST_F(ForkTest, a_child_has_no_domain_and_what_it_inherited_is_inert) {
    Work work;
    int runs = 0;
    ASSERT_EQ(schedule(work, me_, at_safe_point([&runs]() noexcept { ++runs; })), kNoError);
    EXPECT_EQ(in_child([&] {
                  safe_point();  // one is pending in the parent, none here
                  if (runs != 0 || me_.is_alive() || me_.thread_id() != 0 || current_task() ||
                      find_task(::gettid())) {
                      return 1;
                  }
                  if (work.state() != Work::State::idle || work.round() != 0 || work.cancel()) {
                      return 2;
                  }
                  Work other;
                  if (schedule(other, me_, anywhere([]() noexcept {})) !=
                      std::errc::operation_not_permitted) {
                      return 3;
                  }
                  const Task copy = me_;
                  const Counters none = counters();
                  return none.scheduled == 0 && copy == me_ ? 0 : 4;
              }),
              0);
    EXPECT_EQ(work.state(), Work::State::scheduled) << "the child has not touched it";
    safe_point();
    EXPECT_EQ(runs, 1);
}

int use_everything(Work& inherited, const Task& parent) {
    const Task me = this_task();
    if (!me.is_alive() || me.thread_id() != ::gettid() || me == parent) {
        return 10;
    }
    if (schedule(inherited, parent, anywhere([]() noexcept {})) != std::errc::no_such_process) {
        return 11;
    }
    int runs = 0;
    if (schedule(inherited, me, at_safe_point([&runs]() noexcept { ++runs; })) != kNoError) {
        return 12;
    }
    safe_point();
    const Target target;
    Work work;
    std::atomic<int> remote{0};
    if (runs != 1 ||
        schedule(work, target.task(), anywhere([&remote]() noexcept { ++remote; })) != kNoError) {
        return 13;
    }
    while (remote == 0) {
        std::this_thread::yield();
    }
    if (work.cancel_and_wait() != kNoError) {
        return 14;
    }
    const Counters sum = counters();
    return sum.scheduled == 2 && sum.ran == 2 ? 0 : 15;
}

TEST_F(ForkTest, a_child_makes_a_domain_of_its_own_when_it_first_uses_one) {
    Work work;
    ASSERT_EQ(schedule(work, me_, at_safe_point([]() noexcept {})), kNoError);
    EXPECT_EQ(in_child([&] { return use_everything(work, me_); }), 0);
    EXPECT_EQ(work.state(), Work::State::scheduled);
    safe_point();
    EXPECT_EQ(work.state(), Work::State::idle);
}

TEST_F(ForkTest, a_grandchild_and_a_child_of_a_raw_fork_have_their_own_too) {
    Work work;
    EXPECT_EQ(in_child([&] {
                  if (const int error = use_everything(work, me_); error != 0) {
                      return error;
                  }
                  const Task child = this_task();
                  return in_child([&] { return use_everything(work, child); });
              }),
              0);
    const pid_t pid = ::_Fork();
    if (pid == 0) {
        ::_exit(me_.is_alive() || current_task() ? 1 : 0);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
}

TEST_F(ForkTest, a_domain_that_cannot_be_made_leaves_nothing_and_the_next_attempt_can) {
    EXPECT_EQ(in_child([] {
                  if (init({.works = 0}) != std::errc::invalid_argument ||
                      init({.threads = 1'000'000}) != std::errc::invalid_argument) {
                      return 1;
                  }
                  // Not even the tables of threads; those, and not the contexts.
                  for (const Options& options :
                       {Options{.arena_bytes = std::size_t{2} << 20},
                        Options{.works = 1'000'000, .arena_bytes = std::size_t{16} << 20}}) {
                      if (init(options) != std::errc::not_enough_memory || current_task()) {
                          return 2;
                      }
                  }
                  if (init({.works = 8, .threads = 2}) != kNoError) {
                      return 3;
                  }
                  const Task me = this_task();
                  Work works[8];
                  for (Work& work : works) {
                      if (schedule(work, me, at_safe_point([]() noexcept {})) != kNoError) {
                          return 4;
                      }
                  }
                  Work ninth;
                  if (schedule(ninth, me, at_safe_point([]() noexcept {})) !=
                      std::errc::not_enough_memory) {
                      return 5;
                  }
                  safe_point();
                  // Two threads may register, not three.
                  int refused = 0;
                  std::thread([&] {
                      refused += register_this_thread() != kNoError ? 10 : 0;
                      std::thread([&] {
                          refused +=
                              register_this_thread() == std::errc::not_enough_memory ? 1 : 20;
                      }).join();
                  }).join();
                  return refused == 1 && counters().threads_refused == 1 ? 0 : 6;
              }),
              0);
}

TEST_F(ForkTest, forks_amid_schedules_harm_neither_side) {
    std::atomic<bool> over{false};
    std::atomic<std::uint64_t> runs{0};
    const Target target([] { safe_point(); });
    std::thread scheduler([&] {
        ASSERT_EQ(register_this_thread(), kNoError);
        Work work;
        while (!over) {
            const std::errc error =
                schedule(work, target.task(), at_safe_point([&runs]() noexcept { ++runs; }));
            ASSERT_TRUE(error == kNoError || error == std::errc::device_or_resource_busy);
        }
        ASSERT_EQ(work.cancel_and_wait(), kNoError);
    });
    for (int child = 0; child < 20; ++child) {
        Work work;
        EXPECT_EQ(in_child([&] { return use_everything(work, me_); }), 0);
    }
    over = true;
    scheduler.join();
    EXPECT_GT(runs, 0U);
}

}  // namespace
}  // namespace taskwork::library
