// SPDX-License-Identifier: Apache-2.0
//
// How libgcc's unwinder gets through native code: backtrace(3) in whatever a program calls. On
// request (TASKWORK_UNWIND=1), not by default: from then on every frame that libgcc looks up, of
// any exception of the application, costs a lock, which a forked child may find taken.
//
// Native frames are linked in any case, for who walks by frame pointers, as perf. gdb:
// debugger.hpp.
#pragma once

#include "base/context.hpp"

namespace taskwork::bpf::jit {

/// Tells libgcc, if it is asked to and the process has one, that the frames of the code region are
/// linked by rbp. Once a process; forks inherit it.
/// Context: task.
TW_TASK_ONLY void register_frames() noexcept;

}  // namespace taskwork::bpf::jit
