// SPDX-License-Identifier: Apache-2.0
//
// FreeRanges: the host's own book of which parts of an address range are free, for what hands out
// memory in large pieces. Not shared between processes, and not locked: its owner has the lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <optional>

#include "base/context.hpp"

namespace taskwork::sync {

class FreeRanges {
public:
    /// Nothing is free. Context: task.
    TW_TASK_ONLY void clear() noexcept { sizes_.clear(); }

    /// Takes `size` bytes at a multiple of `align`, a power of two, from the lowest range with room
    /// for them; what is left of it stays free. Context: task.
    TW_TASK_ONLY std::optional<std::uintptr_t> take(std::size_t size, std::size_t align) noexcept {
        for (auto range = sizes_.begin(); range != sizes_.end(); ++range) {
            const std::uintptr_t begin = range->first;
            const std::uintptr_t end = begin + range->second;
            const std::uintptr_t at = (begin + align - 1) & ~(align - 1);
            if (at + size > end) {
                continue;
            }
            sizes_.erase(range);
            if (at > begin) {
                sizes_.emplace(begin, at - begin);
            }
            if (at + size < end) {
                sizes_.emplace(at + size, end - at - size);
            }
            return at;
        }
        return std::nullopt;
    }

    /// [begin, begin + size), no byte of which is free, is free from now on: one range with its
    /// neighbours. Context: task.
    TW_TASK_ONLY void give(std::uintptr_t begin, std::size_t size) noexcept {
        auto range = sizes_.emplace(begin, size).first;
        if (range != sizes_.begin()) {
            const auto before = std::prev(range);
            if (before->first + before->second == begin) {
                before->second += size;
                sizes_.erase(range);
                range = before;
            }
        }
        const auto after = std::next(range);
        if (after != sizes_.end() && range->first + range->second == after->first) {
            range->second += after->second;
            sizes_.erase(after);
        }
    }

private:
    std::map<std::uintptr_t, std::size_t> sizes_;  ///< By address; no two of them touch.
};

}  // namespace taskwork::sync
