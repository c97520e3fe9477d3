// SPDX-License-Identifier: Apache-2.0
//
// Control blocks between their claim and the moment that their thread is a task.
#include <gtest/gtest.h>
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

}  // namespace
}  // namespace taskwork::task
