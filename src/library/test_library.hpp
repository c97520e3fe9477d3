// SPDX-License-Identifier: Apache-2.0
//
// For the library's tests: threads to schedule onto, and waiting for what they do.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include <taskwork/taskwork.hpp>

namespace taskwork::library {

inline constexpr std::errc kNoError{};

/// Waits for what another thread brings about; fails the test after ten seconds.
template <class Condition>
void wait_until(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) {
            FAIL() << "an awaited event did not come within ten seconds";
        }
        std::this_thread::yield();
    }
}

/// A registered thread that does `body(stop)` again and again until it is stopped.
class Target {
public:
    explicit Target(std::function<void()> body = [] { std::this_thread::yield(); })
        : thread_([this, body = std::move(body)] {
              task_ = this_task();
              ready_.store(true, std::memory_order_release);
              while (!stop_.load(std::memory_order_acquire)) {
                  body();
              }
          }) {
        wait_until([&] { return ready_.load(std::memory_order_acquire); });
    }
    ~Target() { stop(); }
    Target(const Target&) = delete;
    Target& operator=(const Target&) = delete;

    const Task& task() const { return task_; }
    void stop() {
        stop_.store(true, std::memory_order_release);
        if (thread_.joinable()) {
            thread_.join();
        }
    }

private:
    Task task_;
    std::atomic<bool> ready_{false};
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

/// Runs `body` in a forked child; its exit status, 128 + n if signal n ended it.
inline int in_child(const std::function<int()>& body) {
    const pid_t child = ::fork();
    if (child == 0) {
        ::_exit(body());
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace taskwork::library
