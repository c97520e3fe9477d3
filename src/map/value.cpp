// SPDX-License-Identifier: Apache-2.0
#include "map/value.hpp"

#include <algorithm>

#include "task/task.hpp"

namespace taskwork::map {

namespace {

template <class T>
bool aligned_for(std::uintptr_t address) noexcept {
    return address % sizeof(T) == 0;
}

/// Moves one T if it fits and both sides are aligned for it.
template <class T>
bool copy_one(std::byte*& to, const std::byte*& from, std::size_t& bytes) noexcept {
    if (bytes < sizeof(T) || !aligned_for<T>(reinterpret_cast<std::uintptr_t>(to)) ||
        !aligned_for<T>(reinterpret_cast<std::uintptr_t>(from))) {
        return false;
    }
    reinterpret_cast<platform::Atomic<T>*>(to)->store(
        reinterpret_cast<const platform::Atomic<T>*>(from)->load(std::memory_order_relaxed),
        std::memory_order_relaxed);
    to += sizeof(T);
    from += sizeof(T);
    bytes -= sizeof(T);
    return true;
}

std::uint64_t load_bytes(const std::byte* from, std::size_t bytes) noexcept {
    if (bytes >= 8 && aligned_for<std::uint64_t>(reinterpret_cast<std::uintptr_t>(from))) {
        return detail::load_word(from);
    }
    if (bytes == 4 && aligned_for<std::uint32_t>(reinterpret_cast<std::uintptr_t>(from))) {
        return reinterpret_cast<const platform::Atomic<std::uint32_t>*>(from)->load(
            std::memory_order_relaxed);
    }
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < std::min<std::size_t>(bytes, 8); ++i) {
        word |= static_cast<std::uint64_t>(
                    reinterpret_cast<const platform::Atomic<std::uint8_t>*>(from + i)->load(
                        std::memory_order_relaxed))
                << (8 * i);
    }
    return word;
}

}  // namespace

void detail::copy_bytes(void* to, const void* from, std::size_t bytes) noexcept {
    auto* out = static_cast<std::byte*>(to);
    const auto* in = static_cast<const std::byte*>(from);
    while (bytes != 0) {
        if (!copy_one<std::uint64_t>(out, in, bytes) && !copy_one<std::uint32_t>(out, in, bytes) &&
            !copy_one<std::uint16_t>(out, in, bytes)) {
            copy_one<std::uint8_t>(out, in, bytes);
        }
    }
}

void zero_bytes(void* to, std::size_t bytes) noexcept {
    auto* out = static_cast<std::byte*>(to);
    while (bytes != 0) {
        if (bytes >= 8 && aligned_for<std::uint64_t>(reinterpret_cast<std::uintptr_t>(out))) {
            reinterpret_cast<platform::Atomic<std::uint64_t>*>(out)->store(
                0, std::memory_order_relaxed);
            out += 8;
            bytes -= 8;
        } else {
            reinterpret_cast<platform::Atomic<std::uint8_t>*>(out)->store(
                0, std::memory_order_relaxed);
            ++out;
            --bytes;
        }
    }
}

bool detail::keys_equal(const void* stored, const void* key, std::size_t bytes) noexcept {
    const auto* left = static_cast<const std::byte*>(stored);
    const auto* right = static_cast<const std::byte*>(key);
    for (std::size_t at = 0; at < bytes; at += 8) {
        const std::size_t rest = bytes - at;
        if (load_bytes(left + at, rest) != load_bytes(right + at, rest)) {
            return false;
        }
    }
    return true;
}

std::uint32_t detail::hash_key(const void* key, std::size_t bytes, std::uint64_t seed) noexcept {
    const auto* in = static_cast<const std::byte*>(key);
    std::uint64_t state = begin_hash(bytes, seed);
    for (std::size_t at = 0; at < bytes; at += kWordBytes) {
        state = mix_hash(state, load_bytes(in + at, bytes - at));
    }
    return end_hash(state);
}

void copy_value_in(const Map& map, void* value, const void* from) noexcept {
    if (!has_any(map.fields)) {
        copy_bytes(value, from, map.value_size);
        return;
    }
    struct Hole {
        std::size_t start;
        std::size_t end;
    };
    // The special fields in ascending order; what lies between them is copied.
    Hole holes[std::size(kSpecialFields)];
    unsigned count = 0;
    for_each_field(map.fields, [&](const SpecialField& kind, std::int32_t offset) {
        const auto start = static_cast<std::size_t>(offset);
        unsigned at = count++;
        for (; at > 0 && holes[at - 1].start > start; --at) {
            holes[at] = holes[at - 1];
        }
        holes[at] = {start, start + kind.bytes};
    });
    auto* out = static_cast<std::byte*>(value);
    const auto* in = static_cast<const std::byte*>(from);
    std::size_t at = 0;
    for (unsigned i = 0; i < count; ++i) {
        copy_bytes(out + at, in + at, holes[i].start - at);
        at = holes[i].end;
    }
    copy_bytes(out + at, in + at, map.value_size - at);
}

void copy_value_out(const Map& map, const void* value, void* out) noexcept {
    // Only what lies between the special fields is read, as on the way in.
    copy_value_in(map, out, value);
    auto* bytes = static_cast<std::byte*>(out);
    for_each_field(map.fields, [bytes](const SpecialField& kind, std::int32_t offset) {
        zero_bytes(bytes + offset, kind.bytes);
    });
}

std::errc lock_value(const Map& map, void* value) noexcept {
    task::Task* task = task::current();
    if (task == nullptr) {
        return std::errc::no_such_process;
    }
    return MapTable::get().locks.lock(*task, *lock_word(map, value), kSpinLockNs) == no_error
               ? no_error
               : std::errc::device_or_resource_busy;
}

void unlock_value(const Map& map, void* value) noexcept {
    MapTable::get().locks.unlock(*task::current(), *lock_word(map, value));
}

bool current_claimant(sync::Claimant* by) noexcept {
    const task::Task* task = task::current();
    if (task == nullptr) {
        return false;
    }
    *by = {task->process, task->lane};
    return true;
}

}  // namespace taskwork::map
