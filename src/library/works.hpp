// SPDX-License-Identifier: Apache-2.0
//
// Behind Work and schedule(): the contexts of C++ callables.
#pragma once

#include <cstdint>

#include "base/context.hpp"

namespace taskwork {
class Work;
}

namespace taskwork::library {

/// Sets how callables are run; for a new domain.
/// Context: task.
TW_TASK_ONLY void prepare_works() noexcept;

/// The arena index of the context that a Work has; 0: none.
/// Context: any.
std::uint32_t context_index(const Work& work) noexcept;

}  // namespace taskwork::library
