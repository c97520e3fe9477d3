// SPDX-License-Identifier: Apache-2.0
//
// Helpers: the numbered functions that a program calls (enum bpf_func_id). helpers.cpp has the
// table; the functions stand by subject in helpers_map.cpp, helpers_memory.cpp, helpers_print.cpp,
// helpers_task.cpp and spin_locks.cpp. Results and errors are the kernel's; where the kernel's
// verifier would have refused the program, the execution ends with a fault.
//
// To add a helper: write it as a HelperFunction in the file of its subject, declare it below, add a
// line to the table.
#pragma once

#include <cstdint>
#include <string>

#include "bpf/interpreter.hpp"
#include "bpf/jit/native.hpp"

namespace taskwork::bpf {

/// `arguments`: R1-R5. Returns R0.
/// Context: any; sleepable helpers only where Helper::sleepable says.
using HelperFunction = std::uint64_t (*)(Machine& machine, const std::uint64_t* arguments) noexcept;

struct Helper {
    HelperFunction function = nullptr;  ///< nullptr: we do not have it.
    bool gpl_only = false;              ///< Only for programs of a GPL-compatible licence.
    bool sleepable = false;             ///< May sleep: refused in nmi.
    bool under_lock = false;            ///< May be called while a lock is held.
    /// What native code has to do for it: let it see frames and fail, hand it arguments, or
    /// nothing.
    enum class Needs : std::uint8_t { everything, arguments, nothing } needs = Needs::everything;
};

/// The helper with this number; `function` is nullptr for one that we do not have.
/// Context: any.
const Helper& helper(std::int32_t id) noexcept;
/// The helpers as native code calls them, by number. Those that we do not have end the execution.
/// Context: any.
const jit::NativeHelper* native_helpers() noexcept;
/// "bpf_map_lookup_elem#1", or "unknown#9999".
/// Context: task.
std::string helper_name(std::int32_t id);

/// About what the call of a helper costs against an instruction.
inline constexpr std::uint64_t kHelperCost = 16;

/// Calls a helper; faults the machine (bad_call) if there is none, or if it may sleep and the
/// machine runs in nmi; call_under_lock if the machine holds a lock that it may not.
/// Context: any.
std::uint64_t call_helper(Machine& machine, std::int32_t id,
                          const std::uint64_t* arguments) noexcept;

/// The negative errno that a program sees, as the register's value.
/// Context: any.
constexpr std::uint64_t as_result(long value) noexcept { return static_cast<std::uint64_t>(value); }

// ---- helpers_map.cpp ----------------------------------------------------------------------------

std::uint64_t map_lookup_elem(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t map_update_elem(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t map_delete_elem(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t map_push_elem(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t map_pop_elem(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t map_peek_elem(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t map_lookup_percpu_elem(Machine& machine, const std::uint64_t* arguments) noexcept;
/// Never reached in what is verified: the loader makes another instruction of such calls.
std::uint64_t tail_call(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t for_each_map_elem(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t loop(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t ringbuf_output(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t perf_event_output(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t ringbuf_reserve(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t ringbuf_submit(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t ringbuf_discard(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t ringbuf_query(Machine& machine, const std::uint64_t* arguments) noexcept;

// ---- helpers_memory.cpp -------------------------------------------------------------------------

/// A string of kernel memory (what the program may read), or of user memory if it is none: what
/// bpf_probe_read_str() and "%s" read. `size` as in UserMemory::read_string(). Returns the bytes
/// written with the NUL, or -EFAULT.
/// Context: any.
long read_any_string(Machine& machine, char* to, std::uint64_t from, std::size_t size) noexcept;

std::uint64_t probe_read(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t probe_read_str(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t probe_read_user(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t probe_read_user_str(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t probe_read_kernel(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t probe_read_kernel_str(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t get_stack(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t get_stackid(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t compare_strings(Machine& machine, const std::uint64_t* arguments) noexcept;

// ---- helpers_print.cpp --------------------------------------------------------------------------

std::uint64_t trace_printk(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t trace_vprintk(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t snprintf(Machine& machine, const std::uint64_t* arguments) noexcept;

// ---- spin_locks.cpp -----------------------------------------------------------------------------

std::uint64_t spin_lock(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t spin_unlock(Machine& machine, const std::uint64_t* arguments) noexcept;
// Kfuncs.
std::uint64_t res_spin_lock(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t res_spin_unlock(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t res_spin_lock_irqsave(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t res_spin_unlock_irqrestore(Machine& machine, const std::uint64_t* arguments) noexcept;

// ---- helpers_task.cpp ---------------------------------------------------------------------------

std::uint64_t ktime_get_ns(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t ktime_get_boot_ns(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t ktime_get_coarse_ns(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t ktime_get_tai_ns(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t get_prandom_u32(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t get_smp_processor_id(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t get_numa_node_id(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t get_current_pid_tgid(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t get_current_uid_gid(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t get_current_comm(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t get_current_task(Machine& machine, const std::uint64_t* arguments) noexcept;
std::uint64_t get_attach_cookie(Machine& machine, const std::uint64_t* arguments) noexcept;

}  // namespace taskwork::bpf
