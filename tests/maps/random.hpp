// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <iostream>

#include "sync/platform.hpp"

namespace taskwork::maps {

/// A sequence of random numbers that a thread and its handlers share: each draws its own.
class Random {
public:
    explicit Random(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15U + 1) {}
    /// From 0 to limit - 1. Context: any.
    std::uint64_t below(std::uint64_t limit) noexcept {
        std::uint64_t x = state_.fetch_add(0x9e3779b97f4a7c15U, std::memory_order_relaxed);
        x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93U;
        return (x ^ (x >> 32)) % limit;
    }

private:
    std::atomic<std::uint64_t> state_;
};

/// TASKWORK_SEED, or one from the clock. Prints it.
inline std::uint64_t choose_seed() {
    const char* const given = std::getenv("TASKWORK_SEED");
    const std::uint64_t seed =
        given != nullptr ? std::strtoull(given, nullptr, 0) : platform::now_ns() % 1'000'000'007;
    std::cout << "seed " << seed << " (TASKWORK_SEED)" << std::endl;
    return seed;
}

/// Whether the long form is asked for.
inline bool is_long() { return std::getenv("TASKWORK_PROVE") != nullptr; }

}  // namespace taskwork::maps
