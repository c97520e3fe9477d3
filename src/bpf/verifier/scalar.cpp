// SPDX-License-Identifier: Apache-2.0
#include "bpf/verifier/scalar.hpp"

#include <algorithm>

#include "bpf/verifier/views.hpp"

namespace taskwork::bpf::verifier {

namespace {

// ---- Between the views of one width -------------------------------------------------------------

template <class U>
void narrow_by_bits(Tnum bits, Range<U>& u, Range<std::make_signed_t<U>>& s) noexcept {
    using S = std::make_signed_t<U>;
    constexpr U kSign = U{1} << (sizeof(U) * 8 - 1);
    const auto value = static_cast<U>(bits.value);
    const auto mask = static_cast<U>(bits.mask);
    u = intersect(u, {value, static_cast<U>(value | mask)});
    s = intersect(s, {static_cast<S>(value | (mask & kSign)),
                      static_cast<S>(value | static_cast<U>(mask & ~kSign))});
}

/// Neither is empty.
template <class U>
void narrow_by_sign(Range<U>& u, Range<std::make_signed_t<U>>& s) noexcept {
    using S = std::make_signed_t<U>;
    // An interval of one view that does not cross the seam of the other is one there too.
    if (static_cast<S>(u.min) <= static_cast<S>(u.max)) {
        s = intersect(s, {static_cast<S>(u.min), static_cast<S>(u.max)});
    }
    if (s.is_empty()) {
        return;
    }
    if (static_cast<U>(s.min) <= static_cast<U>(s.max)) {
        u = intersect(u, {static_cast<U>(s.min), static_cast<U>(s.max)});
        return;
    }
    // s crosses zero: [0, s.max] and [s.min, -1]; perhaps u leaves one of them only.
    if (u.min > static_cast<U>(s.max)) {
        u.min = std::max(u.min, static_cast<U>(s.min));
        s.max = -1;
    } else if (u.max < static_cast<U>(s.min)) {
        u.max = std::min(u.max, static_cast<U>(s.max));
        s.min = 0;
    }
}

// ---- Between the widths -------------------------------------------------------------------------

/// What the low words of min, min + 1, ... max are, if these are fewer than 2^32.
void narrow_low_word(std::uint64_t min, std::uint64_t max, Scalar& of) noexcept {
    if (max - min > kLow) {
        return;
    }
    const auto low_min = static_cast<std::uint32_t>(min);
    const auto low_max = static_cast<std::uint32_t>(max);
    if (low_min <= low_max) {
        of.u32 = intersect(of.u32, {low_min, low_max});
    }
    const auto signed_min = static_cast<std::int32_t>(low_min);
    const auto signed_max = static_cast<std::int32_t>(low_max);
    if (signed_min <= signed_max) {
        of.s32 = intersect(of.s32, {signed_min, signed_max});
    }
}

/// The least number from `min` on whose low word is in `low`. False: there is none.
template <class T>
bool raise_to_low_word(T& min, Range<std::uint32_t> low) noexcept {
    const auto word = static_cast<std::uint32_t>(min);
    T high = min - static_cast<T>(word);
    if (word < low.min) {
        min = high + static_cast<T>(low.min);
    } else if (word > low.max) {
        if (__builtin_add_overflow(high, static_cast<T>(std::uint64_t{1} << 32), &high)) {
            return false;
        }
        min = high + static_cast<T>(low.min);
    }
    return true;
}
/// The greatest up to `max`.
template <class T>
bool lower_to_low_word(T& max, Range<std::uint32_t> low) noexcept {
    const auto word = static_cast<std::uint32_t>(max);
    T high = max - static_cast<T>(word);
    if (word > low.max) {
        max = high + static_cast<T>(low.max);
    } else if (word < low.min) {
        if (__builtin_sub_overflow(high, static_cast<T>(std::uint64_t{1} << 32), &high)) {
            return false;
        }
        max = high + static_cast<T>(low.max);
    }
    return true;
}

}  // namespace

// ---- Scalar -------------------------------------------------------------------------------------

Scalar Scalar::constant(std::uint64_t word) noexcept {
    return {Tnum::constant(word),
            {word, word},
            {static_cast<std::int64_t>(word), static_cast<std::int64_t>(word)},
            {static_cast<std::uint32_t>(word), static_cast<std::uint32_t>(word)},
            {static_cast<std::int32_t>(word), static_cast<std::int32_t>(word)}};
}

Scalar Scalar::between(std::uint64_t min, std::uint64_t max) noexcept {
    Scalar result;
    result.u64 = {min, max};
    result.tighten();
    return result;
}

Scalar Scalar::signed_between(std::int64_t min, std::int64_t max) noexcept {
    Scalar result;
    result.s64 = {min, max};
    result.tighten();
    return result;
}

Scalar Scalar::loaded(unsigned bytes, bool sign_extended) noexcept {
    if (bytes == 8) {
        return unknown();
    }
    return sign_extended ? sign_extend(unknown(), bytes * 8, true)
                         : between(0, (std::uint64_t{1} << (bytes * 8)) - 1);
}

bool Scalar::contains(std::uint64_t word) const noexcept {
    return bits.contains(word) && u64.contains(word) &&
           s64.contains(static_cast<std::int64_t>(word)) &&
           u32.contains(static_cast<std::uint32_t>(word)) &&
           s32.contains(static_cast<std::int32_t>(word));
}

bool Scalar::contains(const Scalar& other) const noexcept {
    return bits.contains(other.bits) && u64.contains(other.u64) && s64.contains(other.s64) &&
           u32.contains(other.u32) && s32.contains(other.s32);
}

bool Scalar::is_empty() const noexcept {
    return u64.is_empty() || s64.is_empty() || u32.is_empty() || s32.is_empty();
}

/// True: something was narrowed, and another time may narrow more.
bool Scalar::tighten_once() noexcept {
    const Scalar before = *this;
    narrow_by_bits(bits, u64, s64);
    narrow_by_bits(bits, u32, s32);
    if (is_empty()) {
        return false;
    }
    narrow_by_sign(u64, s64);
    narrow_by_sign(u32, s32);
    if (is_empty()) {
        return false;
    }
    narrow_low_word(u64.min, u64.max, *this);
    narrow_low_word(static_cast<std::uint64_t>(s64.min), static_cast<std::uint64_t>(s64.max),
                    *this);
    if (is_empty()) {
        return false;
    }
    if (!raise_to_low_word(u64.min, u32) || !lower_to_low_word(u64.max, u32) ||
        !raise_to_low_word(s64.min, u32) || !lower_to_low_word(s64.max, u32)) {
        u64 = {1, 0};
    }
    if (is_empty()) {
        return false;
    }
    const Tnum whole = Tnum::range(u64.min, u64.max);
    Tnum low = Tnum::range(u32.min, u32.max);
    low.mask |= ~kLow;
    if (!overlap(bits, whole) || !overlap(verifier::intersect(bits, whole), low)) {
        u64 = {1, 0};
        return false;
    }
    bits = verifier::intersect(verifier::intersect(bits, whole), low);
    return !(*this == before);
}

void Scalar::tighten() noexcept {
    // It is a fixed point after two or three times; a bound, for a fourth gains little.
    for (unsigned i = 0; i < 4 && tighten_once(); ++i) {
    }
}

}  // namespace taskwork::bpf::verifier
