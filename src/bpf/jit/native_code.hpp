// SPDX-License-Identifier: Apache-2.0
//
// NativeCode: the translation of a program that has been loaded, as all members of its domain find
// it in the Program.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/context.hpp"

namespace taskwork::bpf::jit {

/// An instruction, and a place in the native code.
struct Place {
    std::uint32_t insn;
    std::uint32_t offset;
};

/// An execution's budget bounds its time, and native code is about so many times as fast as the
/// interpreter, in whose instructions it is counted. A translation that counts (Source::counts)
/// takes from it, and ends the execution when nothing is left,
///
///     where a function begins     1 and a part for each of its instructions
///     at each jump backwards      1 and a part for each instruction that it goes back over
///
/// and so at least a part for each instruction that is run: between two jumps backwards it is one
/// forward, of no more than what the function has or was jumped back over.
inline constexpr std::uint32_t kInsnsPerUnit = 16;
/// On top, for each call of a helper that takes nothing itself (jit::bare_adapter).
inline constexpr std::uint32_t kBareCallCost = 4;

struct NativeCode {
    const std::byte* code = nullptr;  ///< In the code region; nullptr: the program is interpreted.
    std::uint32_t bytes = 0;
    std::uint32_t function_count = 0;
    std::uint32_t call_count = 0;
    /// In the arena, as Image has them; the calls stand behind the functions.
    const Place* functions = nullptr;
    [[nodiscard]] const Place* calls() const noexcept { return functions + function_count; }

    /// The function that begins at this instruction. Precondition: one does.
    /// Context: any.
    [[nodiscard]] const void* function(std::uint32_t insn) const noexcept {
        std::uint32_t low = 0;
        std::uint32_t high = function_count;
        while (high - low > 1) {
            const std::uint32_t middle = low + (high - low) / 2;
            (functions[middle].insn <= insn ? low : high) = middle;
        }
        return code + functions[low].offset;
    }
    /// The instruction of the call that returns to this address, + 1; 0: none does.
    /// Context: any.
    [[nodiscard]] std::uint32_t call_before(const void* address) const noexcept {
        const auto offset =
            static_cast<std::uint64_t>(static_cast<const std::byte*>(address) - code);
        for (std::uint32_t i = 0; i < call_count; ++i) {
            if (calls()[i].offset == offset) {
                return calls()[i].insn + 1;
            }
        }
        return 0;
    }
};

struct Source;

/// Translates, and places what comes of it where all members find it. No code: this domain has no
/// region for it, there is no room, or something has no translation. Host only.
/// Context: task.
TW_TASK_ONLY NativeCode make_native(const Source& source);

/// Gives it back, when nobody runs it any more. Host only.
/// Context: task, irq.
void release_native(NativeCode& native) noexcept;

}  // namespace taskwork::bpf::jit
