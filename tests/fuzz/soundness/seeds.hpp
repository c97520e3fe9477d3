// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace taskwork::fuzz {

/// Random bytes, as a fuzzer might come to.
inline std::vector<std::uint8_t> bytes_of_seed(std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::vector<std::uint8_t> bytes(64 + random() % 512);
    for (std::uint8_t& byte : bytes) {
        byte = static_cast<std::uint8_t>(random());
    }
    return bytes;
}

}  // namespace taskwork::fuzz
