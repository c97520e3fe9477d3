// SPDX-License-Identifier: Apache-2.0
//
// Native: what translated code and the C++ around it agree on. Translated code is a function for
// each function of the program, called with
//
//     R1-R5    the first five arguments, as C++ passes them on the processor
//     state    the sixth: the NativeState of this execution
//     frame    in a register of the translator's choice that calls keep: the upper end of the
//              caller's BPF frame; the function's own is above it
//
// and returns R0 as C++ does. A helper is called the same way and is an ordinary C++ function.
// Native frames are linked as C++'s are, so that a walk by frame pointers gets through. Nothing in
// the code is an address of one process: helpers are found through the state.
#pragma once

#include <cstddef>
#include <cstdint>

namespace taskwork::bpf {
class Machine;
struct Program;
}  // namespace taskwork::bpf

namespace taskwork::bpf::jit {

struct NativeState;

/// A helper as translated code calls it.
using NativeHelper = std::uint64_t (*)(std::uint64_t r1, std::uint64_t r2, std::uint64_t r3,
                                       std::uint64_t r4, std::uint64_t r5, NativeState* state);

/// One execution. The offsets are known to the translators and to their enter_*.S.
struct NativeState {
    const NativeHelper* helpers =
        nullptr;  ///< By number; one that does not exist must not be called.
    const NativeHelper* kfuncs = nullptr;  ///< By our own number.
    std::uint64_t helper_count = 0;        ///< For calls by register.
    /// Upper end of the BPF frame in use; a function that is entered takes the bytes above it. When
    /// a helper is called: R10 of its caller.
    std::uint64_t frame = 0;
    /// What loads that may go astray can read (is_probe(), Source::checked_loads): those that begin
    /// in [start, start + size).
    std::uint64_t readable_start = 0;
    std::uint64_t readable_size = 0;
    std::uint64_t stop = 0;  ///< Stack pointer that leave_native() goes back to.
    /// What is left to the execution, in instructions of the interpreter, about (kInsnsPerUnit).
    /// Not above 0: the next helper, function or jump backwards that takes from it ends it.
    std::int64_t budget = INT64_MAX;
    std::int64_t may_goto_reserve = 0;  ///< may_goto leaves its loop when less is left.
    Machine* machine = nullptr;         ///< For helpers.

    // What helpers say that are no calls in native code.
    std::uint64_t current_task = 0;
    std::uint64_t pid_tgid = 0;
    std::int32_t processor = -1;  ///< -1: not known yet; the helper finds out.

    std::uint32_t tail_calls = 0;      ///< Made so far, interpreted ones too.
    std::uint64_t frames_end = 0;      ///< Of all BPF frames of the execution.
    Program** program = nullptr;       ///< The one that runs is noted there.
    NativeHelper interpret = nullptr;  ///< Runs it, where it has no native code. R1: the context.
    NativeHelper end_too_long = nullptr;  ///< Ends the execution.
};

inline constexpr std::int32_t kStateHelpers = 0;
inline constexpr std::int32_t kStateKfuncs = 8;
inline constexpr std::int32_t kStateHelperCount = 16;
inline constexpr std::int32_t kStateFrame = 24;
inline constexpr std::int32_t kStateReadableStart = 32;
inline constexpr std::int32_t kStateReadableSize = 40;
inline constexpr std::int32_t kStateStop = 48;
inline constexpr std::int32_t kStateBudget = 56;
inline constexpr std::int32_t kStateMayGotoReserve = 64;
inline constexpr std::int32_t kStateCurrentTask = 80;
inline constexpr std::int32_t kStatePidTgid = 88;
inline constexpr std::int32_t kStateProcessor = 96;
inline constexpr std::int32_t kStateTailCalls = 100;
inline constexpr std::int32_t kStateFramesEnd = 104;
inline constexpr std::int32_t kStateProgram = 112;
inline constexpr std::int32_t kStateInterpret = 120;
inline constexpr std::int32_t kStateEndTooLong = 128;
static_assert(offsetof(NativeState, helpers) == kStateHelpers);
static_assert(offsetof(NativeState, kfuncs) == kStateKfuncs);
static_assert(offsetof(NativeState, helper_count) == kStateHelperCount);
static_assert(offsetof(NativeState, frame) == kStateFrame);
static_assert(offsetof(NativeState, readable_start) == kStateReadableStart);
static_assert(offsetof(NativeState, readable_size) == kStateReadableSize);
static_assert(offsetof(NativeState, stop) == kStateStop);
static_assert(offsetof(NativeState, budget) == kStateBudget);
static_assert(offsetof(NativeState, may_goto_reserve) == kStateMayGotoReserve);
static_assert(offsetof(NativeState, current_task) == kStateCurrentTask);
static_assert(offsetof(NativeState, pid_tgid) == kStatePidTgid);
static_assert(offsetof(NativeState, processor) == kStateProcessor);
static_assert(offsetof(NativeState, tail_calls) == kStateTailCalls);
static_assert(offsetof(NativeState, frames_end) == kStateFramesEnd);
static_assert(offsetof(NativeState, program) == kStateProgram);
static_assert(offsetof(NativeState, interpret) == kStateInterpret);
static_assert(offsetof(NativeState, end_too_long) == kStateEndTooLong);

extern "C" {

/// Runs a translated function in the frame above state->frame; returns R0, or 0 if leave_native()
/// ended it. `state` may be in use by an outer call, of a helper that calls back; its frame is
/// after it what it was before. Context: any.
std::uint64_t taskwork_enter_native(std::uint64_t r1, std::uint64_t r2, std::uint64_t r3,
                                    std::uint64_t r4, const void* function, NativeState* state);

/// Ends the innermost taskwork_enter_native() of this state, which returns 0. Only from the last
/// C++ frame above translated code: frames in between are dropped without their destructors.
/// Context: any.
[[noreturn]] void taskwork_leave_native(NativeState* state);

}  // extern "C"

}  // namespace taskwork::bpf::jit
