// SPDX-License-Identifier: Apache-2.0
//
// What a search prints: one line of figures; for a failure the table of its steps and the string
// that replays it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tests/explore/search.hpp"

namespace explore {

/// v1:NAME:MODEL:T0x12,N1x3,...:checksum. T thread, N handler, F flush of a store buffer, K death,
/// R rest; xCount: so many steps; vN: the N-th outcome of a step that has several.
std::string schedule_string(const std::string& scenario, Model model,
                            const std::vector<Transition>& path);

struct Schedule {
    std::string scenario;
    Model model = Model::sc;
    std::vector<Transition> path;
};
/// Nothing if the text is no schedule, or its checksum is wrong.
std::optional<Schedule> parse_schedule(const std::string& text);

void print_result(const Scenario& scenario, const Options& options, const Result& result);
/// Replays the path and prints its table. Returns whether it failed.
bool print_run(const Scenario& scenario, Model model, const std::vector<Transition>& path);

}  // namespace explore
