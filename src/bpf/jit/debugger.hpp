// SPDX-License-Identifier: Apache-2.0
//
// How gdb gets through native code and finds its names, on request (TASKWORK_UNWIND): each process
// has the two symbols of gdb's interface for just-in-time compilers, and through them a list of
// object files in memory, one for each program, which the host writes into the arena. Without
// request there are the two symbols and nothing else.
//
// The symbols are hidden, and gdb finds them in the symbol table of a library or command that is
// not stripped: exported from a preloaded library they would be taken for the application's own
// by any compiler in it.
#pragma once

#include "base/context.hpp"
#include "bpf/jit/names.hpp"

namespace taskwork::bpf::jit {

struct DebugObject;

/// Makes an object file of a program, for this process and those that join later; a gdb that
/// attaches to an earlier one finds it if that one had one already. What has stood in its place
/// goes. Without memory there is none. Host only.
/// Context: task. Takes a lock of the host.
TW_TASK_ONLY void name_for_debugger(const Symbols& symbols);
/// Hands the domain's list to gdb, in a member that has joined. Nothing if nobody asks.
/// Context: task; async-signal-safe.
TW_TASK_ONLY void show_debugger(DebugObject* first) noexcept;
/// The list is no more: before the arena is unmapped.
/// Context: task.
TW_TASK_ONLY void hide_from_debugger() noexcept;

}  // namespace taskwork::bpf::jit
