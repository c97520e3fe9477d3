// SPDX-License-Identifier: Apache-2.0
//
// BPF_MAP_TYPE_PROG_ARRAY: programs by number, for tail calls. Only users put programs in and take
// them out, by descriptor, and get their ids; all are taken out when the last user of the map
// leaves, so that a program and a map which name each other come to an end (K100).
//
// Programs belong to a layer below this one: here they are addresses, and a function given by that
// layer lets go of them. The array has a reference of each. All of it is the host's.
#pragma once

#include <cstdint>

#include "map/map.hpp"

namespace taskwork::map {

/// A program as an entry. The first one that an array gets decides on the type of all.
struct ProgramEntry {
    void* program = nullptr;
    std::uint32_t id = 0;
    std::uint32_t type = 0;  ///< BPF_PROG_TYPE_*
};

/// What gives a reference of a program back. Set once, before the first array has an entry.
/// Context: task.
void set_program_release(void (*release)(void* program) noexcept) noexcept;

/// Takes over a reference of the program, unless it fails. Errors: may_put_at()'s, invalid_argument
/// (of another type than the first). Context: task.
std::errc put_program(Map& map, const void* key, const ProgramEntry& entry) noexcept;

}  // namespace taskwork::map
