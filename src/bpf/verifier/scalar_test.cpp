// SPDX-License-Identifier: Apache-2.0
//
// Soundness first: whatever numbers an operation is given from two Scalars, its result is in the
// Scalar that the operation on them gives; by random, and in all combinations of intervals between
// the corners. Then precision, where programs need it.
#include "bpf/verifier/scalar.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace taskwork::bpf::verifier {
namespace {

constexpr Alu kAlus[] = {Alu::add,  Alu::sub,  Alu::mul,    Alu::div,     Alu::mod,
                         Alu::sdiv, Alu::smod, Alu::bit_or, Alu::bit_and, Alu::bit_xor,
                         Alu::lsh,  Alu::rsh,  Alu::arsh,   Alu::mov};
constexpr Compare kCompares[] = {Compare::eq,  Compare::ne,  Compare::gt,  Compare::ge,
                                 Compare::lt,  Compare::le,  Compare::sgt, Compare::sge,
                                 Compare::slt, Compare::sle, Compare::set};

/// RFC 9669, said another way than the subject does.
std::uint64_t compute(Alu op, bool is_64, std::uint64_t a, std::uint64_t b) {
    const unsigned width = is_64 ? 64 : 32;
    const std::uint64_t kept = is_64 ? ~std::uint64_t{0} : UINT32_MAX;
    a &= kept;
    b &= kept;
    const auto as_signed = [is_64](std::uint64_t word) -> __int128 {
        return is_64 ? static_cast<__int128>(static_cast<std::int64_t>(word))
                     : static_cast<__int128>(static_cast<std::int32_t>(word));
    };
    __int128 result = 0;
    switch (op) {
    case Alu::add:
        result = static_cast<__int128>(a) + b;
        break;
    case Alu::sub:
        result = static_cast<__int128>(a) - b;
        break;
    case Alu::mul:
        result = static_cast<__int128>(static_cast<unsigned __int128>(a) * b);
        break;
    case Alu::div:
        result = b == 0 ? 0 : static_cast<__int128>(a / b);
        break;
    case Alu::mod:
        result = b == 0 ? static_cast<__int128>(a) : static_cast<__int128>(a % b);
        break;
    case Alu::sdiv:
        result = b == 0 ? 0 : as_signed(a) / as_signed(b);
        break;
    case Alu::smod:
        result = b == 0 ? as_signed(a) : as_signed(a) % as_signed(b);
        break;
    case Alu::bit_or:
        result = static_cast<__int128>(a | b);
        break;
    case Alu::bit_and:
        result = static_cast<__int128>(a & b);
        break;
    case Alu::bit_xor:
        result = static_cast<__int128>(a ^ b);
        break;
    case Alu::lsh:
        result = static_cast<__int128>(a) << (b % width);
        break;
    case Alu::rsh:
        result = static_cast<__int128>(a >> (b % width));
        break;
    case Alu::arsh:
        result = as_signed(a) >> (b % width);
        break;
    case Alu::mov:
        result = static_cast<__int128>(b);
        break;
    }
    return static_cast<std::uint64_t>(result) & kept;
}

bool holds(Compare compare, bool is_64, std::uint64_t a, std::uint64_t b) {
    const auto u = [is_64](std::uint64_t word) { return is_64 ? word : word & UINT32_MAX; };
    const auto s = [is_64](std::uint64_t word) {
        return is_64 ? static_cast<std::int64_t>(word)
                     : std::int64_t{static_cast<std::int32_t>(word)};
    };
    switch (compare) {
    case Compare::eq:
        return u(a) == u(b);
    case Compare::ne:
        return u(a) != u(b);
    case Compare::gt:
        return u(a) > u(b);
    case Compare::ge:
        return u(a) >= u(b);
    case Compare::lt:
        return u(a) < u(b);
    case Compare::le:
        return u(a) <= u(b);
    case Compare::sgt:
        return s(a) > s(b);
    case Compare::sge:
        return s(a) >= s(b);
    case Compare::slt:
        return s(a) < s(b);
    case Compare::sle:
        return s(a) <= s(b);
    case Compare::set:
        return (u(a) & u(b)) != 0;
    }
    return false;
}

std::string print(const Scalar& a) {
    const auto range = [](const auto& r) {
        return "[" + std::to_string(r.min) + ", " + std::to_string(r.max) + "] ";
    };
    char bits[64];
    std::snprintf(bits, sizeof bits, "(%#lx; %#lx) ", a.bits.value, a.bits.mask);
    return bits + range(a.u64) + range(a.s64) + range(a.u32) + range(a.s32);
}

/// Numbers at which something changes.
const std::vector<std::uint64_t>& corners() {
    static const std::vector<std::uint64_t> all = [] {
        std::vector<std::uint64_t> words;
        for (const std::uint64_t base :
             {std::uint64_t{0}, std::uint64_t{1} << 31, std::uint64_t{1} << 32,
              std::uint64_t{1} << 63, std::uint64_t{7}, ~std::uint64_t{0} << 32}) {
            for (const std::uint64_t delta :
                 {~std::uint64_t{0}, std::uint64_t{0}, std::uint64_t{1}}) {
                words.push_back(base + delta);
            }
        }
        return words;
    }();
    return all;
}

class Soundness : public testing::Test {
protected:
    std::uint64_t word() {
        switch (random_() % 4) {
        case 0:
            return corners()[random_() % corners().size()];
        case 1:
            return random_() % 70;
        case 2:
            return 0 - random_() % 70;
        default:
            return random_() >> (random_() % 64);
        }
    }
    /// A Scalar that holds `witness`, with something known in some of the views.
    Scalar around(std::uint64_t witness) {
        Scalar a;
        if (random_() % 2 == 0) {
            const std::uint64_t mask = random_() & random_() << (random_() % 64);
            a.bits = {witness & ~mask, mask};
        }
        const auto interval = [this](auto& range, auto inside) {
            using T = decltype(inside);
            if (random_() % 2 != 0) {
                return;
            }
            const auto less = static_cast<T>(word());
            const auto more = static_cast<T>(word());
            range = {std::min(less, inside), std::max(more, inside)};
        };
        interval(a.u64, witness);
        interval(a.s64, static_cast<std::int64_t>(witness));
        interval(a.u32, static_cast<std::uint32_t>(witness));
        interval(a.s32, static_cast<std::int32_t>(witness));
        const Scalar before = a;
        a.tighten();
        EXPECT_TRUE(a.contains(witness)) << print(before) << "became " << print(a) << witness;
        EXPECT_TRUE(before.contains(a));
        return a;
    }
    /// Another number of it, near what it knows.
    std::uint64_t member(const Scalar& a, std::uint64_t otherwise) {
        for (const std::uint64_t candidate :
             {a.u64.min, a.u64.max, static_cast<std::uint64_t>(a.s64.min),
              static_cast<std::uint64_t>(a.s64.max), a.bits.value | (random_() & a.bits.mask)}) {
            if (random_() % 2 == 0 && a.contains(candidate)) {
                return candidate;
            }
        }
        return otherwise;
    }
    std::mt19937_64 random_{20};
};

TEST_F(Soundness, of_arithmetic_on_random_numbers) {
    for (unsigned i = 0; i < 400'000 && !HasFailure(); ++i) {
        std::uint64_t x = word();
        std::uint64_t y = word();
        const Scalar a = around(x);
        const Scalar b = around(y);
        x = member(a, x);
        y = member(b, y);
        for (const Alu op : kAlus) {
            for (const bool is_64 : {false, true}) {
                const Scalar result = apply(op, is_64, a, b);
                ASSERT_TRUE(result.contains(compute(op, is_64, x, y)))
                    << "operation " << static_cast<int>(op) << (is_64 ? " of 64" : " of 32")
                    << " bits\n"
                    << print(a) << x << "\n"
                    << print(b) << y << "\n"
                    << print(result);
            }
        }
    }
}

TEST_F(Soundness, of_arithmetic_on_intervals_between_corners) {
    const std::vector<std::uint64_t>& ends = corners();
    std::uint64_t checked = 0;
    for (const std::uint64_t a_min : ends) {
        for (const std::uint64_t a_max : ends) {
            for (const bool is_signed : {false, true}) {
                const auto make = [is_signed](std::uint64_t min, std::uint64_t max) {
                    return is_signed ? Scalar::signed_between(static_cast<std::int64_t>(min),
                                                              static_cast<std::int64_t>(max))
                                     : Scalar::between(min, max);
                };
                const Scalar a = make(a_min, a_max);
                for (const std::uint64_t b_min : ends) {
                    const std::uint64_t b_max = b_min + random_() % 3;
                    const Scalar b = make(b_min, b_max);
                    if (a.is_empty() || b.is_empty()) {
                        continue;
                    }
                    for (const Alu op : kAlus) {
                        for (const bool is_64 : {false, true}) {
                            const Scalar result = apply(op, is_64, a, b);
                            for (const std::uint64_t x :
                                 {a_min, a_max, ends[random_() % ends.size()]}) {
                                for (const std::uint64_t y : {b_min, b_max}) {
                                    if (!a.contains(x) || !b.contains(y)) {
                                        continue;
                                    }
                                    ++checked;
                                    ASSERT_TRUE(result.contains(compute(op, is_64, x, y)))
                                        << "operation " << static_cast<int>(op)
                                        << (is_64 ? " of 64" : " of 32") << " bits\n"
                                        << print(a) << x << "\n"
                                        << print(b) << y << "\n"
                                        << print(result);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    EXPECT_GT(checked, 100'000U);
}

TEST_F(Soundness, of_extensions_swaps_and_negations) {
    for (unsigned i = 0; i < 400'000 && !HasFailure(); ++i) {
        std::uint64_t x = word();
        const Scalar a = around(x);
        x = member(a, x);
        ASSERT_TRUE(low_word(a).contains(x & UINT32_MAX)) << print(a) << x;
        for (const bool is_64 : {false, true}) {
            ASSERT_TRUE(negate(is_64, a).contains(compute(Alu::sub, is_64, 0, x)));
            for (const unsigned bits : {8U, 16U, 32U}) {
                std::uint64_t extended = static_cast<std::uint64_t>(
                    static_cast<std::int64_t>(x << (64 - bits)) >> (64 - bits));
                extended &= is_64 ? ~std::uint64_t{0} : UINT32_MAX;
                ASSERT_TRUE(sign_extend(a, bits, is_64).contains(extended))
                    << print(a) << x << " from " << bits << "\n"
                    << print(sign_extend(a, bits, is_64));
            }
        }
        for (const unsigned bits : {16U, 32U, 64U}) {
            const std::uint64_t kept =
                bits == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1;
            ASSERT_TRUE(byte_swap(a, bits, false).contains(x & kept));
            std::uint64_t swapped = 0;
            for (unsigned at = 0; at < bits; at += 8) {
                swapped |= (x >> at & 0xff) << (bits - 8 - at);
            }
            ASSERT_TRUE(byte_swap(a, bits, true).contains(swapped));
        }
    }
}

TEST_F(Soundness, of_comparisons) {
    for (unsigned i = 0; i < 400'000 && !HasFailure(); ++i) {
        std::uint64_t x = word();
        std::uint64_t y = random_() % 4 == 0 ? x : word();
        const Scalar a = around(x);
        const Scalar b = random_() % 3 == 0 ? Scalar::constant(y) : around(y);
        x = member(a, x);
        y = member(b, y);
        for (const Compare compare : kCompares) {
            for (const bool is_64 : {false, true}) {
                const bool is = holds(compare, is_64, x, y);
                const Branch decided = decide(compare, is_64, a, b);
                ASSERT_NE(decided, is ? Branch::never : Branch::always)
                    << "comparison " << static_cast<int>(compare) << "\n"
                    << print(a) << x << "\n"
                    << print(b) << y;
                Scalar narrowed_a = a;
                Scalar narrowed_b = b;
                ASSERT_TRUE(assume(compare, is_64, is, narrowed_a, narrowed_b));
                ASSERT_TRUE(narrowed_a.contains(x) && narrowed_b.contains(y))
                    << "comparison " << static_cast<int>(compare) << (is_64 ? " of 64" : " of 32")
                    << (is ? " holds\n" : " does not hold\n") << print(a) << x << "\n"
                    << print(b) << y << "\nbecame " << print(narrowed_a) << "\n"
                    << print(narrowed_b);
                ASSERT_TRUE(a.contains(narrowed_a) && b.contains(narrowed_b)) << "it only narrows";
            }
        }
    }
}

// ---- Precision ----------------------------------------------------------------------------------

TEST(Scalars, constants_stay_constants) {
    for (const Alu op : kAlus) {
        for (const bool is_64 : {false, true}) {
            for (const std::uint64_t x : corners()) {
                for (const std::uint64_t y : corners()) {
                    EXPECT_EQ(apply(op, is_64, Scalar::constant(x), Scalar::constant(y)),
                              Scalar::constant(compute(op, is_64, x, y)));
                }
            }
        }
    }
}

TEST(Scalars, a_checked_index_times_the_size_of_an_element_is_an_offset) {
    Scalar index = Scalar::unknown();
    Scalar bound = Scalar::constant(16);
    ASSERT_TRUE(assume(Compare::lt, true, true, index, bound));
    EXPECT_EQ(index.u64, (Range<std::uint64_t>{0, 15}));
    const Scalar offset = apply(Alu::mul, true, index, Scalar::constant(8));
    EXPECT_EQ(offset.u64, (Range<std::uint64_t>{0, 120}));
    EXPECT_EQ(offset.s64, (Range<std::int64_t>{0, 120}));
    EXPECT_TRUE(offset.bits.is_aligned(8));
    EXPECT_EQ(apply(Alu::lsh, true, index, Scalar::constant(3)).u64, offset.u64);
}

TEST(Scalars, a_mask_bounds) {
    const Scalar masked = apply(Alu::bit_and, true, Scalar::unknown(), Scalar::constant(0xff));
    EXPECT_EQ(masked.u64, (Range<std::uint64_t>{0, 255}));
    EXPECT_EQ(masked.s32, (Range<std::int32_t>{0, 255}));
}

TEST(Scalars, a_signed_check_from_both_sides_bounds_the_unsigned_view) {
    Scalar a = Scalar::unknown();
    Scalar zero = Scalar::constant(0);
    Scalar limit = Scalar::constant(100);
    ASSERT_TRUE(assume(Compare::sge, true, true, a, zero));
    ASSERT_TRUE(assume(Compare::slt, true, true, a, limit));
    EXPECT_EQ(a.u64, (Range<std::uint64_t>{0, 99}));
    EXPECT_EQ(a.u32, (Range<std::uint32_t>{0, 99}));
}

TEST(Scalars, a_check_of_the_low_word_of_a_zero_extended_number_bounds_all_of_it) {
    Scalar a = Scalar::loaded(4);
    Scalar limit = Scalar::constant(10);
    ASSERT_TRUE(assume(Compare::lt, false, true, a, limit));
    EXPECT_EQ(a.u64, (Range<std::uint64_t>{0, 9}));
}

TEST(Scalars, a_sign_extended_int_is_an_int) {
    EXPECT_EQ(Scalar::loaded(4, true).s64, (Range<std::int64_t>{INT32_MIN, INT32_MAX}));
    EXPECT_EQ(sign_extend(Scalar::unknown(), 32, true).s64,
              (Range<std::int64_t>{INT32_MIN, INT32_MAX}));
    EXPECT_EQ(Scalar::loaded(4).s64, (Range<std::int64_t>{0, UINT32_MAX}));
}

TEST(Scalars, not_zero_moves_the_end_of_an_interval) {
    Scalar a = Scalar::between(0, 9);
    Scalar zero = Scalar::constant(0);
    ASSERT_TRUE(assume(Compare::ne, true, true, a, zero));
    EXPECT_EQ(a.u64, (Range<std::uint64_t>{1, 9}));
    Scalar only = Scalar::constant(0);
    EXPECT_FALSE(assume(Compare::ne, true, true, only, zero));
}

TEST(Scalars, branches_that_cannot_be_taken_are_known) {
    const Scalar small = Scalar::between(0, 9);
    EXPECT_EQ(decide(Compare::gt, true, small, Scalar::constant(9)), Branch::never);
    EXPECT_EQ(decide(Compare::le, true, small, Scalar::constant(9)), Branch::always);
    EXPECT_EQ(decide(Compare::gt, true, small, Scalar::constant(8)), Branch::either);
    EXPECT_EQ(decide(Compare::slt, true, small, Scalar::constant(0)), Branch::never);
    EXPECT_EQ(decide(Compare::set, true, small, Scalar::constant(16)), Branch::never);
    EXPECT_EQ(decide(Compare::eq, false, small, Scalar::constant(std::uint64_t{1} << 32 | 12)),
              Branch::never);
}

TEST(Scalars, division_by_zero_is_zero_and_the_rest_is_the_dividend) {
    const Scalar a = Scalar::between(5, 9);
    EXPECT_EQ(apply(Alu::div, true, a, Scalar::constant(0)), Scalar::constant(0));
    EXPECT_EQ(apply(Alu::mod, true, a, Scalar::constant(0)).u64, a.u64);
    EXPECT_EQ(apply(Alu::mod, true, Scalar::unknown(), Scalar::constant(10)).u64,
              (Range<std::uint64_t>{0, 9}));
    EXPECT_EQ(apply(Alu::smod, true, Scalar::unknown(), Scalar::constant(10)).s64,
              (Range<std::int64_t>{-9, 9}));
}

TEST(Scalars, one_that_holds_another_holds_its_numbers) {
    EXPECT_TRUE(Scalar::unknown().contains(Scalar::between(1, 2)));
    EXPECT_FALSE(Scalar::between(1, 2).contains(Scalar::between(1, 3)));
    EXPECT_TRUE(Scalar::between(0, 255).contains(Scalar::loaded(1)));
}

}  // namespace
}  // namespace taskwork::bpf::verifier
