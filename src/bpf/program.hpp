// SPDX-License-Identifier: Apache-2.0
//
// Program: a loaded BPF program in the arena, ready to run in any process of the domain. The
// instructions are already rewritten by the loader (load_program): map descriptors have become
// arena addresses of Map, map values arena addresses, kfunc calls our own kfunc numbers, so nothing
// is looked up while it runs.
#pragma once

#include <linux/bpf.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "bpf/instruction.hpp"
#include "bpf/jit/native_code.hpp"
#include "bpf/verifier/verifier.hpp"
#include "map/map.hpp"
#include "sync/pool.hpp"
#include "task/task.hpp"

namespace taskwork::bpf {

inline constexpr std::uint8_t kProgramLoading = sync::kStateUser;
inline constexpr std::uint8_t kProgramLive = sync::kStateUser + 1;
inline constexpr std::uint8_t kProgramDying = sync::kStateUser + 2;

struct alignas(64) Program {
    static constexpr std::uint32_t kMapsMax = 64;

    sync::AtomicWord word;
    std::uint32_t id;
    std::uint32_t type;  ///< BPF_PROG_TYPE_*
    std::uint32_t expected_attach_type;
    std::uint32_t context_bytes;  ///< What it must be given to run: of syscall programs.
    std::uint32_t insn_count;
    const bpf_insn* insns;                 ///< In the arena; never written once live.
    const std::uint64_t* function_starts;  ///< A bit an instruction: a function begins here.
    std::size_t code_bytes;                ///< Of the allocation that `insns` begins.
    jit::NativeCode native;
    char name[16];
    std::uint8_t sleepable;
    std::uint8_t frames;  ///< At most so many are in use at a time.
    std::uint32_t map_count;
    map::Map* maps[kMapsMax];                    ///< Every map it names; each holds a reference.
    platform::Atomic<std::uint32_t> references;  ///< Descriptors and links: host only.
    // Counted by whoever runs it, in any context; runs, callbacks and the time in them if somebody
    // asks for that (statistics.hpp).
    platform::Atomic<std::uint64_t> runs;
    platform::Atomic<std::uint64_t> faults;  ///< Executions ended by a bad access.
    platform::Atomic<std::uint64_t> run_ns;
    platform::Atomic<std::uint64_t> callbacks;    ///< Task works of it that ran.
    platform::Atomic<std::uint64_t> callback_ns;  ///< Time in them, in which they may have slept.
    platform::Atomic<std::uint64_t> schedule_results[8];  ///< By ScheduleResult.
    platform::Atomic<std::uint64_t> last_fault_insn;      ///< Index + 1 of the latest; 0: none.
    platform::Atomic<std::uint64_t> last_fault_kind;      ///< FaultKind of it.
};

/// Why an execution was ended (interpreter.hpp says what it may touch).
enum class FaultKind : std::uint8_t {
    none,
    bad_load,
    bad_store,
    bad_call,      ///< A call that must not be reached, or that may sleep in nmi.
    bad_argument,  ///< A helper's or kfunc's argument that the kernel's verifier would refuse.
    bad_instruction,
    too_deep,       ///< More than 8 frames.
    too_long,       ///< More than kInsnsMax instructions.
    record_leaked,  ///< Ended without submitting or discarding a ring buffer record.
    lock_leaked,    ///< Ended without giving back a lock.
    lock_misused,   ///< Unlocked what it does not hold, or out of order.
    lock_timeout,   ///< A bpf_spin_lock was not free in time (map/spin_lock.hpp).
    call_under_lock,
};
/// One phrase, for a report.
/// Context: any.
const char* describe(FaultKind kind) noexcept;

/// Result codes of the schedule kfuncs, as reported.
enum class ScheduleResult : std::uint8_t {
    ok,
    busy,
    no_memory,
    no_process,
    bad_program,
    no_element,
    other,
};
/// "ok", "EBUSY", ...: for a report.
/// Context: any.
const char* describe(ScheduleResult result) noexcept;

struct TraceRing;
namespace jit {
struct DebugObject;
}

class ProgramTable {
public:
    static constexpr std::uint32_t kProgramsMax = 256;
    /// Creates it in the arena and publishes it as Root::programs; after the worker has started.
    /// Host only. Errors: not_enough_memory.
    /// Context: task.
    static std::errc create() noexcept;
    /// Context: any.
    static ProgramTable& get() noexcept;

