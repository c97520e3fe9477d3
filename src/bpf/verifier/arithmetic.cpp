// SPDX-License-Identifier: Apache-2.0
//
// Operations on Scalars.
#include <algorithm>
#include <array>
#include <limits>
#include <type_traits>

#include "bpf/verifier/views.hpp"

namespace taskwork::bpf::verifier {

namespace {

template <class U>
U evaluate(Alu op, U a, U b) noexcept {
    using S = std::make_signed_t<U>;
    constexpr U kShiftMask = sizeof(U) * 8 - 1;
    switch (op) {
    case Alu::add:
        return a + b;
    case Alu::sub:
        return a - b;
    case Alu::mul:
        return a * b;
    case Alu::div:
        return b == 0 ? 0 : a / b;
    case Alu::mod:
        return b == 0 ? a : a % b;
    case Alu::sdiv:
        // The least divided by -1 is itself: the quotient does not fit.
        return b == 0                    ? 0
               : static_cast<S>(b) == -1 ? U{0} - a
                                         : static_cast<U>(static_cast<S>(a) / static_cast<S>(b));
    case Alu::smod:
        return b == 0                    ? a
               : static_cast<S>(b) == -1 ? U{0}
                                         : static_cast<U>(static_cast<S>(a) % static_cast<S>(b));
    case Alu::bit_or:
        return a | b;
    case Alu::bit_and:
        return a & b;
    case Alu::bit_xor:
        return a ^ b;
    case Alu::lsh:
        return static_cast<U>(a << (b & kShiftMask));
    case Alu::rsh:
        return static_cast<U>(a >> (b & kShiftMask));
    case Alu::arsh:
        return static_cast<U>(static_cast<S>(a) >> (b & kShiftMask));
    case Alu::mov:
        return b;
    }
    return 0;
}

/// Ends of an interval after an operation that moves it as a whole: an interval again if both have
/// overflowed (in the same direction, as these do) or neither has.
template <class T>
Range<T> moved(T min, bool min_overflows, T max, bool max_overflows) noexcept {
    return min_overflows == max_overflows && min <= max ? Range<T>{min, max} : everything<T>();
}
template <class T>
Range<T> add(Range<T> a, Range<T> b) noexcept {
    T min;
    T max;
    const bool low = __builtin_add_overflow(a.min, b.min, &min);
    const bool high = __builtin_add_overflow(a.max, b.max, &max);
    if constexpr (std::is_signed_v<T>) {
        // Over both ends at once: all is possible.
        if (low && high && (a.min < 0) != (a.max < 0)) {
            return everything<T>();
        }
    }
    return moved(min, low, max, high);
}
template <class T>
Range<T> subtract(Range<T> a, Range<T> b) noexcept {
    T min;
    T max;
    const bool low = __builtin_sub_overflow(a.min, b.max, &min);
    const bool high = __builtin_sub_overflow(a.max, b.min, &max);
    if constexpr (std::is_signed_v<T>) {
        if (low && high && (a.min < 0) != (a.max < 0)) {
            return everything<T>();
        }
    }
    return moved(min, low, max, high);
}
template <class T>
Range<T> multiply(Range<T> a, Range<T> b) noexcept {
    std::array<T, 4> products;
    if (__builtin_mul_overflow(a.min, b.min, &products[0]) ||
        __builtin_mul_overflow(a.min, b.max, &products[1]) ||
        __builtin_mul_overflow(a.max, b.min, &products[2]) ||
        __builtin_mul_overflow(a.max, b.max, &products[3])) {
        return everything<T>();
    }
    const auto [min, max] = std::minmax_element(products.begin(), products.end());
    return {*min, *max};
}

template <class U>
Range<U> divide(Range<U> a, Range<U> b) noexcept {
    return {b.min == 0 ? U{0} : static_cast<U>(a.min / b.max),
            static_cast<U>(a.max / std::max<U>(b.min, 1))};
}
template <class U>
Range<U> remainder(Range<U> a, Range<U> b) noexcept {
    if (a.max < b.min) {
        return a;
    }
    return {0, b.min == 0 ? a.max : std::min<U>(a.max, b.max - 1)};
}

/// The divisor is one number, neither 0 nor -1.
template <class S>
Range<S> divide_signed(Range<S> a, S divisor) noexcept {
    const S one = a.min / divisor;
    const S other = a.max / divisor;
    return {std::min(one, other), std::max(one, other)};
}
template <class S>
Range<S> remainder_signed(Range<S> a, S divisor) noexcept {
    // The sign is the dividend's, the amount less than the divisor's, which may have no negative.
    const S most = divisor == std::numeric_limits<S>::min()
                       ? std::numeric_limits<S>::max()
                       : (divisor < 0 ? -divisor : divisor) - 1;
    return {a.min < 0 ? std::max<S>(a.min, -most) : S{0},
            a.max > 0 ? std::min<S>(a.max, most) : S{0}};
}

template <class U>
void shift_left(Views<U>& a, unsigned least, unsigned most) noexcept {
    using S = std::make_signed_t<U>;
    constexpr U kAll = std::numeric_limits<U>::max();
    a.u = a.u.max <= static_cast<U>(kAll >> most)
              ? Range<U>{static_cast<U>(a.u.min << least), static_cast<U>(a.u.max << most)}
              : everything<U>();
    const auto fits = [most](S end) {
        return static_cast<S>(static_cast<S>(static_cast<U>(end) << most) >> most) == end;
    };
    if (least == most && fits(a.s.min) && fits(a.s.max)) {
        a.s = {static_cast<S>(static_cast<U>(a.s.min) << most),
               static_cast<S>(static_cast<U>(a.s.max) << most)};
    } else {
        a.s = everything<S>();
    }
    a.bits = least == most ? a.bits << most : Tnum{0, ~std::uint64_t{0} << least};
}
template <class U>
void shift_right(Views<U>& a, unsigned least, unsigned most) noexcept {
    a.u = {static_cast<U>(a.u.min >> most), static_cast<U>(a.u.max >> least)};
    a.s = everything<std::make_signed_t<U>>();
    a.bits = least == most ? a.bits >> most : Tnum::unknown();
}
template <class U>
void shift_right_signed(Views<U>& a, unsigned least, unsigned most) noexcept {
    using S = std::make_signed_t<U>;
    a.s = {static_cast<S>(a.s.min >> (a.s.min < 0 ? least : most)),
           static_cast<S>(a.s.max >> (a.s.max < 0 ? most : least))};
    a.u = everything<U>();
    if (least != most) {
        a.bits = Tnum::unknown();
    } else if constexpr (sizeof(U) == 8) {
        a.bits = shift_arithmetic(a.bits, most);
    } else {
        a.bits = shift_arithmetic(a.bits << 32, most + 32);
    }
}

template <class U>
Scalar apply_on(Alu op, const Views<U>& a, const Views<U>& b) noexcept {
    using S = std::make_signed_t<U>;
    constexpr unsigned kWidth = sizeof(U) * 8;
    if (is_constant(a) && is_constant(b)) {
        return Scalar::constant(
            evaluate(op, static_cast<U>(a.bits.value), static_cast<U>(b.bits.value)));
    }
    Views<U> result = unknown_views<U>();
    const bool divides = op == Alu::div || op == Alu::mod || op == Alu::sdiv || op == Alu::smod;
    if (divides && b.u.max == 0) {
        return op == Alu::div || op == Alu::sdiv ? Scalar::constant(0) : from(a);
    }
    // Shifts count modulo the width.
    const bool counts = b.u.max < kWidth;
    const unsigned least = counts ? static_cast<unsigned>(b.u.min) : 0;
    const unsigned most = counts ? static_cast<unsigned>(b.u.max) : kWidth - 1;
    switch (op) {
    case Alu::add:
        result = {a.bits + b.bits, add(a.u, b.u), add(a.s, b.s)};
        break;
    case Alu::sub:
        result = {a.bits - b.bits, subtract(a.u, b.u), subtract(a.s, b.s)};
        break;
    case Alu::mul:
        result = {a.bits * b.bits, multiply(a.u, b.u), multiply(a.s, b.s)};
        break;
    case Alu::div:
        result.u = divide(a.u, b.u);
        break;
    case Alu::mod:
        result.u = remainder(a.u, b.u);
        break;
    case Alu::sdiv:
    case Alu::smod:
        if (const auto divisor = static_cast<S>(b.bits.value); is_constant(b) && divisor != -1) {
            result.s =
                op == Alu::sdiv ? divide_signed(a.s, divisor) : remainder_signed(a.s, divisor);
        } else if (is_constant(b) && op == Alu::smod) {
            return Scalar::constant(0);
        }
        break;
    case Alu::bit_or:
        result.bits = a.bits | b.bits;
        result.u.min = std::max(a.u.min, b.u.min);
        break;
    case Alu::bit_and:
        result.bits = a.bits & b.bits;
        result.u.max = std::min(a.u.max, b.u.max);
        break;
    case Alu::bit_xor:
        result.bits = a.bits ^ b.bits;
        break;
    case Alu::lsh:
        result = a;
        shift_left(result, least, most);
        break;
    case Alu::rsh:
        result = a;
        shift_right(result, least, most);
        break;
    case Alu::arsh:
        result = a;
        shift_right_signed(result, least, most);
        break;
    case Alu::mov:
        result = b;
        break;
    }
    return from(result);
}

}  // namespace

Scalar apply(Alu op, bool is_64, const Scalar& a, const Scalar& b) noexcept {
    if (op == Alu::mov && is_64) {
        return b;
    }
    return is_64 ? apply_on(op, views<std::uint64_t>(a), views<std::uint64_t>(b))
                 : apply_on(op, views<std::uint32_t>(a), views<std::uint32_t>(b));
}

Scalar negate(bool is_64, const Scalar& a) noexcept {
    return apply(Alu::sub, is_64, Scalar::constant(0), a);
}

Scalar low_word(const Scalar& a) noexcept { return from(views<std::uint32_t>(a)); }

Scalar sign_extend(const Scalar& a, unsigned bits, bool is_64) noexcept {
    const unsigned unused = 64 - bits;
    Scalar result;
    result.bits = shift_arithmetic(a.bits << unused, unused);
    const std::int64_t half = std::int64_t{1} << (bits - 1);
    result.s64 = {-half, half - 1};
    if (result.s64.contains(a.s64)) {
        result.s64 = a.s64;
    } else if (result.s64.contains({a.s32.min, a.s32.max})) {
        result.s64 = {a.s32.min, a.s32.max};
    }
    result.tighten();
    return is_64 ? result : low_word(result);
}

Scalar byte_swap(const Scalar& a, unsigned bits, bool swapped) noexcept {
    const auto swap = [bits](std::uint64_t word) { return __builtin_bswap64(word) >> (64 - bits); };
    Scalar result;
    const std::uint64_t kept = bits == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1;
    result.bits = {a.bits.value & kept, a.bits.mask & kept};
    if (swapped) {
        result.bits = {swap(result.bits.value), swap(result.bits.mask)};
    } else if (a.u64.max <= kept) {
        return a;
    }
    result.tighten();
    return result;
}

}  // namespace taskwork::bpf::verifier
