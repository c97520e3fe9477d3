// SPDX-License-Identifier: Apache-2.0
//
// The heap of explored code. What it allocates is part of the modelled state, so it comes from
// memory that a snapshot copies; the explorer's own memory must not.
#pragma once

#include <cstddef>
#include <cstdint>

namespace explore {

/// Which heap operator new uses from here on.
class HeapOf {
public:
    static constexpr std::size_t kBytes = std::size_t{1} << 20;
    explicit HeapOf(bool explored) noexcept;
    ~HeapOf();
    HeapOf(const HeapOf&) = delete;
    HeapOf& operator=(const HeapOf&) = delete;

    static void set(bool explored) noexcept;
    /// Empties the heap of explored code.
    static void reset() noexcept;
    /// What a snapshot holds of it.
    static std::byte* begin() noexcept;
    static std::size_t size() noexcept;
    static std::uint64_t hash() noexcept;

private:
    bool before_;
};

}  // namespace explore
