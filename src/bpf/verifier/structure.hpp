// SPDX-License-Identifier: Apache-2.0
//
// What the instructions say without being walked: functions, reachable code, where states are
// worth comparing, which registers are read later. Of this folder only.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "bpf/isa.hpp"
#include "bpf/verifier/verifier.hpp"

namespace taskwork::bpf::verifier {

struct Function {
    std::uint32_t begin = 0;
    std::uint32_t end = 0;
    const FunctionInfo* info = nullptr;
    std::uint32_t stack_bytes = 0;  ///< Deepest access found by the walk.
    bool is_async_callback = false;
    /// A global function, to be verified by itself: as one that must not sleep, as one that may.
    std::array<bool, 2> is_called_global{};
    bool calls_programs = false;  ///< Has tail calls.
    bool may_sleep = false;       ///< It, or what it calls, calls what may.
    [[nodiscard]] bool is_global() const { return info != nullptr && info->is_global; }
    [[nodiscard]] const char* name() const { return info == nullptr ? "" : info->name.c_str(); }
};

/// Instructions at which paths that come round again end, if they bring nothing new.
enum class Round : std::uint8_t {
    none,
    callback,  ///< A helper that calls a callback in place.
    iterator,  ///< bpf_iter_num_next
    may_goto,
};

struct Structure {
    std::vector<Function> functions;         ///< By address.
    std::vector<std::uint32_t> function_of;  ///< An instruction.
    std::vector<bool> prune_point;           ///< Paths meet here.
    std::vector<Round> round;                ///< All but none are prune points.
    std::vector<std::uint16_t> live;         ///< Registers that are read here or later.

    /// The function that begins at `insn`.
    [[nodiscard]] std::uint32_t function_at(std::uint32_t insn) const { return function_of[insn]; }
    /// False: `insn` and `reason` say what is wrong.
    bool analyse(const Input& input, std::uint32_t& insn, std::string& reason);
    /// As the kernel counts it, over all chains of calls: whether 512 bytes are enough.
    /// `frames`: the most of a chain.
    bool check_stack(const Input& input, std::uint32_t& insn, std::string& reason,
                     unsigned& frames) const;
    /// Verdict::insns_max, after a walk of `processed` instructions. No path comes to the same
    /// state twice, so none is longer than the walk; but a global function is walked once for all
    /// calls.
    [[nodiscard]] std::uint64_t insns_max(std::uint32_t processed) const;

private:
    void find_functions(const Input& input);
    bool check_tail_calls(std::string& reason) const;
    bool find_reachable(const Input& input, std::uint32_t& insn, std::string& reason);
    void find_sleeping(const Input& input);
    void find_live(const Input& input);
};

bool is_call(const bpf_insn& insn, CallKind kind);
bool is_tail_call(const bpf_insn& insn);
/// Where a subprogram call or the address of a function leads.
inline std::uint32_t callee_of(const bpf_insn& insn, std::uint32_t index) {
    return static_cast<std::uint32_t>(std::int64_t{index} + 1 + insn.imm);
}

}  // namespace taskwork::bpf::verifier
