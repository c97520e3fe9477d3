// SPDX-License-Identifier: Apache-2.0
//
// The kernel's side of verifier_bench, a process of its own because libbpf is linked so that the
// kernel answers. Reads the numbers of subjects, one a line; answers each with a line of what its
// load has cost.
#include <cstdio>
#include <cstring>

#include "respondent.hpp"
#include "tests/reference/kernel.hpp"
#include "verifier/load.hpp"

int main(int argc, char** argv) {
    using namespace taskwork::bench;
    const bool is_short = argc > 1 && std::strcmp(argv[1], "short") == 0;
    const std::vector<Subject> all = subjects(is_short);
    const std::string absent = taskwork::test::no_reference_because();
    std::printf("%s%s\n", absent.empty() ? "" : kAbsent, absent.c_str());
    std::fflush(stdout);
    for (std::size_t number = 0; std::scanf("%zu", &number) == 1 && number < all.size();) {
        const Cost cost = load(all[number]);
        std::printf("%llu %llu %llu %llu %s\n", static_cast<unsigned long long>(cost.verified_us),
                    static_cast<unsigned long long>(cost.load_ns),
                    static_cast<unsigned long long>(cost.insns),
                    static_cast<unsigned long long>(cost.states), cost.error.c_str());
        std::fflush(stdout);
    }
    return 0;
}
