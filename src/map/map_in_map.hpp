// SPDX-License-Identifier: Apache-2.0
//
// BPF_MAP_TYPE_ARRAY_OF_MAPS and BPF_MAP_TYPE_HASH_OF_MAPS: elements are maps that resemble the one
// which the outer map was made with. Users put maps in by descriptor and get their ids; programs
// look up the map itself and use it until they end.
//
// An outer map holds a reference of each of its inner ones, which is no user reference: works in an
// inner map that no user holds are refused (K103). Only the host changes outer maps, so references
// are counts of the host; who has found an inner map is waited for, by the grace period before the
// end of a map.
#pragma once

#include "map/map.hpp"

namespace taskwork::map {

/// Whether programs and users meet maps in it.
/// Context: any.
inline bool is_outer(const Map& map) noexcept { return map.inner.type != 0; }

/// What of a map counts for the comparison with others.
/// Context: any.
InnerShape shape_of(const Map& map) noexcept;

/// Whether a map can be an element of an outer map that was made with a map of this shape: type,
/// sizes, flags and special fields agree, and of arrays without BPF_F_INNER_MAP the entries.
/// Context: any.
bool fits_into(const Map& inner, const InnerShape& shape) noexcept;

/// Puts a map in. Host only. Errors: invalid_argument (does not fit, flags), argument_list_too_long
/// (full; array index), file_exists, no_such_file_or_directory, not_enough_memory.
/// Context: task.
std::errc put_inner(Map& outer, const void* key, Map& inner, std::uint64_t flags) noexcept;
/// What put_inner() looks at before the map: of an array, flags and index. For the order of errors.
/// Context: any.
std::errc may_put_inner(const Map& outer, const void* key, std::uint64_t flags) noexcept;

/// The inner map with this key, nullptr if none is there.
/// Context: any.
Map* find_inner(Map& outer, const void* key) noexcept;
/// The id of the map in an element that for_each() came by.
/// Context: any.
std::uint32_t inner_id(const void* place) noexcept;

}  // namespace taskwork::map
