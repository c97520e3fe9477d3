// SPDX-License-Identifier: Apache-2.0
//
// libFuzzer's way in: as soundness_main.cpp, with bytes that follow what they reach in the
// verifier.
#include <cstdio>
#include <cstdlib>

#include "tests/fuzz/soundness/harness.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using taskwork::fuzz::Harness;
    // Never destroyed: the fuzzer leaves by _exit.
    static Harness* const harness = [] {
        auto* const made = new Harness;
        // Inputs that reach more grow towards ever longer walks, a gigabyte of recorded states
        // each.
        made->insns_walked_max = 16'384;
        return made;
    }();
    if (const std::string wrong = harness->judge({data, size}); !wrong.empty()) {
        std::fprintf(stderr, "%s", wrong.c_str());
        std::abort();
    }
    return 0;
}
