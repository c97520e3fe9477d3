// SPDX-License-Identifier: Apache-2.0
//
// Maps and programs by id, and which BTF each was created with. Both live in the arena and die
// there, so they cannot hold a C++ reference to it: the host remembers by id, and forgets those
// that are gone whenever it remembers another.
#pragma once

#include <memory>

#include "bpf/program.hpp"
#include "map/map.hpp"
#include "uapi/btf_object.hpp"

namespace taskwork::uapi {

/// What the host knows of a program beside what lies in the arena.
struct ProgramFacts {
    std::shared_ptr<BtfObject> btf;
    std::uint32_t type = 0;  ///< As asked for.
    std::uint32_t created_by_uid = 0;
    std::uint64_t load_time_ns = 0;  ///< CLOCK_BOOTTIME.
    bool gpl_compatible = false;
};

/// Context: task.
void retain(const map::Map& map, std::shared_ptr<BtfObject> btf);
void retain(const bpf::Program& program, ProgramFacts facts);

/// nullptr: the map was created without BTF.
/// Context: task.
std::shared_ptr<BtfObject> retained_btf(const map::Map& map);
ProgramFacts retained_facts(const bpf::Program& program);

/// The live map or program with an id, with a reference for the caller; nullptr if there is none.
/// Context: task.
map::Map* get_map(std::uint32_t id) noexcept;
bpf::Program* get_program(std::uint32_t id) noexcept;
/// The lowest id above `id`; 0 if there is none.
/// Context: task.
std::uint32_t next_map_id(std::uint32_t id) noexcept;
std::uint32_t next_program_id(std::uint32_t id) noexcept;

/// Makes the program hold the map, as if its instructions named it. False: it holds as many as it
/// can.
/// Context: task.
bool bind_map(bpf::Program& program, map::Map& map) noexcept;

}  // namespace taskwork::uapi
