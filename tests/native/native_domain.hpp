// SPDX-License-Identifier: Apache-2.0
//
// A domain whose programs are verified and translated.
#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "bpf/jit/code_region.hpp"
#include "bpf/test_program.hpp"

namespace taskwork::bpf::test {

/// One function behind the other; function(R, n) and call_function(n) in them name the n-th.
inline std::vector<Piece> linked(std::vector<std::vector<Piece>> functions) {
    std::vector<std::int64_t> starts;
    std::int64_t count = 0;
    for (const auto& pieces : functions) {
        starts.push_back(count);
        for (const Piece& piece : pieces) {
            count += static_cast<std::int64_t>(piece.count);
        }
    }
    std::vector<Piece> program;
    std::int64_t at = 0;
    for (auto& pieces : functions) {
        for (Piece& piece : pieces) {
            bpf_insn& insn = piece.insns[0];
            if ((insn.code == kLoadImmediate64 && insn.src_reg == BPF_PSEUDO_FUNC) ||
                (insn.code == (BPF_JMP | BPF_CALL) && insn.src_reg == BPF_PSEUDO_CALL)) {
                insn.imm =
                    static_cast<std::int32_t>(starts[static_cast<std::size_t>(insn.imm)] - at - 1);
            }
            at += static_cast<std::int64_t>(piece.count);
            program.push_back(piece);
        }
    }
    return program;
}

/// An execution, and one of another program that an event in it makes: plain functions, as
/// task::single_step() wants them.
struct Scene {
    Program* outer = nullptr;
    std::uint64_t result = 0;
    bool faulted = false;
    Program* nested = nullptr;
    std::uint64_t nested_result = 0;  ///< As it must be.
    std::uint64_t nested_runs = 0;
    std::uint64_t nested_wrong = 0;

    static void body(void* scene) {
        auto& self = *static_cast<Scene*>(scene);
        self.result = execute(*self.outer, self.faulted);
    }
    static void event(void* scene) {
        auto& self = *static_cast<Scene*>(scene);
        bool faulted = false;
        ++self.nested_runs;
        if (execute(*self.nested, faulted) != self.nested_result || faulted) {
            ++self.nested_wrong;
        }
    }

private:
    static std::uint64_t execute(Program& program, bool& faulted) {
        static std::uint64_t context[64];
        Execution execution;
        execution.task = task::current();
        execution.program = &program;
        execution.context = context;
        execution.context_size = sizeof(context);
        const std::uint64_t result = bpf::run(execution);
        faulted = execution.faulted;
        return result;
    }
};

class NativeTest : public ::testing::Test {
protected:
    void SetUp() override {
        if (const char* reason = jit::CodeRegion::why_unwanted(); reason != nullptr) {
            GTEST_SKIP() << reason;
        }
        ASSERT_TRUE(jit::CodeRegion::usable());
    }
    void TearDown() override { jit::CodeRegion::unmap(); }

    LoadSpec spec(bool sleepable = false) {
        LoadSpec spec = sleepable ? domain.sleepable_spec() : domain.spec();
        spec.unverified = false;
        return spec;
    }
    /// Fails the test if it is refused or has no native code.
    Program& native(const std::vector<Piece>& pieces, bool sleepable = false) {
        Program& program = domain.load(spec(sleepable), pieces);
        EXPECT_NE(program.native.code, nullptr);
        return program;
    }
    /// Runs it in a context of zeros.
    std::uint64_t run(Program& program, bool interpret = false) {
        static std::uint64_t context[64];
        domain.execution = Execution{};
        Execution& execution = domain.execution;
        execution.task = task::current();
        execution.program = &program;
        execution.context = context;
        execution.context_size = sizeof(context);
        execution.interpret = interpret;
        const task::Section section(execution.task);
        return bpf::run(execution);
    }

    BpfDomain domain;
};

}  // namespace taskwork::bpf::test
