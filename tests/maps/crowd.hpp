// SPDX-License-Identifier: Apache-2.0
//
// Eight threads, each with an event of 10 kHz on top, all doing the same at random to one map.
//
//   TASKWORK_SEED           the sequence of random numbers
//   TASKWORK_MAP_SECONDS    how long, each time (1; 60 with TASKWORK_PROVE)
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <iostream>
#include <thread>
#include <vector>

#include "map/test_map.hpp"
#include "task/test_events.hpp"
#include "tests/random.hpp"

namespace taskwork::maps {

inline constexpr unsigned kThreads = 8;
inline constexpr std::uint64_t kEventUs = 100;

/// A value that shows whether it is of one piece.
using Value = std::array<std::uint64_t, 4>;
inline Value value_of(std::uint64_t number) {
    return {number, number * 31, ~number, number ^ 0x5555};
}
inline bool is_whole(const Value& value) { return value == value_of(value[0]); }

constexpr std::errc kNone = std::errc::no_such_file_or_directory;
/// E2BIG; of an LPM trie ENOSPC.
constexpr std::errc kFull = std::errc::argument_list_too_long;
constexpr std::errc kNoSpace = std::errc::no_space_on_device;
constexpr std::errc kNoMemory = std::errc::not_enough_memory;
constexpr std::errc kBusy = std::errc::device_or_resource_busy;

class Crowd {
public:
    /// What all do, handlers included, inside sections that keep values.
    using Act = void (*)(test::Random& random, bool is_handler) noexcept;

    explicit Crowd(Act body) : act_(body), seed_(test::choose_seed()) {
        crowd = this;
        task::set_event_hook(task::is_timer_event, on_event);
    }
    ~Crowd() {
        task::set_event_hook(nullptr, nullptr);
        crowd = nullptr;
    }
    Crowd(const Crowd&) = delete;
    Crowd& operator=(const Crowd&) = delete;

    /// So long, and until everybody has had turns and there were events. `meanwhile` is called now
    /// and then.
    template <class Meanwhile>
    void run(Meanwhile meanwhile) {
        std::vector<std::thread> threads;
        for (unsigned i = 0; i < kThreads; ++i) {
            threads.push_back(task::task_thread([this, i] { take_turns(i); }));
        }
        const std::uint64_t end =
            platform::now_ns() +
            test::setting("TASKWORK_MAP_SECONDS", test::is_long() ? 60 : 1) * 1'000'000'000U;
        const std::uint64_t patience = end + 60'000'000'000U;
        while (!is_done(end) && platform::now_ns() < patience) {
            ::usleep(10'000);
            meanwhile();
        }
        EXPECT_TRUE(is_done(end)) << "somebody does not get on";
        stop_.store(true, std::memory_order_release);
        std::uint64_t sum = 0;
        for (unsigned i = 0; i < kThreads; ++i) {
            threads[i].join();
            sum += turns_[i].load();
        }
        meanwhile();
        std::cout << sum << " turns of threads, " << events_.load() << " events" << std::endl;
        EXPECT_EQ(unexpected_.load(), 0);
    }

    /// Of results. Context: any.
    static void expect(std::errc result, std::initializer_list<std::errc> allowed) noexcept {
        for (const std::errc one : allowed) {
            if (result == one) {
                return;
            }
        }
        crowd->unexpected_.store(static_cast<int>(result), std::memory_order_relaxed);
    }

private:
    void take_turns(unsigned index) {
        test::Random random(seed_ + index);
        own_random = &random;
        task::EventTimer events(kEventUs);
        events.start(random.below(UINT32_MAX));
        while (!stop_.load(std::memory_order_acquire)) {
            act(random, false);
            turns_[index].fetch_add(1, std::memory_order_relaxed);
        }
        events.stop();
        own_random = nullptr;
    }
    bool is_done(std::uint64_t end) const {
        bool all = platform::now_ns() >= end && events_.load() > 100;
        for (const std::atomic<std::uint64_t>& one : turns_) {
            all = all && one.load() > 100;
        }
        return all;
    }
    void act(test::Random& random, bool is_handler) const noexcept {
        task::Task* const self = task::current();
        const task::Section section(self);
        const task::ReadSection keep(*self, sync::Flavour::sleepable);
        act_(random, is_handler);
    }
    static bool on_event(task::Task&, const siginfo_t&, void*, task::Dropped dropped) noexcept {
        if (dropped == task::Dropped::no && own_random != nullptr) {
            crowd->events_.fetch_add(1, std::memory_order_relaxed);
            crowd->act(*own_random, true);
        }
        return true;
    }

    static inline Crowd* crowd = nullptr;
    static inline thread_local constinit test::Random* own_random = nullptr;
    Act act_;
    std::uint64_t seed_;
    std::array<std::atomic<std::uint64_t>, kThreads> turns_{};
    std::atomic<std::uint64_t> events_{0};
    std::atomic<int> unexpected_{0};
    std::atomic<bool> stop_{false};
};

}  // namespace taskwork::maps
