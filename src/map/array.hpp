// SPDX-License-Identifier: Apache-2.0
//
// What the kinds whose key is an index have in common: arrays of values, of maps, of programs and
// of perf events.
#pragma once

#include <cstdint>
#include <string>

#include "map/map.hpp"
#include "map/value.hpp"

namespace taskwork::map {

/// The key of an array.
/// Context: any.
inline std::uint32_t index_of(const void* key) noexcept {
    std::uint32_t index = 0;
    copy_bytes(&index, key, sizeof(index));
    return index;
}

/// MAP_CREATE's checks of arrays with no flags but these; `why` says what was wrong. Errors:
/// invalid_argument, argument_list_too_long (value_size).
/// Context: task.
std::errc check_array(const MapSpec& spec, std::uint32_t flags, std::string* why);
/// Of arrays whose values are descriptors of users. Errors: invalid_argument.
/// Context: task.
std::errc check_descriptor_array(const MapSpec& spec, std::uint32_t more_flags, std::string* why);

/// Every index in turn.
/// Context: any.
std::errc index_next_key(Map& map, const void* key, void* next) noexcept;

/// What the kernel asks of an update of a descriptor array before it looks at the descriptor.
/// Errors: invalid_argument (flags), argument_list_too_long (index). Context: any.
std::errc may_put_at(const Map& map, const void* key, std::uint64_t flags) noexcept;

/// Makes map.impl zeroed memory of the arena. Errors: not_enough_memory, the arena's.
/// Context: task. Host only.
std::errc allocate_impl(Map& map, std::size_t bytes, std::size_t alignment) noexcept;

}  // namespace taskwork::map
