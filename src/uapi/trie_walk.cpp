// SPDX-License-Identifier: Apache-2.0
#include "uapi/trie_walk.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "map/lpm_trie.hpp"

namespace taskwork::uapi {

void TrieWalk::make(map::Map& map) {
    // Before the walk: what is inserted later may be missing, and is counted later.
    insertions_ = map::trie_insertions(map);
    struct Collection {
        std::vector<std::byte>* keys;
        std::size_t key_size;
    } collection{&keys_, map.key_size};
    keys_.clear();
    map::trie_for_each(
        map,
        [](const void* key, void* argument) {
            const Collection& into = *static_cast<Collection*>(argument);
            const auto* bytes = static_cast<const std::byte*>(key);
            into.keys->insert(into.keys->end(), bytes, bytes + into.key_size);
        },
        &collection);
    order_.resize(keys_.size() / map.key_size);
    std::iota(order_.begin(), order_.end(), 0U);
    std::sort(order_.begin(), order_.end(), [&](std::uint32_t left, std::uint32_t right) {
        return map::trie_is_before(map, keys_.data() + std::size_t{left} * map.key_size,
                                   keys_.data() + std::size_t{right} * map.key_size);
    });
    made_ = true;
}

std::errc TrieWalk::next(map::Map& map, const void* key, void* next) {
    const std::lock_guard lock(mutex_);
    if (!made_ || insertions_ != map::trie_insertions(map)) {
        make(map);
    }
    std::size_t index = 0;
    if (key != nullptr && map::trie_find(map, key) != nullptr) {
        std::size_t end = order_.size();
        while (index < end) {  // The first that `key` is before.
            const std::size_t middle = index + (end - index) / 2;
            if (map::trie_is_before(map, key, at(map, middle))) {
                end = middle;
            } else {
                index = middle + 1;
            }
        }
    }
    for (; index < order_.size(); ++index) {
        if (const void* found = map::trie_find(map, at(map, index))) {
            std::memcpy(next, found, map.key_size);
            return no_error;
        }
    }
    return std::errc::no_such_file_or_directory;
}

}  // namespace taskwork::uapi
