// SPDX-License-Identifier: Apache-2.0
//
// Kfuncs: the functions that a program calls by name, through our BTF (kernel_btf/kernel_btf.c has
// their prototypes). The loader turns the BTF id of a call into our own number.
//
// To add one: a prototype there, a line in the table of kfuncs.cpp.
#pragma once

#include <cstdint>
#include <string_view>

#include "bpf/interpreter.hpp"
#include "defer/task_work.hpp"

namespace taskwork::bpf {

/// How many there are: numbers are 0 to this.
inline constexpr std::uint32_t kKfuncs = 19;

struct Kfunc {
    const char* name = nullptr;
    std::uint64_t (*function)(Machine& machine, const std::uint64_t* arguments) noexcept = nullptr;
    bool sleepable = false;   ///< May sleep: refused in nmi.
    bool under_lock = false;  ///< May be called while a lock is held.
};

/// Our number of the kfunc with this name; -1: we do not have it.
/// Context: any.
std::int32_t kfunc_by_name(std::string_view name) noexcept;
/// Context: any. Precondition: a number that kfunc_by_name() returned.
const Kfunc& kfunc(std::int32_t number) noexcept;

/// The kfuncs as native code calls them, by our numbers.
/// Context: any.
const jit::NativeHelper* native_kfuncs() noexcept;

/// Calls a kfunc; faults the machine (bad_call) if there is none with this number, or if it may
/// sleep and the machine runs in nmi; call_under_lock if the machine holds a lock that it may not.
/// Context: any.
std::uint64_t call_kfunc(Machine& machine, std::int32_t number,
                         const std::uint64_t* arguments) noexcept;

/// The runner of defer::kCallbackBpf: calls the function of the program with map, key and value.
/// Context: task_work.
void run_callback(task::Task& task, const defer::Callback& callback) noexcept;

}  // namespace taskwork::bpf
