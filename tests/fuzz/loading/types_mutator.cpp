// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "mutate.hpp"

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t size_max, unsigned seed);

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t size_max, unsigned seed) {
    using namespace taskwork::fuzz;
    Random random(seed);
    const auto* begin = reinterpret_cast<const std::byte*>(data);
    std::vector<std::byte> bytes(begin, begin + size);
    if (below(random, 8) == 0) {
        mutate_bytes(bytes, size_max);
    } else {
        mutate_types(bytes, random);
    }
    const std::size_t now = std::min(bytes.size(), size_max);
    std::copy_n(bytes.begin(), now, reinterpret_cast<std::byte*>(data));
    return now;
}
