// SPDX-License-Identifier: Apache-2.0
//
// Tnum, a tristate number: of each bit of a 64-bit word what is known, 0, 1 or nothing. The
// operations are those of Vishwanathan et al., "Sound, precise, and fast abstract interpretation
// with tristate numbers" (CGO 2022), which also proves them; the multiplication is theirs too.
#pragma once

#include <cstdint>

namespace taskwork::bpf::verifier {

struct Tnum {
    std::uint64_t value = 0;  ///< The bits known to be 1.
    std::uint64_t mask = 0;   ///< The bits that are not known; none of them is in `value`.

    static constexpr Tnum constant(std::uint64_t value) noexcept { return {value, 0}; }
    static constexpr Tnum unknown() noexcept { return {0, ~std::uint64_t{0}}; }
    /// The best one that holds all of min..max: their common leading bits.
    static constexpr Tnum range(std::uint64_t min, std::uint64_t max) noexcept {
        const std::uint64_t differ = min ^ max;
        if (differ == 0) {
            return constant(min);
        }
        const unsigned width = 64U - static_cast<unsigned>(__builtin_clzll(differ));
        if (width == 64) {
            return unknown();
        }
        const std::uint64_t below = (std::uint64_t{1} << width) - 1;
        return {min & ~below, below};
    }

    [[nodiscard]] constexpr bool is_constant() const noexcept { return mask == 0; }
    [[nodiscard]] constexpr bool is_unknown() const noexcept { return mask == ~std::uint64_t{0}; }
    [[nodiscard]] constexpr bool contains(std::uint64_t word) const noexcept {
        return ((word ^ value) & ~mask) == 0;
    }
    /// Whether every word of `other` is one of this.
    [[nodiscard]] constexpr bool contains(Tnum other) const noexcept {
        return (other.mask & ~mask) == 0 && contains(other.value);
    }
    /// Whether all words are multiples of `size`, a power of two.
    [[nodiscard]] constexpr bool is_aligned(std::uint64_t size) const noexcept {
        return size == 0 || ((value | mask) & (size - 1)) == 0;
    }
    [[nodiscard]] constexpr std::uint64_t min() const noexcept { return value; }
    [[nodiscard]] constexpr std::uint64_t max() const noexcept { return value | mask; }

    /// The low 32 bits, the others 0.
    [[nodiscard]] constexpr Tnum low_word() const noexcept {
        return {value & UINT32_MAX, mask & UINT32_MAX};
    }
    [[nodiscard]] constexpr Tnum high_word() const noexcept {
        return {value & ~std::uint64_t{UINT32_MAX}, mask & ~std::uint64_t{UINT32_MAX}};
    }

    friend constexpr bool operator==(Tnum, Tnum) = default;
};

constexpr Tnum operator+(Tnum a, Tnum b) noexcept {
    const std::uint64_t values = a.value + b.value;
    const std::uint64_t most = a.max() + b.max();
    const std::uint64_t uncertain = (most ^ values) | a.mask | b.mask;
    return {values & ~uncertain, uncertain};
}
constexpr Tnum operator-(Tnum a, Tnum b) noexcept {
    const std::uint64_t values = a.value - b.value;
    const std::uint64_t most = values + a.mask;
    const std::uint64_t least = values - b.mask;
    const std::uint64_t uncertain = (most ^ least) | a.mask | b.mask;
    return {values & ~uncertain, uncertain};
}
constexpr Tnum operator&(Tnum a, Tnum b) noexcept {
    const std::uint64_t ones = a.value & b.value;
    return {ones, (a.max() & b.max()) & ~ones};
}
constexpr Tnum operator|(Tnum a, Tnum b) noexcept {
    const std::uint64_t ones = a.value | b.value;
    return {ones, (a.mask | b.mask) & ~ones};
}
constexpr Tnum operator^(Tnum a, Tnum b) noexcept {
    const std::uint64_t uncertain = a.mask | b.mask;
    return {(a.value ^ b.value) & ~uncertain, uncertain};
}
/// By 0 to 63.
constexpr Tnum operator<<(Tnum a, unsigned shift) noexcept {
    return {a.value << shift, a.mask << shift};
}
constexpr Tnum operator>>(Tnum a, unsigned shift) noexcept {
    return {a.value >> shift, a.mask >> shift};
}
constexpr Tnum shift_arithmetic(Tnum a, unsigned shift) noexcept {
    return {static_cast<std::uint64_t>(static_cast<std::int64_t>(a.value) >> shift),
            static_cast<std::uint64_t>(static_cast<std::int64_t>(a.mask) >> shift)};
}
/// A sum of partial products: of each bit of `a` that may be 1, `b` shifted to it; what is certain
/// and what is not are summed apart.
constexpr Tnum operator*(Tnum a, Tnum b) noexcept {
    const std::uint64_t certain = a.value * b.value;
    Tnum uncertain = Tnum::constant(0);
    while (a.value != 0 || a.mask != 0) {
        if ((a.value & 1) != 0) {
            uncertain = uncertain + Tnum{0, b.mask};
        } else if ((a.mask & 1) != 0) {
            uncertain = uncertain + Tnum{0, b.max()};
        }
        a = a >> 1;
        b = b << 1;
    }
    return Tnum::constant(certain) + uncertain;
}

/// What both allow. They must have a word in common.
constexpr Tnum intersect(Tnum a, Tnum b) noexcept {
    const std::uint64_t mask = a.mask & b.mask;
    return {(a.value | b.value) & ~mask, mask};
}
/// Whether they have a word in common.
constexpr bool overlap(Tnum a, Tnum b) noexcept {
    return ((a.value ^ b.value) & ~(a.mask | b.mask)) == 0;
}

}  // namespace taskwork::bpf::verifier
