// SPDX-License-Identifier: Apache-2.0
//
// The types of an object file (.BTF), before libbpf reads them. They are not yet what BPF_BTF_LOAD
// takes (btf_check.hpp): the loader still fills in sections, drops what the kernel does not know.
// What is asked is what libbpf 1.1 believes without asking, and would crash or never end on:
// sections and types lie where they say, names and ids exist, types contain each other to an end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace taskwork::uapi {

/// What .BTF.ext refers to.
struct ObjectTypes {
    std::string fault;  ///< What is wrong, in one line; empty: nothing.
    std::uint32_t count = 0;
    std::uint32_t strings_size = 0;
};

/// Linear in the size.
/// Context: task.
ObjectTypes check_object_types(std::span<const std::byte> raw);

}  // namespace taskwork::uapi
