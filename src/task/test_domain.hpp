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

/// A thread of the domain that works are pushed onto, from its registration until release().
class TargetThread {
public:
    /// With `runs_works` it computes, and works run as soon as it is notified; otherwise it sits in
    /// a section, so that they wait for release().
    /// Context: task.
    explicit TargetThread(bool runs_works = false)
        : thread_(task_thread([this, runs_works] {
              const Section section(runs_works ? nullptr : current());
              task_.store(current(), std::memory_order_release);
              while (released_.load(std::memory_order_acquire) == 0) {
                  if (!runs_works) {
                      std::this_thread::yield();
                  }
              }
          })) {
        wait_until([this] { return task_.load(std::memory_order_acquire) != nullptr; });
    }
    ~TargetThread() { release(); }
    TargetThread(const TargetThread&) = delete;
    TargetThread& operator=(const TargetThread&) = delete;

    /// Its control block; until release().
    /// Context: any.
    [[nodiscard]] Task& task() { return *task_.load(std::memory_order_acquire); }
    /// Lets what is pending run, and waits for the end of the thread.
    /// Context: task.
    void release() {
        if (thread_.joinable()) {
            released_.store(1, std::memory_order_release);
            thread_.join();
        }
    }

private:
    platform::Atomic<Task*> task_;
    platform::Atomic<std::uint32_t> released_;
    std::thread thread_;  ///< Last: it uses the others.
};

}  // namespace taskwork::task
