// SPDX-License-Identifier: Apache-2.0
//
// Of tests: what an execution does, instruction by instruction. Only the interpreter of the
// checking build (checking.hpp) asks for it.
#pragma once

#include <cstdint>

namespace taskwork::bpf {

class ExecutionObserver {
public:
    virtual ~ExecutionObserver() = default;
    /// The instruction is executed next, in this frame, with these eleven registers. False ends the
    /// execution as one that takes too long.
    virtual bool at(std::uint32_t insn, unsigned depth, const std::uint64_t* registers) = 0;

    /// Of all executions; nullptr: nobody.
    static ExecutionObserver* current;
};

inline bool observe(std::uint32_t insn, unsigned depth, const std::uint64_t* registers) {
    ExecutionObserver* const observer = ExecutionObserver::current;
    return observer == nullptr || observer->at(insn, depth, registers);
}

}  // namespace taskwork::bpf
