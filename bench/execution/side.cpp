// SPDX-License-Identifier: Apache-2.0
#include "execution/side.hpp"

#include <cstdio>

#include "respondent.hpp"

namespace taskwork::bench {

double measure(Respondent& side, std::size_t row, unsigned threads, std::string& error) {
    std::string answer;
    double ns = 0;
    int end = 0;
    if (!side.ask(std::to_string(row) + " " + std::to_string(threads), answer) ||
        std::sscanf(answer.c_str(), "%lf %n", &ns, &end) != 1) {
        error = kNoAnswer;
        return 0;
    }
    error = answer.substr(static_cast<std::size_t>(end));
    return ns;
}

}  // namespace taskwork::bench