    sync::Pool programs;
    platform::Atomic<std::uint32_t> next_id;
    platform::Atomic<std::uint32_t> statistics;         ///< How many ask for them.
    TraceRing* trace;                                   ///< Text of bpf_trace_printk().
    platform::Atomic<jit::DebugObject*> debug_objects;  ///< The first; of programs, for gdb.
};

/// In every process, host included: registers the callback runner with the defer layer, and shows
/// gdb what programs there are, if that is asked for.
/// Context: task; async-signal-safe.
void join() noexcept;

/// What PROG_LOAD asks for; descriptors are resolved by the caller's functions.
struct LoadSpec {
    std::uint32_t type = 0;
    std::uint32_t expected_attach_type = 0;
    std::uint32_t flags = 0;  ///< BPF_F_SLEEPABLE ...
    const bpf_insn* insns = nullptr;
    std::uint32_t insn_count = 0;
    std::string name;
    std::string license;
    /// The map behind a descriptor, nullptr if it is none.
    std::function<map::Map*(int fd)> map_by_fd;
    /// Name of the FUNC with this id in our kernel BTF; empty if none.
    std::function<std::string(std::uint32_t btf_id)> kfunc_name;
    /// Accept any program type: for loaders that probe what the kernel can do by loading programs
    /// of two instructions. Such a program must not be attached.
    bool probe = false;
    /// For tests: check only its structure, and do not prove that it is allowed what it does. Such
    /// a program is refused where nothing checks what it does then (checking.hpp).
    bool unverified = false;
    /// For tests of the engines: `whole` only where nothing is verified.
    InstructionSet instruction_set = InstructionSet::kernel;
    std::uint32_t log_level = 0;             ///< As BPF_PROG_LOAD has it.
    verifier::Observer* observer = nullptr;  ///< Of tests (bpf/verifier/observer.hpp).
    std::uint32_t insns_processed_max = verifier::kInsnsProcessedMax;  ///< Fewer: of tests.
    std::vector<verifier::FunctionInfo> functions;  ///< From the program's BTF, sorted by insn;
    std::vector<verifier::LineInfo> lines;          ///< may be empty.
};

/// Whether a program with this licence may call what is for GPL-compatible ones: the kernel's list.
/// Context: task.
bool is_gpl_compatible(const std::string& license);

/// Checks the structure (opcodes, registers, jumps inside the program, call targets, helpers and
/// kfuncs that exist, licence), verifies (verifier/verifier.hpp), rewrites, places in the arena.
/// The program is live and has one reference. Errors: invalid_argument (helper, kfunc, program type
/// or instruction that we do not have, a call that may sleep in a program that may not; named in
/// the text and in `log`, in the kernel's phrases), bad_file_descriptor (no map),
/// argument_list_too_long (no or too many instructions), not_enough_memory, permission_denied
/// (kfuncs need a GPL-compatible licence), and what the verifier says. Host only.
/// Context: task.
Result<Program*> load_program(const LoadSpec& spec, std::string& log);

/// Descriptors and links. After the last put the worker frees the program as soon as no context in
/// flight names it (a grace period or, if one does, about a second later); until then its schedules
/// get -EBADF (K10). Host only.
/// Context: task.
void get_program(Program& program) noexcept;
void put_program(Program& program) noexcept;

/// One execution's surroundings, on the stack of the caller.
struct Execution {
    task::Task* task = nullptr;  ///< Whose control block, stacks and identity are used.
    Program* program = nullptr;
    void* context = nullptr;  ///< R1 of a main program; readable context_size bytes.
    std::size_t context_size = 0;
    bool context_writable = false;
    void* ucontext = nullptr;  ///< Interrupted registers, nullptr outside handlers.
    std::uint64_t cookie = 0;  ///< bpf_get_attach_cookie.
    bool interpret = false;    ///< Even if there is native code: to hold the engines side by side.
    bool faulted = false;      ///< Out: ended by a counted fault; the result is 0.
    /// In: of tests, in place of kInsnsMax of the level; 0: that. Out: what is left of it.
    std::int64_t budget = 0;
};

/// Runs a main program: opens a sleepable section, counts, executes. Returns R0.
/// Context: any; at the task's level (task: wrap in a task::Section).
std::uint64_t run(Execution& execution) noexcept;

/// Fills in the task_struct (and, for the first task of a process, the mm_struct) that programs
/// see, from /proc. In the thread itself, right after it has registered. Names that change later:
/// task_view.hpp.
/// Context: task; async-signal-safe, for forked children.
void describe_task(task::Task& task) noexcept;

/// Hands over the lines of bpf_trace_printk() that are ready (trace.hpp), each with its newline.
/// Nobody tells the host of new lines: it looks now and then.
/// Context: task (host).
void drain_trace(void (*sink)(void* argument, const char* line, std::size_t size), void* argument);

/// Our own BTF in place of /sys/kernel/btf/vmlinux: raw BTF bytes.
struct Bytes {
    const void* data;
    std::size_t size;
};
/// Context: any.
Bytes kernel_btf() noexcept;

}  // namespace taskwork::bpf
