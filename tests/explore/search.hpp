// SPDX-License-Identifier: Apache-2.0
//
// Which runs of a scenario are made: all of them (depth first, with state matching and ample sets),
// all with a bounded number of preemptions, or random ones.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "tests/explore/scenario.hpp"

namespace explore {

struct Options {
    Model model = Model::sc;
    bool random = false;
    std::uint64_t seed = 1;
    std::uint64_t runs = 10'000;
    int preemptions = -1;  ///< At most so many switches away from an actor that could go on.
    double budget_seconds = 0;
    std::uint64_t states_max = 30'000'000;
    bool finals = false;
    bool naive = false;  ///< No ample sets, no state matching: for comparisons on tiny systems.
};

struct Result {
    std::uint64_t states = 0;
    std::uint64_t steps = 0;
    std::uint64_t runs = 0;
    unsigned passes = 0;
    double seconds = 0;
    std::string bound;               ///< What cut the search; empty: nothing, it is exhaustive.
    std::set<std::uint64_t> finals;  ///< Memory and notes at the ends of runs, if asked for.
    bool failed = false;
    Failure failure;
    std::vector<Transition> path;  ///< Of the failure.
};

/// Lays the scenario out and searches.
Result search(const Scenario& scenario, const Options& options);

/// Runs one path with its events recorded; stops where the path ends, fails or cannot be followed.
/// The path and the events are then those of the machine.
bool replay(const Scenario& scenario, Model model, const std::vector<Transition>& path,
            Failure* failure);

/// The same failure with fewer switches, as far as a few hundred tries find one.
std::vector<Transition> minimise(const Scenario& scenario, Model model,
                                 std::vector<Transition> path, const std::string& oracle);

}  // namespace explore
