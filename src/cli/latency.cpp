// SPDX-License-Identifier: Apache-2.0
#include "cli/latency.hpp"

#include <algorithm>
#include <cmath>

namespace taskwork::cli {

void LatencyTotals::add(const task::LatencyHistogram& histogram) noexcept {
    for (unsigned bucket = 0; bucket < counts.size(); ++bucket) {
        counts[bucket] += histogram.counts[bucket].get();
    }
    max_ns = std::max(max_ns, histogram.max_ns.get());
}

std::uint64_t LatencyTotals::count() const noexcept {
    std::uint64_t sum = 0;
    for (std::uint64_t one : counts) {
        sum += one;
    }
    return sum;
}

std::uint64_t LatencyTotals::percentile_ns(double share) const noexcept {
    const std::uint64_t total = count();
    const auto wanted = static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(total)));
    std::uint64_t seen = 0;
    for (unsigned bucket = 0; total != 0 && bucket < counts.size(); ++bucket) {
        seen += counts[bucket];
        if (counts[bucket] != 0 && seen >= wanted) {
            if (bucket + 1 == counts.size()) {
                break;
            }
            return std::min(max_ns, task::LatencyHistogram::lower_bound_ns(bucket + 1) - 1);
        }
    }
    return max_ns;
}

}  // namespace taskwork::cli
