// SPDX-License-Identifier: Apache-2.0
//
// A walk over an LPM trie by MAP_GET_NEXT_KEY and MAP_LOOKUP_BATCH. The map keeps its prefixes in
// no order; the list here is in the kernel's, and is made anew when prefixes have been inserted
// since. What has been deleted since is passed over.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "map/map.hpp"

namespace taskwork::uapi {

class TrieWalk {
public:
    /// The prefix behind `key`; the first one, if `key` is nullptr or no prefix of the map. Errors:
    /// no_such_file_or_directory (no more).
    /// Context: task. Inside a section.
    std::errc next(map::Map& map, const void* key, void* next);

private:
    void make(map::Map& map);
    [[nodiscard]] const std::byte* at(const map::Map& map, std::size_t index) const {
        return keys_.data() + std::size_t{order_[index]} * map.key_size;
    }

    std::mutex mutex_;
    bool made_ = false;
    std::uint64_t insertions_ = 0;
    std::vector<std::byte> keys_;
    std::vector<std::uint32_t> order_;
};

}  // namespace taskwork::uapi
