// SPDX-License-Identifier: Apache-2.0
#include "mutate.hpp"

namespace taskwork::fuzz {

void mutate_input(std::vector<std::byte>& bytes, Random& random, std::size_t size_max) {
    if (below(random, 8) == 0) {
        mutate_bytes(bytes, size_max);
    } else {
        mutate_types(bytes, random);
    }
}

}  // namespace taskwork::fuzz
