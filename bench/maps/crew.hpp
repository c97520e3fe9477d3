// SPDX-License-Identifier: Apache-2.0
//
// Threads that do a batch each at the same time.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "report.hpp"

namespace taskwork::bench {

class Crew {
public:
    /// `batch` gets the number of the thread, which is a task of the domain. Context: task.
    Crew(unsigned threads, std::function<void(unsigned thread)> batch);
    ~Crew();
    Crew(const Crew&) = delete;
    Crew& operator=(const Crew&) = delete;

    /// One batch of each thread, after `prepare`; a sample, the mean of all, of `operations` each,
    /// less `loop_ns` for each.
    /// Where each thread has a processor a batch counts that they do at the same time; none does
    /// after some that they did not. Context: task.
    void round(benchmark::State& state, Samples& samples, std::uint64_t operations,
               const std::function<void()>& prepare, double loop_ns = 0);

private:
    struct Span {
        std::uint64_t begin;
        std::uint64_t end;
    };
    void work(unsigned thread);
    [[nodiscard]] bool overlapped() const;

    std::function<void(unsigned)> batch_;
    std::vector<Span> spans_;
    std::atomic<std::uint32_t> rounds_{0};   ///< Begun so far.
    std::atomic<std::uint32_t> arrived_{0};  ///< Threads in all of them.
    std::atomic<std::uint32_t> finished_{0};
    std::atomic<bool> stop_{false};
    std::vector<std::thread> threads_;
};

}  // namespace taskwork::bench
