// SPDX-License-Identifier: Apache-2.0
//
// For tests of this layer: values with slots in the arena, a runner that counts, and threads and
// processes that works are scheduled onto.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <functional>
#include <new>
#include <string>
#include <thread>

#include "defer/task_work.hpp"
#include "sync/arena.hpp"
#include "task/test_domain.hpp"

namespace taskwork::defer {

/// What `schedule` answers once it is not busy: a round is counted as run a little before its slot
/// is free for the next.
template <typename Schedule>
std::errc schedule_when_free(Schedule schedule) {
    std::errc error = std::errc::device_or_resource_busy;
    task::wait_until([&] { return (error = schedule()) != std::errc::device_or_resource_busy; });
    return error;
}

/// A value with a slot, as a map element has one, and what its callback saw.
struct alignas(64) TestValue {
    Slot slot;
    platform::Atomic<std::uint64_t> runs;
    platform::Atomic<std::int32_t> ran_on;
    [[nodiscard]] std::uint64_t count() const { return runs.load(std::memory_order_acquire); }
};

/// In the arena: other processes work on it.
struct alignas(64) TestScene {
    static constexpr std::uint32_t kValues = 32;
    TestValue values[kValues];
    platform::Atomic<std::uint32_t> user_count{1};
    WorkTotals totals;
    platform::Atomic<task::Task*> target;  ///< Of another thread or process.
    platform::Atomic<std::uint64_t> words[8];
};

/// A domain with a scene.
class WorksTest : public testing::Test {
protected:
    explicit WorksTest(std::uint32_t contexts = 256) {
        EXPECT_EQ(WorkTable::create(contexts), no_error);
        set_callback_runner(kCallbackTest, run);
        scene_ = static_cast<TestScene*>(sync::Arena::allocate(sizeof(TestScene), 64));
        new (scene_) TestScene;
        in_callback = nullptr;
    }
    ~WorksTest() override { in_callback = nullptr; }

    static ScheduleRequest request(TestScene& scene, TestValue& value, task::Task* target,
                                   task::Notify mode = task::Notify::signal) {
        ScheduleRequest wanted;
        wanted.target = target;
        wanted.mode = mode;
        wanted.callback = {kCallbackTest, 0, nullptr, nullptr, &value};
        wanted.user_count = &scene.user_count;
        wanted.totals = &scene.totals;
        return wanted;
    }
    static std::errc schedule_on(TestScene& scene, TestValue& value, task::Task* target,
                                 task::Notify mode = task::Notify::signal) {
        return schedule(value.slot, request(scene, value, target, mode));
    }
    std::errc schedule_on(TestValue& value, task::Task* target = task::current(),
                          task::Notify mode = task::Notify::signal) {
        return schedule_on(*scene_, value, target, mode);
    }
    TestValue& value(std::uint32_t index) { return scene_->values[index]; }
    [[nodiscard]] WorkCounts totals() const { return counts(scene_->totals); }
    [[nodiscard]] std::uint64_t runs() const {
        std::uint64_t sum = 0;
        for (const TestValue& one : scene_->values) {
            sum += one.count();
        }
        return sum;
    }
    /// Everything scheduled has ended, as counted here.
    void expect_ended(const std::string& where) {
        const WorkCounts sum = totals();
        EXPECT_EQ(sum.scheduled, sum.ran + sum.cancelled + sum.dropped) << where;
        EXPECT_EQ(sum.in_flight, 0U) << where;
        EXPECT_EQ(sum.ran, runs()) << where;
    }
    /// Cancels everything; then every context must come back.
    void expect_all_contexts_back(const std::string& where) {
        for (TestValue& one : scene_->values) {
            cancel_dead(one.slot);
            reset(one.slot);
        }
        task::safe_point();
        const sync::Pool& pool = WorkTable::get().contexts;
        task::wait_until([&] { return pool.count_free() == pool.count(); });
        EXPECT_EQ(pool.count_free(), pool.count()) << where;
    }

    /// Called inside callbacks of this process, if set.
    static inline std::function<void(TestValue&)> in_callback;

    task::TestDomain domain_;
    TestScene* scene_ = nullptr;

private:
    static void run(task::Task& self, const Callback& callback) noexcept {
        auto& value = *static_cast<TestValue*>(callback.value);
        value.ran_on.store(self.tid, std::memory_order_relaxed);
        if (in_callback) {
            in_callback(value);
        }
        value.runs.fetch_add(1, std::memory_order_release);
    }
};

/// The kernel's letter for what a thread of this process, or another process, is about ('R', 'S',
/// 'D', 'T', 'Z'); '?' if it is gone.
inline char kernel_state(pid_t process, pid_t thread) {
    char path[64];
    std::snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", process, thread);
    std::FILE* file = std::fopen(path, "r");
    if (file == nullptr) {
        return '?';
    }
    char line[256] = {};
    const std::size_t size = std::fread(line, 1, sizeof(line) - 1, file);
    std::fclose(file);
    const std::string text(line, size);
    const std::size_t name_end = text.rfind(')');
    return name_end == std::string::npos || name_end + 2 >= text.size() ? '?' : text[name_end + 2];
}

/// A thread that is a task and does `life` (plain code of its own) once it has been published.
class LifeThread {
public:
    explicit LifeThread(std::function<void()> life) {
        thread_ = task::task_thread([this, life] {
            task_.store(task::current(), std::memory_order_release);
            life();
        });
        task::wait_until([&] { return task_.load(std::memory_order_acquire) != nullptr; });
    }
    ~LifeThread() { join(); }
    LifeThread(const LifeThread&) = delete;
    LifeThread& operator=(const LifeThread&) = delete;
    void join() {
        if (thread_.joinable()) {
            thread_.join();
        }
    }
    [[nodiscard]] task::Task* task() const { return task_.load(std::memory_order_acquire); }
    /// Waits until the kernel says that the thread sleeps (`S`) or whatever is asked for.
    void wait_for_state(char wanted) const {
        task::wait_until([&] { return kernel_state(task()->pid, task()->tid) == wanted; });
    }

private:
    platform::Atomic<task::Task*> task_;
    std::thread thread_;
};

}  // namespace taskwork::defer
