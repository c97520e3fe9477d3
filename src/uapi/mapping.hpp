// SPDX-License-Identifier: Apache-2.0
//
// mmap of a map's descriptor: a second view of the arena's pages that hold the values of an array
// (BPF_F_MMAPABLE: the data sections of skeletons) or the positions and records of a ring buffer.
// A view that must not be written is mapped from a descriptor opened for reading, so that mprotect
// cannot change it. munmap is the kernel's own; we only follow it, because a map that is mapped
// writable cannot be frozen.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

#include "base/errc.hpp"
#include "uapi/object.hpp"

namespace taskwork::uapi {

/// As mmap(2) with the descriptor of `object`; the mapping keeps the map, as in the kernel. Returns
/// the address, or a negative errno: -ENOTSUPP (524) for a kind that cannot be mapped or a map with
/// a special field, -EINVAL (not shared, beyond the end, an array without BPF_F_MMAPABLE), -EPERM
/// (writable: frozen, or not the consumer page of a ring), -EACCES (BPF_F_RDONLY_PROG and
/// writable), mmap's own. Context: task.
std::int64_t map_object(const MapObject& object, void* address, std::size_t size, int protection,
                        int flags, off_t offset);

/// Whether munmap(2) takes these arguments; else it does nothing.
/// Context: any.
bool may_unmap(const void* address, std::size_t size) noexcept;

/// Follows munmap, or a mapping in place of others.
/// Context: task.
void follow_unmap(const void* address, std::size_t size) noexcept;

/// map::freeze(), but not while a view of the map exists that can be written. Errors: its own, and
/// device_or_resource_busy.
/// Context: task.
std::errc freeze_unmapped(map::Map& map) noexcept;

/// Whether follow_unmap() has anything to follow. One load.
/// Context: any.
bool any_mapped() noexcept;

}  // namespace taskwork::uapi
