// SPDX-License-Identifier: Apache-2.0
//
// What tests that draw random numbers have in common, and how the environment sets them.
//
// A random sequence is named by its seed, which is printed; TASKWORK_SEED gives one. Which thread
// runs when is the kernel's affair: a seed repeats what is done, not how it interleaves.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <iostream>

#include "sync/platform.hpp"

namespace taskwork::test {

/// A sequence of random numbers that a thread and its handlers share: each draws its own. It may
/// lie in the arena.
class Random {
public:
    Random() = default;
    explicit Random(std::uint64_t seed) : state_(seed) {}
    /// Context: any.
    void start(std::uint64_t seed) noexcept { state_.store(seed, std::memory_order_relaxed); }
    /// Context: any.
    std::uint64_t draw() noexcept {
        // Steele and Lea's SplitMix: a counter, scrambled, so that two who share it draw each their
        // own.
        std::uint64_t x = state_.fetch_add(0x9e3779b97f4a7c15U, std::memory_order_relaxed);
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
        return x ^ (x >> 31);
    }
    /// From 0 to limit - 1. Context: any.
    std::uint64_t below(std::uint64_t limit) noexcept { return draw() % limit; }

private:
    platform::Atomic<std::uint64_t> state_;
};

/// The environment's number, or what is given.
inline std::uint64_t setting(const char* name, std::uint64_t otherwise) {
    const char* const text = std::getenv(name);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 0);
}

/// Whether the long form is asked for (TASKWORK_PROVE).
inline bool is_long() { return std::getenv("TASKWORK_PROVE") != nullptr; }

/// TASKWORK_SEED, or one from the clock. Prints it.
inline std::uint64_t choose_seed() {
    const std::uint64_t seed = setting("TASKWORK_SEED", platform::now_ns() % 1'000'000'007);
    std::cout << "seed " << seed << " (TASKWORK_SEED)" << std::endl;
    return seed;
}

}  // namespace taskwork::test
