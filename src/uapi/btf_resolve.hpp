// SPDX-License-Identifier: Apache-2.0
//
// The second half of check_btf(): what types say of each other.
#pragma once

#include "uapi/btf_layout.hpp"

namespace taskwork::uapi {

/// Of types that are right each by itself. As check_btf().
/// Context: task.
int resolve_types(BtfLayout& layout);

}  // namespace taskwork::uapi
