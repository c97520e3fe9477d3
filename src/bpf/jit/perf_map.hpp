// SPDX-License-Identifier: Apache-2.0
//
// The names of native code, for perf: /tmp/perf-PID.map of each process of the domain, a line
// "START SIZE NAME" a function. On request (TASKWORK_PERF_MAP=1), by the host alone: members open
// no files.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/context.hpp"
#include "bpf/jit/native_code.hpp"

namespace taskwork::bpf::jit {

/// Names the functions of a program in the maps of the processes that there are:
/// "bpf_prog_PROGRAM", "bpf_prog_PROGRAM_FUNCTION". `names`: by the instruction that a function
/// begins with. A file that cannot be written is left out. Nothing if nobody asks. Host only.
/// Context: task. Takes a lock of the host.
TW_TASK_ONLY void name_native(const NativeCode& native, std::string_view program,
                              const std::map<std::uint32_t, std::string>& names);
/// Begins the map of a process that has joined, with all that has been named so far. Host only.
/// Context: task, irq. Takes a lock of the host.
TW_NOT_NMI void write_perf_map(std::int32_t pid);

}  // namespace taskwork::bpf::jit
