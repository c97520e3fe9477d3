// SPDX-License-Identifier: Apache-2.0
//
// Scalar: what the verifier knows of a number in a register. Five views of the same 64 bits, each a
// superset of what the number can be:
//
//     bits        which bits are known (tnum.hpp)
//     u64, s64    the least and greatest, as unsigned and as signed
//     u32, s32    the same of the low 32 bits
//
// Each view narrows the others (tighten()). Soundness is the whole point: whatever the program can
// compute lies in the result of the operation on the Scalars. scalar_test.cpp checks it on random
// numbers and, in all combinations, on those near the corners.
#pragma once

#include <cstdint>

#include "bpf/verifier/tnum.hpp"

namespace taskwork::bpf::verifier {

/// An interval, both ends included.
template <class T>
struct Range {
    T min;
    T max;
    [[nodiscard]] constexpr bool contains(T word) const noexcept {
        return min <= word && word <= max;
    }
    [[nodiscard]] constexpr bool contains(Range other) const noexcept {
        return min <= other.min && other.max <= max;
    }
    [[nodiscard]] constexpr bool is_empty() const noexcept { return min > max; }
    friend constexpr bool operator==(Range, Range) = default;
};

/// BPF's binary operations; the names are those of the instruction set.
enum class Alu : std::uint8_t {
    add,
    sub,
    mul,
    div,
    mod,
    sdiv,
    smod,
    bit_or,
    bit_and,
    bit_xor,
    lsh,
    rsh,
    arsh,
    mov,
};
/// Comparisons that branch.
enum class Compare : std::uint8_t { eq, ne, gt, ge, lt, le, sgt, sge, slt, sle, set };

enum class Branch : std::uint8_t { never, always, either };

struct Scalar {
    Tnum bits = Tnum::unknown();
    Range<std::uint64_t> u64 = {0, UINT64_MAX};
    Range<std::int64_t> s64 = {INT64_MIN, INT64_MAX};
    Range<std::uint32_t> u32 = {0, UINT32_MAX};
    Range<std::int32_t> s32 = {INT32_MIN, INT32_MAX};

    /// Any 64-bit number.
    static Scalar unknown() noexcept { return {}; }
    static Scalar constant(std::uint64_t word) noexcept;
    /// min..max of unsigned 64-bit numbers.
    static Scalar between(std::uint64_t min, std::uint64_t max) noexcept;
    static Scalar signed_between(std::int64_t min, std::int64_t max) noexcept;
    /// What a load of `bytes` (1, 2, 4, 8) gives, extended by zeros or by the sign.
    static Scalar loaded(unsigned bytes, bool sign_extended = false) noexcept;

    [[nodiscard]] bool is_constant() const noexcept { return bits.is_constant(); }
    [[nodiscard]] bool is_unknown() const noexcept { return *this == Scalar{}; }
    [[nodiscard]] bool contains(std::uint64_t word) const noexcept;
    /// Whether every number of `other` is one of this: what pruning asks.
    [[nodiscard]] bool contains(const Scalar& other) const noexcept;
    /// No number is left: the branch that led here cannot be taken.
    [[nodiscard]] bool is_empty() const noexcept;

    /// Narrows each view by the others. Every operation ends with it.
    void tighten() noexcept;

    friend bool operator==(const Scalar&, const Scalar&) = default;

private:
    bool tighten_once() noexcept;
};

// Operands of what follows must not be empty: a path on which one is empty is not walked.

/// The result of `a op b`, on 64 bits, or on the low 32 with zeros above.
/// Division by zero gives 0, the rest is `a`; shifts count modulo the width (RFC 9669).
Scalar apply(Alu op, bool is_64, const Scalar& a, const Scalar& b) noexcept;
Scalar negate(bool is_64, const Scalar& a) noexcept;
/// The low 32 bits, zeros above.
Scalar low_word(const Scalar& a) noexcept;
/// The low `bits` (8, 16, 32) extended by their sign, to 64 bits or to 32 with zeros above.
Scalar sign_extend(const Scalar& a, unsigned bits, bool is_64) noexcept;
/// The low `bits` (16, 32, 64), zeros above; `swapped`: in opposite order of bytes.
Scalar byte_swap(const Scalar& a, unsigned bits, bool swapped) noexcept;

/// Whether `a compare b` holds, on 64 bits or on the low 32.
Branch decide(Compare compare, bool is_64, const Scalar& a, const Scalar& b) noexcept;
/// Narrows both by knowing that `a compare b` holds (or does not). False: it cannot.
bool assume(Compare compare, bool is_64, bool holds, Scalar& a, Scalar& b) noexcept;

}  // namespace taskwork::bpf::verifier
