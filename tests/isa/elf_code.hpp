// SPDX-License-Identifier: Apache-2.0
//
// The program of an ELF object, without a loader: the first section with code, from its beginning.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.hpp"

namespace taskwork::isa {

bool is_elf(const std::vector<std::uint8_t>& bytes);

/// Calls of functions in the same section are resolved. Errors: invalid_argument, in a line: no ELF
/// of BPF, no code, or code that refers to something else (maps, data, functions elsewhere).
Result<std::vector<std::uint8_t>> code_of_elf(const std::vector<std::uint8_t>& bytes);

}  // namespace taskwork::isa
