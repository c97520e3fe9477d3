// SPDX-License-Identifier: Apache-2.0
//
// Observer: is told of the walk while it goes on, each state at each instruction and how the walk
// came there. For tests that hold executions against it (tests/fuzz/soundness); nobody observes
// what is loaded to be run.
#pragma once

#include <array>
#include <cstdint>

#include "bpf/verifier/state.hpp"

namespace taskwork::bpf::verifier {

/// Why a path ends at a state that was passed before.
struct Covered {
    const Checkpoint& by;
    bool everything_counts;  ///< Slots that nothing reads and numbers that are not precise, too.
    std::array<std::uint16_t, kFramesMax> live;  ///< Registers that count, by frame.
};

class Observer {
public:
    virtual ~Observer() = default;
    /// The walk of the program, or of a global function (perhaps twice: sleeping, not sleeping),
    /// begins at this instruction.
    /// Context: task.
    virtual void begin(std::uint32_t insn) = 0;
    /// This instruction is walked next. The state is one of a checkpoint if it has a parent and no
    /// history since.
    /// Context: task.
    virtual void walk(std::uint32_t insn, const State& state) = 0;
    /// From the instruction of the latest walk() another way leads on, which is put off.
    /// Context: task.
    virtual void put_off() = 0;
    /// The way that was put off last, or the beginning, is walked now.
    /// Context: task.
    virtual void take_up() = 0;
    /// The path ends before this instruction.
    /// Context: task.
    virtual void prune(std::uint32_t insn, const State& state, const Covered& covered) = 0;
};

}  // namespace taskwork::bpf::verifier
