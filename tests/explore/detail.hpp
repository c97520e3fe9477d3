// SPDX-License-Identifier: Apache-2.0
//
// Small things that the machine's files share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tests/explore/steps.hpp"

namespace explore {

/// Of the arena: what a snapshot copies at a time.
inline constexpr std::size_t kLine = 64;
/// Places of each Thing.
inline constexpr unsigned kThings = 8;

constexpr std::uint64_t mix(std::uint64_t x) {
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93ULL;
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93ULL;
    x ^= x >> 32;
    return x;
}

constexpr std::uint64_t hash2(std::uint64_t a, std::uint64_t b) {
    return mix(a * 0x9e3779b97f4a7c15ULL + mix(b + 0x632be59bd9b4e019ULL));
}

constexpr std::uint32_t bit(unsigned index) { return 1U << index; }

constexpr bool is_memory(Kind kind) { return kind >= Kind::load && kind <= Kind::plain_store; }
constexpr bool is_plain(Kind kind) { return kind == Kind::plain_load || kind == Kind::plain_store; }

inline std::uint64_t read_raw(const void* address, unsigned size) {
    std::uint64_t value = 0;
    std::memcpy(&value, address, size);
    return value;
}

inline void write_raw(void* address, unsigned size, std::uint64_t value) {
    std::memcpy(address, &value, size);
}

constexpr std::uint64_t mask_of(unsigned size) {
    return size >= 8 ? ~std::uint64_t{0} : (std::uint64_t{1} << (8 * size)) - 1;
}

/// What an update leaves in memory.
constexpr std::uint64_t updated(Kind kind, std::uint64_t old, std::uint64_t operand,
                                std::uint64_t expected) {
    switch (kind) {
    case Kind::exchange_part:
        return (old & ~expected) | operand;
    case Kind::add:
        return old + operand;
    case Kind::sub:
        return old - operand;
    case Kind::bit_or:
        return old | operand;
    case Kind::bit_and:
        return old & operand;
    default:
        return operand;
    }
}

}  // namespace explore
