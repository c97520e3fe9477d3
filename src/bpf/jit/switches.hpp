// SPDX-License-Identifier: Apache-2.0
//
// Switches: the words of the environment that change what is done with native code. Each is "on"
// ("1") or "off" ("0"). The host's and a member's may differ.
#pragma once

#include <cstdint>

#include "base/context.hpp"
#include "base/result.hpp"

namespace taskwork::bpf::jit {

enum class Switch : std::uint8_t {
    jit,       ///< TASKWORK_JIT: programs run as native code. On, if nothing is said.
    perf_map,  ///< TASKWORK_PERF_MAP: perf finds the names of native code (perf_map.hpp).
    unwind,    ///< TASKWORK_UNWIND: libgcc gets through native code (unwind.hpp).
};

/// What is no word of a switch says nothing.
/// Context: task.
TW_TASK_ONLY bool is_on(Switch which) noexcept;

/// Whether each word is one that its switch knows. Errors: invalid_argument, the first that is not.
/// Context: task.
TW_TASK_ONLY Result<void> check_switches();

}  // namespace taskwork::bpf::jit
