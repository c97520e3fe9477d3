// SPDX-License-Identifier: Apache-2.0
//
// Keys and values as bytes: how they are copied, compared and locked. A value may be read and
// written by other threads while it is copied (as in the kernel, a copy is not atomic), so memory
// of maps is touched by relaxed atomic accesses of up to a word, never by memcpy: the language, the
// sanitizers and a handler that interrupts a copy all agree on what that means.
//
// Special fields (the task-work slot, the lock) are never copied: not into a value, and a
// user's copy of a value holds zeros in their place (K84, K85).
#pragma once

#include <cstddef>
#include <cstdint>

#include "map/map.hpp"

namespace taskwork::map {

/// `bytes` rounded up to a multiple of 8.
/// Context: any.
constexpr std::size_t round_up_8(std::size_t bytes) noexcept {
    return (bytes + 7) & ~std::size_t{7};
}

namespace detail {

// Of any size, out of line.
void copy_bytes(void* to, const void* from, std::size_t bytes) noexcept;
bool keys_equal(const void* stored, const void* key, std::size_t bytes) noexcept;
std::uint32_t hash_key(const void* key, std::size_t bytes, std::uint64_t seed) noexcept;

/// One word is the common case.
constexpr std::size_t kWordBytes = sizeof(std::uint64_t);
inline bool is_word(const void* at, std::size_t bytes) noexcept {
    return bytes == kWordBytes && reinterpret_cast<std::uintptr_t>(at) % kWordBytes == 0;
}
inline std::uint64_t load_word(const void* at) noexcept {
    return static_cast<const platform::Atomic<std::uint64_t>*>(at)->load(std::memory_order_relaxed);
}

// Multiply by an odd constant and fold: every input bit reaches every bit of the result.
inline constexpr std::uint64_t kOdd = 0x9e3779b97f4a7c15ULL;
constexpr std::uint64_t begin_hash(std::size_t bytes, std::uint64_t seed) noexcept {
    return seed ^ (bytes * kOdd);
}
constexpr std::uint64_t mix_hash(std::uint64_t state, std::uint64_t word) noexcept {
    const std::uint64_t mixed = (state ^ word) * kOdd;
    return mixed ^ (mixed >> 29);
}
constexpr std::uint32_t end_hash(std::uint64_t state) noexcept {
    state *= kOdd;
    return static_cast<std::uint32_t>(state ^ (state >> 32));
}

}  // namespace detail

/// Copies `bytes` bytes; either side may be memory that others touch meanwhile. No alignment asked.
/// Context: any.
inline void copy_bytes(void* to, const void* from, std::size_t bytes) noexcept {
    if (detail::is_word(to, bytes) && detail::is_word(from, bytes)) {
        static_cast<platform::Atomic<std::uint64_t>*>(to)->store(detail::load_word(from),
                                                                 std::memory_order_relaxed);
    } else {
        detail::copy_bytes(to, from, bytes);
    }
}
/// Context: any.
void zero_bytes(void* to, std::size_t bytes) noexcept;
/// Whether the two keys are equal; `stored` is 8-aligned.
/// Context: any.
inline bool keys_equal(const void* stored, const void* key, std::size_t bytes) noexcept {
    return detail::is_word(key, bytes) ? detail::load_word(stored) == detail::load_word(key)
                                       : detail::keys_equal(stored, key, bytes);
}
/// A hash of a key; equal keys of equal size and seed have equal hashes.
/// Context: any.
inline std::uint32_t hash_key(const void* key, std::size_t bytes, std::uint64_t seed) noexcept {
    using namespace detail;
    return is_word(key, bytes) ? end_hash(mix_hash(begin_hash(kWordBytes, seed), load_word(key)))
                               : detail::hash_key(key, bytes, seed);
}

/// Copies a program's or user's value into an element, special fields excepted.
/// Context: any.
void copy_value_in(const Map& map, void* value, const void* from) noexcept;

/// Takes the value's bpf_spin_lock for a copy of BPF_F_LOCK. Errors: no_such_process (the calling
/// thread is no task of the domain), device_or_resource_busy (SpinLocks::lock() has given up).
/// Context: any. Bounded.
std::errc lock_value(const Map& map, void* value) noexcept;
/// Context: any. By who has locked it.
void unlock_value(const Map& map, void* value) noexcept;

/// The calling thread, as who claims elements; false if it is no task of the domain.
/// Context: any.
bool current_claimant(sync::Claimant* by) noexcept;

}  // namespace taskwork::map
