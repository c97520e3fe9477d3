// SPDX-License-Identifier: Apache-2.0
//
// A scenario in memory of its own, and what is checked of its runs.
#pragma once

#include "tests/explore/scenario.hpp"

namespace explore {

/// A scenario laid out in an arena of its own.
class Laid {
public:
    Laid(const Scenario& scenario, Model model);
    ~Laid();
    Laid(const Laid&) = delete;
    Laid& operator=(const Laid&) = delete;

    Setup setup;
};

/// The checks of a run that has come to rest, or to its end.
void check_end(const Setup& setup, bool end);

}  // namespace explore
