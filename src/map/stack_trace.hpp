// SPDX-License-Identifier: Apache-2.0
//
// BPF_MAP_TYPE_STACK_TRACE: call stacks that programs put in (bpf_get_stackid) and users read by
// the id that the program was given, a bucket's number. Lock-free, legal in nmi.
//
// A stack lies in an item of a pool; a bucket names the item and its round by one word. Putting one
// in is one compare-exchange on the bucket. The new item remembers whose place it took; until that
// one is free, the new one is `building` in its owner's name, and whoever wants its place frees the
// old one first (`settle`). So the sweep frees what a dead process left, and nothing is lost.
//
//   item   free -> building -> stored -> free
//
// Items need no grace period: programs get ids, and who reads an item asks its word afterwards
// whether it was still the same.
#pragma once

#include <cstdint>

#include "map/map.hpp"

namespace taskwork::map {

/// Most addresses of a stack that the map stores.
/// Context: any.
std::uint32_t stack_depth_max(const Map& map) noexcept;

/// Room to write a stack into, stack_depth_max() addresses; nullptr: none (counted).
/// Context: any.
std::uint64_t* stack_claim(Map& map, std::uint16_t owner) noexcept;

/// Ends what stack_claim() began: stores the `depth` addresses, or finds that they are there.
/// Returns the id, or -EEXIST (another stack has the bucket, and BPF_F_REUSE_STACKID is not given).
/// flags: BPF_F_FAST_STACK_CMP, BPF_F_REUSE_STACKID. depth 0: gives up, returns -EFAULT.
/// Context: any.
long stack_store(Map& map, std::uint64_t* addresses, std::uint32_t depth,
                 std::uint64_t flags) noexcept;

}  // namespace taskwork::map
