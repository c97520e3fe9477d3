// SPDX-License-Identifier: Apache-2.0
//
// The part of check_btf() that looks at each type by itself.
#pragma once

#include <cstdint>
#include <string>

#include "uapi/btf_layout.hpp"

namespace taskwork::uapi {

/// Takes the type section apart, into `layout`. As check_btf().
/// Context: task.
int check_types(BtfLayout& layout);

/// Without a prefix, as the log has it.
/// Context: task.
std::string hexadecimal(std::uint32_t value);

}  // namespace taskwork::uapi
