// SPDX-License-Identifier: Apache-2.0
//
// What litmus tests share: results of actors, and which of them a model must show.
#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "tests/explore/scenario.hpp"

namespace explore {

/// What runs must show, by model; everything else must not be seen.
inline auto shows(std::set<std::string> sc, std::set<std::string> tso, std::set<std::string> ra) {
    return [=](Model model, const std::set<std::string>& seen) -> std::string {
        const auto& wanted = model == Model::sc ? sc : model == Model::tso ? tso : ra;
        std::string wrong;
        for (const std::string& one : wanted) {
            if (!seen.contains(one)) {
                wrong += " missing " + one;
            }
        }
        for (const std::string& one : seen) {
            if (!wanted.contains(one)) {
                wrong += " unexpected " + one;
            }
        }
        return wrong;
    };
}

/// Reports the results that actors left in notes 0..count-1, plus one so that 0 is a result.
inline void report(unsigned count) {
    std::string text;
    for (unsigned index = 0; index < count; ++index) {
        text += std::to_string(noted(index) - 1);
    }
    outcome(text);
}

inline void result(unsigned index, std::uint64_t value) { note(index, value + 1); }

inline const std::set<std::string> kNotBothZero{"01", "10", "11"};
inline const std::set<std::string> kAnything{"00", "01", "10", "11"};

}  // namespace explore
