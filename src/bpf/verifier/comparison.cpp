// SPDX-License-Identifier: Apache-2.0
//
// Branches on Scalars: whether they are taken, and what is known on either side.
#include <algorithm>
#include <limits>
#include <type_traits>

#include "bpf/verifier/views.hpp"

namespace taskwork::bpf::verifier {

namespace {

Compare inverse(Compare compare) noexcept {
    switch (compare) {
    case Compare::eq:
        return Compare::ne;
    case Compare::ne:
        return Compare::eq;
    case Compare::gt:
        return Compare::le;
    case Compare::ge:
        return Compare::lt;
    case Compare::lt:
        return Compare::ge;
    case Compare::le:
        return Compare::gt;
    case Compare::sgt:
        return Compare::sle;
    case Compare::sge:
        return Compare::slt;
    case Compare::slt:
        return Compare::sge;
    case Compare::sle:
        return Compare::sgt;
    case Compare::set:
        break;  // Has none among them.
    }
    return compare;
}

template <class T>
Branch is_less(Range<T> a, Range<T> b) noexcept {
    return a.max < b.min ? Branch::always : a.min >= b.max ? Branch::never : Branch::either;
}
template <class T>
Branch is_less_or_equal(Range<T> a, Range<T> b) noexcept {
    return a.max <= b.min ? Branch::always : a.min > b.max ? Branch::never : Branch::either;
}
Branch opposite(Branch branch) noexcept {
    return branch == Branch::always  ? Branch::never
           : branch == Branch::never ? Branch::always
                                     : Branch::either;
}

template <class U>
Branch is_equal(const Views<U>& a, const Views<U>& b) noexcept {
    if (is_constant(a) && is_constant(b) && a.bits == b.bits) {
        return Branch::always;
    }
    const bool apart = !overlap(a.bits, b.bits) || intersect(a.u, b.u).is_empty() ||
                       intersect(a.s, b.s).is_empty();
    return apart ? Branch::never : Branch::either;
}

template <class U>
Branch decide_on(Compare compare, const Views<U>& a, const Views<U>& b) noexcept {
    switch (compare) {
    case Compare::eq:
        return is_equal(a, b);
    case Compare::ne:
        return opposite(is_equal(a, b));
    case Compare::gt:
        return is_less(b.u, a.u);
    case Compare::ge:
        return is_less_or_equal(b.u, a.u);
    case Compare::lt:
        return is_less(a.u, b.u);
    case Compare::le:
        return is_less_or_equal(a.u, b.u);
    case Compare::sgt:
        return is_less(b.s, a.s);
    case Compare::sge:
        return is_less_or_equal(b.s, a.s);
    case Compare::slt:
        return is_less(a.s, b.s);
    case Compare::sle:
        return is_less_or_equal(a.s, b.s);
    case Compare::set:
        if ((a.bits.value & b.bits.value) != 0) {
            return Branch::always;
        }
        return (a.bits.max() & b.bits.max()) == 0 ? Branch::never : Branch::either;
    }
    return Branch::either;
}

/// Narrows by a < b, or a <= b.
template <class T>
void order(Range<T>& a, Range<T>& b, bool strictly) noexcept {
    constexpr Range<T> kNone = {1, 0};
    if (strictly &&
        (b.max == std::numeric_limits<T>::min() || a.min == std::numeric_limits<T>::max())) {
        a = kNone;
        return;
    }
    const T most = strictly ? static_cast<T>(b.max - 1) : b.max;
    const T least = strictly ? static_cast<T>(a.min + 1) : a.min;
    a.max = std::min(a.max, most);
    b.min = std::max(b.min, least);
}

/// Narrows by not being `word`: an end that it is moves by one.
template <class T>
void exclude(Range<T>& a, T word) noexcept {
    if (a.min == word && a.max == word) {
        a = {1, 0};
    } else if (a.min == word) {
        ++a.min;
    } else if (a.max == word) {
        --a.max;
    }
}

template <class U>
Range<U>& unsigned_of(Scalar& a) noexcept {
    if constexpr (sizeof(U) == 8) {
        return a.u64;
    } else {
        return a.u32;
    }
}
template <class U>
Range<std::make_signed_t<U>>& signed_of(Scalar& a) noexcept {
    if constexpr (sizeof(U) == 8) {
        return a.s64;
    } else {
        return a.s32;
    }
}

/// The bits of the width become those; contradictions make it empty.
template <class U>
void narrow_bits(Scalar& a, Tnum by) noexcept {
    if constexpr (sizeof(U) == 4) {
        by = {by.value & kLow, by.mask | ~kLow};
    }
    if (overlap(a.bits, by)) {
        a.bits = intersect(a.bits, by);
    } else {
        a.u64 = {1, 0};
    }
}

template <class U>
void assume_equal(Scalar& a, Scalar& b) noexcept {
    const Tnum of_a = views<U>(a).bits;
    const Tnum of_b = views<U>(b).bits;
    unsigned_of<U>(a) = unsigned_of<U>(b) = intersect(unsigned_of<U>(a), unsigned_of<U>(b));
    signed_of<U>(a) = signed_of<U>(b) = intersect(signed_of<U>(a), signed_of<U>(b));
    narrow_bits<U>(a, of_b);
    narrow_bits<U>(b, of_a);
}
template <class U>
void assume_not_equal(Scalar& a, const Scalar& b) noexcept {
    const Tnum bits = views<U>(b).bits;
    if (bits.is_constant()) {
        exclude<U>(unsigned_of<U>(a), static_cast<U>(bits.value));
        exclude<std::make_signed_t<U>>(signed_of<U>(a),
                                       static_cast<std::make_signed_t<U>>(bits.value));
    }
}
/// By a & b != 0 (holds), or == 0.
template <class U>
void assume_set(bool holds, Scalar& a, const Scalar& b) noexcept {
    const Tnum bits = views<U>(b).bits;
    if (!bits.is_constant()) {
        return;
    }
    const std::uint64_t word = bits.value;
    if (!holds) {
        narrow_bits<U>(a, {0, ~word});
    } else if (word != 0 && (word & (word - 1)) == 0) {
        narrow_bits<U>(a, {word, ~word});
    }
}

template <class U>
void assume_on(Compare compare, Scalar& a, Scalar& b) noexcept {
    switch (compare) {
    case Compare::eq:
        assume_equal<U>(a, b);
        break;
    case Compare::ne: {
        const Scalar before = a;
        assume_not_equal<U>(a, b);
        assume_not_equal<U>(b, before);
        break;
    }
    case Compare::lt:
    case Compare::le:
        order(unsigned_of<U>(a), unsigned_of<U>(b), compare == Compare::lt);
        break;
    case Compare::gt:
    case Compare::ge:
        order(unsigned_of<U>(b), unsigned_of<U>(a), compare == Compare::gt);
        break;
    case Compare::slt:
    case Compare::sle:
        order(signed_of<U>(a), signed_of<U>(b), compare == Compare::slt);
        break;
    case Compare::sgt:
    case Compare::sge:
        order(signed_of<U>(b), signed_of<U>(a), compare == Compare::sgt);
        break;
    case Compare::set:
        break;
    }
}

}  // namespace

Branch decide(Compare compare, bool is_64, const Scalar& a, const Scalar& b) noexcept {
    return is_64 ? decide_on(compare, views<std::uint64_t>(a), views<std::uint64_t>(b))
                 : decide_on(compare, views<std::uint32_t>(a), views<std::uint32_t>(b));
}

bool assume(Compare compare, bool is_64, bool holds, Scalar& a, Scalar& b) noexcept {
    const Branch decided = decide(compare, is_64, a, b);
    if (decided == (holds ? Branch::never : Branch::always)) {
        return false;
    }
    if (compare == Compare::set) {
        const Scalar before = a;
        if (is_64) {
            assume_set<std::uint64_t>(holds, a, b);
            assume_set<std::uint64_t>(holds, b, before);
        } else {
            assume_set<std::uint32_t>(holds, a, b);
            assume_set<std::uint32_t>(holds, b, before);
        }
    } else {
        const Compare known = holds ? compare : inverse(compare);
        if (is_64) {
            assume_on<std::uint64_t>(known, a, b);
        } else {
            assume_on<std::uint32_t>(known, a, b);
        }
    }
    a.tighten();
    b.tighten();
    return !a.is_empty() && !b.is_empty();
}

}  // namespace taskwork::bpf::verifier
