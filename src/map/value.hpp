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

inline constexpr std::size_t kSlotBytes = sizeof(defer::Slot);
inline constexpr std::size_t kSpinLockBytes = 4;

/// `bytes` rounded up to a multiple of 8.
/// Context: any.
constexpr std::size_t round_up_8(std::size_t bytes) noexcept {
    return (bytes + 7) & ~std::size_t{7};
}

/// Copies `bytes` bytes; either side may be memory that others touch meanwhile. No alignment asked.
/// Context: any.
void copy_bytes(void* to, const void* from, std::size_t bytes) noexcept;
/// Context: any.
void zero_bytes(void* to, std::size_t bytes) noexcept;
/// Whether the two keys are equal; `stored` is 8-aligned.
/// Context: any.
bool keys_equal(const void* stored, const void* key, std::size_t bytes) noexcept;
/// A hash of a key; equal keys of equal size and seed have equal hashes.
/// Context: any.
std::uint32_t hash_key(const void* key, std::size_t bytes, std::uint64_t seed) noexcept;

/// Copies a program's or user's value into an element, special fields excepted.
/// Context: any.
void copy_value_in(const Map& map, void* value, const void* from) noexcept;

/// Takes the value's bpf_spin_lock for a copy of BPF_F_LOCK. Errors: no_such_process (the calling
/// thread is no task of the domain), device_or_resource_busy (SpinLocks::lock() has given up).
/// Context: any. Bounded.
std::errc lock_value(const Map& map, void* value) noexcept;
/// Context: any. By who has locked it.
void unlock_value(const Map& map, void* value) noexcept;

/// Index of the calling process, the owner in the words that it moves; false if the calling thread
/// is no task of the domain.
/// Context: any.
bool current_owner(std::uint16_t* owner) noexcept;

}  // namespace taskwork::map
