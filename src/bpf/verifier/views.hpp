// SPDX-License-Identifier: Apache-2.0
//
// A Scalar through one width: what arithmetic and comparisons are written on, once for 64 and once
// for 32 bits. Of this folder only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "bpf/verifier/scalar.hpp"

namespace taskwork::bpf::verifier {

inline constexpr std::uint64_t kLow = UINT32_MAX;

template <class T>
constexpr Range<T> everything() noexcept {
    return {std::numeric_limits<T>::min(), std::numeric_limits<T>::max()};
}
template <class T>
constexpr Range<T> intersect(Range<T> a, Range<T> b) noexcept {
    return {std::max(a.min, b.min), std::min(a.max, b.max)};
}
/// The unsigned and the signed view of one width.
template <class U>
struct Views {
    using S = std::make_signed_t<U>;
    Tnum bits;
    Range<U> u;
    Range<S> s;
};

template <class U>
Views<U> views(const Scalar& a) noexcept {
    if constexpr (sizeof(U) == 8) {
        return {a.bits, a.u64, a.s64};
    } else {
        return {a.bits.low_word(), a.u32, a.s32};
    }
}
template <class U>
[[nodiscard]] bool is_constant(const Views<U>& a) noexcept {
    return a.bits.is_constant();
}

/// A Scalar of what is known of the low bits; of 32: zeros above.
template <class U>
Scalar from(const Views<U>& a) noexcept {
    Scalar result;
    if constexpr (sizeof(U) == 8) {
        result.bits = a.bits;
        result.u64 = a.u;
        result.s64 = a.s;
    } else {
        result.bits = a.bits.low_word();
        result.u32 = a.u;
        result.s32 = a.s;
        result.u64 = {0, kLow};
        result.s64 = {0, static_cast<std::int64_t>(kLow)};
    }
    result.tighten();
    return result;
}
template <class U>
Views<U> unknown_views() noexcept {
    return {sizeof(U) == 8 ? Tnum::unknown() : Tnum::unknown().low_word(), everything<U>(),
            everything<std::make_signed_t<U>>()};
}

}  // namespace taskwork::bpf::verifier
