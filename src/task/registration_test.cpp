// SPDX-License-Identifier: Apache-2.0
//
// Control blocks between their claim and the moment that their thread is a task.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "task/task.hpp"
#include "task/test_domain.hpp"

namespace taskwork::task {
namespace {

// Blocks kept a mark of their last life until the next one had begun in earnest, and a member that
// was killed in between took them with it for good.
TEST(Registration, blocks_claimed_by_one_that_dies_before_it_is_a_task_come_back) {
    const TestDomain domain(std::size_t{256} << 20, 16);
    sync::Pool& tasks = TaskTable::get().tasks;
    // All blocks have a life behind them.
    const std::uint32_t free = tasks.count_free();
    std::vector<std::thread> threads;
    platform::Atomic<std::uint32_t> born;
    for (std::uint32_t index = 0; index < free; ++index) {
        threads.push_back(task_thread([&] {
            born.fetch_add(1, std::memory_order_release);
            wait_until([&] { return born.load(std::memory_order_acquire) == free; });
        }));
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    wait_until([&] { return tasks.count_free() == free; });
    const pid_t child = ::fork();
    if (child == 0) {
        if (join_process("short") != no_error) {
            ::_exit(3);
        }
        const auto owner =
            static_cast<std::uint16_t>(TaskTable::get().processes.index_of(current_process()));
        std::uint32_t claimed = 0;
        while (tasks.claim(owner, kTaskBorn) != nullptr) {
            ++claimed;
        }
        ::_exit(claimed == free ? 4 : 5);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 4) << status;
    wait_until([&] { return tasks.count_free() == free; });
    EXPECT_EQ(tasks.count_free(), free);
}

/// Of a process whose joining the worker is told of: it has to wait there.
platform::Atomic<std::uint32_t> told;
platform::Atomic<std::uint32_t> may_go_on;

// A child that dropped its privileges, and so left, before a busy worker had heard that it joined
// was reported as one that had not been entered.
TEST(Registration, a_process_that_leaves_before_the_worker_looks_is_told_of) {
    Worker::set_life_hooks({.process_joined = [](Process&) noexcept {
        told.fetch_add(1, std::memory_order_relaxed);
        while (may_go_on.load(std::memory_order_acquire) == 0) {
            std::this_thread::yield();
        }
    }});
    const TestDomain domain;
    sync::Pool& processes = TaskTable::get().processes;
    const std::uint32_t free = processes.count_free();
    const pid_t stays = ::fork();
    if (stays == 0) {
        ::_exit(join_process("stays") == no_error ? ::pause() : 3);
    }
    wait_until([] { return told.load(std::memory_order_relaxed) == 1; });
    const pid_t leaves = ::fork();
    if (leaves == 0) {
        if (join_process("leaves") != no_error) {
            ::_exit(3);
        }
        Process& self = *current_process();
        leave_process();
        close_left_process(self);
        ::_exit(0);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(leaves, &status, 0), leaves);
    ASSERT_EQ(status, 0);
    EXPECT_EQ(told.load(std::memory_order_relaxed), 1u);
    may_go_on.store(1, std::memory_order_release);
    ASSERT_EQ(::kill(stays, SIGKILL), 0);
    ASSERT_EQ(::waitpid(stays, &status, 0), stays);
    wait_until([&] { return processes.count_free() == free; });
    EXPECT_EQ(told.load(std::memory_order_relaxed), 2u);
    Worker::set_life_hooks({});
}

}  // namespace
}  // namespace taskwork::task
