// SPDX-License-Identifier: Apache-2.0
//
// Schedule-to-callback times of a whole run: the histograms of all tasks, those that are gone
// included, added up.
#pragma once

#include <array>
#include <cstdint>

#include "task/task.hpp"

namespace taskwork::cli {

struct LatencyTotals {
    std::array<std::uint64_t, task::LatencyHistogram::kBuckets> counts{};
    std::uint64_t max_ns = 0;

    /// Context: task, irq.
    void add(const task::LatencyHistogram& histogram) noexcept;
    /// Context: any.
    [[nodiscard]] std::uint64_t count() const noexcept;
    /// The time that `share` (0 to 1) of all stayed within, to the resolution of a bucket (an
    /// eighth of an octave), rounded up, and never above the maximum. 0 if there was none. Context:
    /// any.
    [[nodiscard]] std::uint64_t percentile_ns(double share) const noexcept;
};

}  // namespace taskwork::cli
