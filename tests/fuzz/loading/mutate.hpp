// SPDX-License-Identifier: Apache-2.0
//
// Changes to inputs that keep most of them right, for libFuzzer. Of this folder's fuzzers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace taskwork::fuzz {

using Random = std::minstd_rand;

/// A number below `end`, which is not 0.
inline std::uint32_t below(Random& random, std::size_t end) {
    return static_cast<std::uint32_t>(random() % end);
}
/// A word of the kinds that go wrong: small, near a power of two, all ones, anything.
std::uint32_t odd_word(Random& random);
/// As libFuzzer changes bytes; at most `size_max` of them afterwards.
void mutate_bytes(std::vector<std::byte>& bytes, std::size_t size_max);
/// Changes one thing in BTF: a word, a kind, a type more or less, a name; mostly with a header that
/// fits. Bytes that are no BTF become some.
void mutate_types(std::vector<std::byte>& bytes, Random& random);

}  // namespace taskwork::fuzz
