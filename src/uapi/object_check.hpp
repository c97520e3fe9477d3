// SPDX-License-Identifier: Apache-2.0
//
// Whether an object file is what libbpf takes it for, before libbpf reads it: libbpf 1.1 follows
// names, symbols and types without asking whether they exist. What is wrong with a program of it,
// its maps or its relocations is not asked; libbpf says that well.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace taskwork::uapi {

/// What is wrong with an ELF file's sections, symbols, relocations, .BTF or .BTF.ext, in one line;
/// empty: nothing. Of any bytes; linear in their number.
/// Context: task.
std::string fault_of_object(std::span<const std::byte> bytes);

}  // namespace taskwork::uapi
