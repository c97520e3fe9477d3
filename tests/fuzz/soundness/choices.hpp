// SPDX-License-Identifier: Apache-2.0
//
// Choices: bytes as decisions. A fuzzer mutates the bytes, a seed makes random ones; a prefix that
// stays the same decides the same.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace taskwork::fuzz {

class Choices {
public:
    explicit Choices(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}
    /// Nothing is left: every further decision is the first one.
    [[nodiscard]] bool exhausted() const { return at_ >= bytes_.size(); }
    std::uint8_t byte() { return exhausted() ? std::uint8_t{0} : bytes_[at_++]; }
    /// 0 to limit - 1; limit is at most 256.
    unsigned below(unsigned limit) { return byte() % limit; }
    bool one_in(unsigned times) { return below(times) == times - 1; }
    template <class T, std::size_t N>
    const T& of(const T (&list)[N]) {
        return list[below(N)];
    }
    /// An immediate: corners, small ones, any.
    std::int32_t number() {
        static constexpr std::int32_t corners[] = {
            0,  1,   2,    3,    4,       7,       8,     15,        16,    31,         32,
            56, 63,  64,   127,  128,     255,     256,   511,       1000,  4095,       4096,
            -1, -2,  -8,   -64,  -128,    -129,    -4096, INT32_MAX, 65535, INT32_MIN,  65536,
            24, 100, 1234, 9999, 1 << 24, 1 << 30, -1000, 5,         6,     -INT32_MAX, 48};
        const unsigned kind = below(8);
        if (kind < 5) {
            return of(corners);
        }
        if (kind < 7) {
            return static_cast<std::int8_t>(byte());
        }
        std::uint32_t word = 0;
        for (int i = 0; i < 4; ++i) {
            word = word << 8 | byte();
        }
        return static_cast<std::int32_t>(word);
    }

private:
    std::span<const std::uint8_t> bytes_;
    std::size_t at_ = 0;
};

}  // namespace taskwork::fuzz
