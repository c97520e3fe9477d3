// SPDX-License-Identifier: Apache-2.0
//
// BPF_MAP_TYPE_LPM_TRIE: prefixes of up to 2048 bits (struct bpf_lpm_trie_key: the number of bits,
// then the bits, highest first); a lookup finds the longest one that the key begins with.
//
// There is no trie. The prefixes are the keys of a hash (hash_table.hpp), with what lies behind the
// prefix zeroed, and a bitmap says which lengths there have ever been: a lookup tries those, the
// longest first. So updates and deletions are the hash's: lock-free, legal in nmi, one
// compare-exchange each, which no lock-free trie that also deletes can offer.
//
//   LT.1  A lookup gives the longest prefix that there was at some moment while it ran.
//
// It walks over lengths one by one: prefixes that come behind its back, while what it has yet to
// meet goes, would show it one that was never the longest. So it walks again if an element was
// linked meanwhile. An element is counted behind its linking, and is marked until it is: by its
// inserter, or by whoever comes across it before, in any case before anybody has told of it. What
// a walk misses and is not counted in its end may as well come later. It walks 16 times at most: a
// lookup that so many insertions have overtaken, one in each walk, gives what it has.
//
// The order of the kernel's walk (down a binary trie, children before their parent) is an order of
// prefixes alone: at the first bit in which two differ 0 comes before 1, and what begins with
// another prefix comes before it. next_key() looks for the next one among all: linear. A user who
// walks keeps a sorted list beside (uapi/trie_walk.hpp), which the functions below serve.
#pragma once

#include <cstdint>

#include "map/map.hpp"

namespace taskwork::map {

/// Insertions of new prefixes so far: a list made since then lacks none, but for insertions that
/// have not returned.
/// Context: any.
std::uint64_t trie_insertions(const Map& map) noexcept;

/// Whether the walk meets prefix `left` before `right`; both are keys of the map's size.
/// Context: any.
bool trie_is_before(const Map& map, const void* left, const void* right) noexcept;

/// The prefix in the map that is the same as `key`, as it was given to the update that put it
/// there; nullptr: none. Memory as values are. Context: any.
const void* trie_find(Map& map, const void* key) noexcept;

/// Calls function(prefix, argument) for every prefix, in no order.
/// Context: any.
void trie_for_each(Map& map, void (*function)(const void* key, void* argument),
                   void* argument) noexcept;

}  // namespace taskwork::map
