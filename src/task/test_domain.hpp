// SPDX-License-Identifier: Apache-2.0
//
// A domain of the test process itself, for unit tests of the layers from task on: arena, worker,
// the calling thread registered, handler installed. One at a time.
#pragma once

#include <gtest/gtest.h>

#include <thread>

#include "sync/arena.hpp"
#include "task/run_point.hpp"
#include "task/task.hpp"
#include "task/worker.hpp"

namespace taskwork::task {

class TestDomain {
public:
    /// Context: task.
    explicit TestDomain(std::size_t arena_size = std::size_t{256} << 20, std::uint32_t tasks = 64) {
        auto created = sync::Arena::create(arena_size);
        EXPECT_TRUE(created.has_value()) << created.error().text;
        auto started = Worker::start(tasks);
        EXPECT_TRUE(started.has_value()) << started.error().text;
        EXPECT_EQ(install_handler(), no_error);
    }
    ~TestDomain() {
        Worker::stop();
        sync::Arena::destroy();
    }
    TestDomain(const TestDomain&) = delete;
    TestDomain& operator=(const TestDomain&) = delete;
};

/// A thread that is a task of the domain from before `body` to after it.
template <class Body>
std::thread task_thread(Body body) {
    return std::thread([body] {
        ASSERT_EQ(register_current(0, 0), no_error);
        body();
        exit_current();
    });
}

/// Waits until `condition` holds, for events that another thread brings about; fails the test after
/// ten seconds instead of hanging it.
template <class Condition>
void wait_until(Condition condition) {
    const std::uint64_t end = platform::now_ns() + 10'000'000'000U;
    while (!condition()) {
        if (platform::now_ns() > end) {
            FAIL() << "an awaited event did not come within ten seconds";
        }
        std::this_thread::yield();
    }
}

}  // namespace taskwork::task
