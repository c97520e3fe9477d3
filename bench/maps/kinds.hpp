// SPDX-License-Identifier: Apache-2.0
//
// Maps of other kinds, of 1,000 elements: operations that ours and the kernel's both do.
#pragma once

#include <cstdint>
#include <vector>

#include "map/map.hpp"
#include "maps/batch.hpp"

namespace taskwork::bench {

/// Does it with a number below 1,000; whether it did what it was to. Context: any. In a section.
using Act = bool (*)(map::Map& map, std::uint64_t number) noexcept;

struct KindRow {
    std::uint32_t type;
    const char* name;
    Act act;
    const char* program;  ///< Of kernel.bpf.c: the same, of the kernel's.
    Act fill = nullptr;   ///< Done before with all numbers; none: nothing is.
    const char* fill_program = nullptr;
    bool uses_spares = false;  ///< Of ours.
};
/// Context: task.
const std::vector<KindRow>& kind_rows();
/// Registers ours and their lines. Context: task.
void add_kinds(Report& report, Where where);

}  // namespace taskwork::bench
