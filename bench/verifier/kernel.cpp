// SPDX-License-Identifier: Apache-2.0
#include <cinttypes>
#include <cstdio>

#include "respondent.hpp"
#include "verifier/load.hpp"

namespace taskwork::bench {

Cost load(Respondent& kernel, std::size_t number) {
    Cost cost;
    std::string answer;
    int end = 0;
    if (!kernel.ask(std::to_string(number), answer) ||
        std::sscanf(answer.c_str(), "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %n",
                    &cost.verified_us, &cost.load_ns, &cost.insns, &cost.states, &end) != 4) {
        cost.error = kNoAnswer;
        return cost;
    }
    cost.error = answer.substr(static_cast<std::size_t>(end));
    return cost;
}

}  // namespace taskwork::bench
