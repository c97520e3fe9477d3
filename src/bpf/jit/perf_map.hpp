// SPDX-License-Identifier: Apache-2.0
//
// The names of native code, for perf: /tmp/perf-PID.map of each process of the domain, a line
// "START SIZE NAME" a function. On request (TASKWORK_PERF_MAP), by the host alone: members open no
// files. perf reads them when it reports, so they stay when the processes have ended.
//
// perf asks such a file only about memory that it takes for nobody's: code_segment.hpp.
#pragma once

#include <cstdint>

#include "base/context.hpp"
#include "bpf/jit/names.hpp"

namespace taskwork::bpf::jit {

/// Adds a program to the maps of the processes that there are; what has stood in its place is named
/// no more. A file that cannot be written, or is not ours, is left out. Host only.
/// Context: task. Takes a lock of the host.
TW_TASK_ONLY void name_for_perf(const Symbols& symbols);
/// Begins the map of a process that has joined, with all that has been named so far. Nothing if
/// nobody asks. Host only.
/// Context: task, irq. Takes a lock of the host.
TW_NOT_NMI void write_perf_map(std::int32_t pid);

}  // namespace taskwork::bpf::jit
