// SPDX-License-Identifier: Apache-2.0
//
// How far executions go whose loops the verifier has not walked to their ends: no further in native
// code than the limit allows, whatever is in a round. Judged by rounds, which a value counts.
#include <utility>

#include "bpf/interpreter.hpp"
#include "tests/native/native_domain.hpp"

namespace taskwork::bpf {
namespace {

using namespace test;

using Code = std::vector<Piece>;

/// Rounds of the loop that is in each round, a loop that has been walked: of two instructions.
constexpr int kInner = 2000;
constexpr std::int32_t kMany = 8 << 20;

class NativeLimits : public NativeTest {
protected:
    map::Map& rounds_ = domain.array(8, 1);

    /// Counts, and goes round; as a callback, too.
    [[nodiscard]] Code inner() const {
        return {domain.wide_value(R1, rounds_, 0),
                load(BPF_DW, R2, R1, 0),
                add(R2, 1),
                store(BPF_DW, R1, 0, R2),
                set(R0, kInner),
                add(R0, -1),
                jump_if(BPF_JNE, R0, 0, -2),
                leave()};
    }
    /// All functions but the first are global, if it is wanted.
    Program& program(const std::vector<Code>& functions, bool global = false) {
        LoadSpec with = spec();
        std::uint32_t insn = 0;
        for (const Code& function : functions) {
            with.functions.push_back(
                {.insn = insn, .name = "function", .is_global = global && insn != 0});
            for (const Piece& piece : function) {
                insn += static_cast<std::uint32_t>(piece.count);
            }
        }
        Program& loaded = domain.load(with, linked(functions));
        EXPECT_NE(loaded.native.code, nullptr);
        return loaded;
    }
    std::uint64_t take_rounds() {
        const std::uint32_t key = 0;
        return std::exchange(*static_cast<std::uint64_t*>(map::lookup(rounds_, &key)), 0);
    }
    std::uint64_t run_at(Level level, Program& program, bool interpret) {
        if (level == Level::task) {
            return run(program, interpret);
        }
        Execution& execution = domain.execution;
        execution = Execution{};
        execution.task = task::current();
        execution.program = &program;
        std::uint64_t context[64] = {};
        execution.context = context;
        execution.context_size = sizeof(context);
        execution.interpret = interpret;
        const task::NmiScope scope(*execution.task, platform::stack_pointer(), false);
        EXPECT_TRUE(scope.entered());
        return bpf::run(execution);
    }
    /// In both engines, at both levels; `fault`: FaultKind::none if it comes to its end.
    void expect_end(Program& program, FaultKind fault) {
        for (const Level level : {Level::nmi, Level::task}) {
            for (const bool interpret : {true, false}) {
                SCOPED_TRACE(std::string(level == Level::nmi ? "nmi" : "task") +
                             (interpret ? ", interpreted" : ", native"));
                program.last_fault_kind.store(0, std::memory_order_relaxed);
                EXPECT_EQ(run_at(level, program, interpret), 0u);
                EXPECT_EQ(domain.execution.faulted, fault != FaultKind::none);
                EXPECT_STREQ(describe(static_cast<FaultKind>(
                                 program.last_fault_kind.load(std::memory_order_relaxed))),
                             describe(fault));
                // A round of the inner loop costs 1 in native code, and 2 in the interpreter.
                const std::uint64_t limit = kInsnsMax[static_cast<unsigned>(level)];
                const std::uint64_t rounds = take_rounds();
                EXPECT_LE(rounds, limit / kInner + 1);
                EXPECT_GE(rounds, limit / kInner / 4);
            }
        }
    }
};

TEST_F(NativeLimits, hold_for_a_loop_of_may_goto_that_calls_a_function) {
    const bpf_insn may_goto = make(BPF_JMP | kOpConditionalPseudo, 0, 0, 2, 0);
    // The loop ends before the instructions do, and the program with it.
    expect_end(program({{may_goto, call_function(1), jump(-3), set(R0, 0), leave()}, inner()}),
               FaultKind::none);
}

TEST_F(NativeLimits, hold_for_callbacks_of_bpf_loop) {
    const auto loop = [](const Piece& count, std::int32_t callback) -> Code {
        return {count,      function(R2, callback), set(R3, 0),
                set(R4, 0), call(BPF_FUNC_loop),    set(R0, 0),
                leave()};
    };
    expect_end(program({loop(set(R1, kMany), 1), inner()}), FaultKind::too_long);
    // Two of them; and what one calls calls another function.
    expect_end(program({loop(set(R1, kMany), 1),
                        loop(set(R1, 3), 2),
                        {call_function(3), set(R0, 0), leave()},
                        inner()}),
               FaultKind::too_long);
    // The helper, not what stands for it: two callbacks come to it.
    Code either = {load(BPF_DW, R5, R1, 0), function(R2, 1), jump_if(BPF_JEQ, R5, 0, 2),
                   function(R2, 2)};
    const Code rest = {set(R1, kMany),      set(R3, 0), set(R4, 0),
                       call(BPF_FUNC_loop), set(R0, 0), leave()};
    either.insert(either.end(), rest.begin(), rest.end());
    expect_end(program({either, inner(), inner()}), FaultKind::too_long);
}

TEST_F(NativeLimits, hold_for_an_iterator) {
    expect_end(program({{copy(R6, R10), add(R6, -8), copy(R1, R6), set(R2, 0), set(R3, kMany),
                         BpfDomain::call_kfunc("bpf_iter_num_new"), copy(R1, R6),
                         BpfDomain::call_kfunc("bpf_iter_num_next"), jump_if(BPF_JEQ, R0, 0, 2),
                         call_function(1), jump(-5), copy(R1, R6),
                         BpfDomain::call_kfunc("bpf_iter_num_destroy"), set(R0, 0), leave()},
                        inner()}),
               FaultKind::too_long);
}

TEST_F(NativeLimits, hold_for_the_elements_of_a_map) {
    map::Map& elements = domain.array(8, 40000);
    expect_end(program({{domain.wide_map(R1, elements), function(R2, 1), set(R3, 0), set(R4, 0),
                         call(BPF_FUNC_for_each_map_elem), set(R0, 0), leave()},
                        inner()}),
               FaultKind::too_long);
}

TEST_F(NativeLimits, hold_for_global_functions_each_of_which_is_walked_once) {
    const auto calls = [](std::int32_t callee) -> Code {
        return {set(R6, 2000), call_function(callee),
                add(R6, -1),   jump_if(BPF_JNE, R6, 0, -3),
                set(R0, 0),    leave()};
    };
    expect_end(program({calls(1), calls(2), inner()}, true), FaultKind::too_long);
}

TEST_F(NativeLimits, are_not_touched_by_what_the_verifier_has_walked) {
    Program& walked = program({{call_function(1), set(R0, 0), leave()}, inner()});
    EXPECT_EQ(run(walked), 0u);
    EXPECT_EQ(domain.execution.budget, std::int64_t{kInsnsMax[0]});
    EXPECT_EQ(run(walked, true), 0u);
    EXPECT_EQ(domain.execution.budget, std::int64_t{kInsnsMax[0]} - 3 - 2 * kInner - 6);
}

}  // namespace
}  // namespace taskwork::bpf
