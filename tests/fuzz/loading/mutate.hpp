// SPDX-License-Identifier: Apache-2.0
//
// Changes to inputs that keep most of them right, for libFuzzer. Of this folder's fuzzers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
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
/// How a fuzzer changes its inputs, in its x_mutator.cpp: called for each, of which what is beyond
/// `size_max` is cut off then.
void mutate_input(std::vector<std::byte>& bytes, Random& random, std::size_t size_max);
/// As libFuzzer changes bytes; at most `size_max` of them afterwards.
void mutate_bytes(std::vector<std::byte>& bytes, std::size_t size_max);
/// Changes one thing in BTF: a word, a kind, a type more or less, a name; mostly with a header that
/// fits. Bytes that are no BTF become some.
void mutate_types(std::vector<std::byte>& bytes, Random& random);
/// Instructions that have come (or gone, below 0) before instruction `at`.
struct Shift {
    std::size_t at;
    std::int32_t by;
};
/// Changes a few instructions: fields, order, more, less, names of maps and functions. Mostly jumps
/// and calls over what comes or goes still lead where they led; the caller does the same for
/// tables.
std::vector<Shift> mutate_insns(std::vector<std::byte>& bytes, Random& random);
/// Changes a word of a table of words.
void mutate_table(std::vector<std::byte>& bytes, Random& random);

/// As far as there are whole ones.
template <class T>
std::vector<T> as_vector(const std::vector<std::byte>& bytes) {
    std::vector<T> all(bytes.size() / sizeof(T));
    if (!all.empty()) {
        std::memcpy(static_cast<void*>(all.data()), bytes.data(), all.size() * sizeof(T));
    }
    return all;
}

}  // namespace taskwork::fuzz
