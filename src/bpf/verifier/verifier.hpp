// SPDX-License-Identifier: Apache-2.0
//
// The verifier: proves, before a program is run, that whatever it does is allowed, by walking all
// its paths with what is known of each register and stack slot (as kernel/bpf/verifier.c does,
// whose rules, limits and phrases it keeps).
//
//   scalar.*        what is known of a number
//   state.*         what is known of registers, stack, references, locks at an instruction
//   structure.*     functions, reachable code, prune points, registers that are read later
//   walk.*          the walk over instructions and branches
//   alu.cpp         arithmetic on numbers and pointers
//   branch.cpp      conditional jumps
//   memory.cpp      loads and stores by kind of pointer; stack.cpp, context.cpp
//   calls.cpp       helpers and subprograms, by the tables of prototypes.*; arguments.cpp
//   kfuncs.cpp      kfuncs, special fields (struct bpf_task_work, locks) among them
//   callbacks.cpp   callbacks, called in place or later, and returns
//   loops.cpp       iterators, may_goto, and loops that are walked until they bring nothing new
//   prune.cpp       states seen before; precise.cpp: which numbers matter
//   walk_text.cpp   the path in the log; log.*: its instructions, registers, states
//   observer.hpp    what tests are told of the walk
#pragma once

#include <linux/bpf.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bpf/instruction.hpp"
#include "map/map.hpp"

namespace taskwork::bpf::verifier {

class Observer;

/// What the verifier asks of a map.
struct MapInfo {
    std::string name;
    std::uint32_t type = 0;
    std::uint32_t key_size = 0;
    std::uint32_t value_size = 0;
    std::uint32_t max_entries = 0;
    std::uint32_t flags = 0;
    map::SpecialFields fields;
    bool has_types = false;          ///< Created with BTF.
    const map::Map* map = nullptr;   ///< nullptr: what the inner maps of an outer one are like.
    const MapInfo* inner = nullptr;  ///< Maps of maps.
};

/// The structs of the kernel that programs are given pointers to.
enum class Struct : std::uint8_t { task, mm };

/// An argument of a global function, by its type in the BTF and its tags.
struct ArgumentInfo {
    enum class Kind : std::uint8_t { scalar, context, memory, trusted_struct, unsupported };
    Kind kind = Kind::scalar;
    std::uint32_t size = 0;  ///< memory: bytes behind the pointer
    bool non_null = false;   ///< memory, trusted_struct: is never null
    Struct structure = Struct::task;
    std::string why;  ///< unsupported: what the log says
};
struct FunctionInfo {
    std::uint32_t insn = 0;
    std::string name;
    bool is_global = false;
    bool returns_scalar = true;
    std::vector<ArgumentInfo> arguments;
};
/// Names and text are the caller's.
struct LineInfo {
    std::uint32_t insn = 0;
    std::uint32_t line = 0;
    std::string_view file;
    std::string_view text;
};

struct Input {
    /// As the loader of the object wrote them, checked for form and flow; but in instructions that
    /// name a map (Pseudo::map_fd, map_value) `imm` is an index into `maps`, in those that name a
    /// kfunc it is our number of it, and calls that must not be reached are kCallNowhere.
    const std::vector<bpf_insn>& insns;
    std::uint32_t type = 0;  ///< BPF_PROG_TYPE_*
    bool sleepable = false;
    std::vector<const MapInfo*> maps;
    std::vector<FunctionInfo> functions;  ///< Sorted; may be empty.
    std::vector<LineInfo> lines;          ///< Sorted; may be empty.
    std::uint32_t log_level = 0;   ///< 1: the path to the error, 2: every path, 4: statistics
    Observer* observer = nullptr;  ///< Of tests (observer.hpp).
    /// Instructions that are walked at most: kInsnsProcessedMax, or for tests fewer.
    std::uint32_t insns_processed_max = 1'000'000;
    /// Bytes of states that are kept, about: four times what a million instructions need if all
    /// goes well, or for tests fewer.
    std::size_t checkpoint_bytes_max = std::size_t{1} << 30;
};

struct Statistics {
    std::uint32_t insns_processed = 0;
    std::uint32_t states_per_insn_max = 0;
    std::uint32_t states_total = 0;
    std::uint32_t states_peak = 0;
    std::uint64_t time_us = 0;
};

struct Verdict {
    int error = 0;           ///< 0: accepted; else the errno of BPF_PROG_LOAD, positive.
    std::uint32_t insn = 0;  ///< Where it was refused.
    std::string reason;      ///< Why, in one line.
    Statistics statistics;
    unsigned frames = 0;  ///< In use at a time, at most, if it was accepted.
    /// Accepted: instructions that an execution runs at most; kNotWalked: there are loops that may
    /// go round oftener than they were walked.
    std::uint64_t insns_max = 0;
    static constexpr std::uint64_t kNotWalked = UINT64_MAX;
    /// Accepted: loads by pointers to kernel structs that may be null, ascending. They must give 0
    /// where there is nothing to be read.
    std::vector<std::uint32_t> probes;
    /// Accepted: what is known of calls, ascending.
    std::vector<KnownCall> known_calls;
    /// Accepted: how much of its context a syscall program uses.
    std::uint32_t context_bytes = 0;
};

/// Limits of the kernel's.
inline constexpr std::uint32_t kInsnsProcessedMax = 1'000'000;
inline constexpr std::uint32_t kPendingMax = 8192;
inline constexpr std::uint32_t kFunctionsMax = 256;
/// Of stack in the frames before one that calls a program.
inline constexpr std::uint32_t kStackBeforeTailCallMax = 256;

/// Judges a program; what there is to say goes to the end of `log`. Time and memory are bounded by
/// the limits. Errors: EINVAL, EACCES (a memory access), E2BIG (a limit), EPERM.
/// Context: task. Allocates.
Verdict verify(const Input& input, std::string& log);

}  // namespace taskwork::bpf::verifier
