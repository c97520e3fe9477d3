// SPDX-License-Identifier: Apache-2.0
#include "cli/latency.hpp"

#include <gtest/gtest.h>

#include <memory>

namespace taskwork::cli {
namespace {

TEST(Latency, of_nothing_is_zero) {
    LatencyTotals totals;
    EXPECT_EQ(totals.count(), 0u);
    EXPECT_EQ(totals.percentile_ns(0.5), 0u);
    EXPECT_EQ(totals.percentile_ns(0.99), 0u);
}

TEST(Latency, adds_up_the_histograms_of_several_tasks) {
    auto first = std::make_unique<task::LatencyHistogram>();
    auto second = std::make_unique<task::LatencyHistogram>();
    for (int i = 0; i < 98; ++i) {
        first->record(1000);
    }
    second->record(20000);
    second->record(5000000);
    LatencyTotals totals;
    totals.add(*first);
    totals.add(*second);
    EXPECT_EQ(totals.count(), 100u);
    EXPECT_EQ(totals.max_ns, 5000000u);
    // An eighth of an octave: within 12.5 % above the truth.
    EXPECT_GE(totals.percentile_ns(0.50), 1000u);
    EXPECT_LE(totals.percentile_ns(0.50), 1125u);
    EXPECT_GE(totals.percentile_ns(0.99), 20000u);
    EXPECT_LE(totals.percentile_ns(0.99), 22500u);
    EXPECT_EQ(totals.percentile_ns(1.0), 5000000u);
}

TEST(Latency, a_percentile_is_never_above_the_maximum) {
    auto one = std::make_unique<task::LatencyHistogram>();
    one->record(1000);
    LatencyTotals totals;
    totals.add(*one);
    EXPECT_EQ(totals.percentile_ns(0.5), 1000u);
}

}  // namespace
}  // namespace taskwork::cli
