// SPDX-License-Identifier: Apache-2.0
//
// How often loops go round: by may_goto, by numeric iterators. What they do besides, as the kernel
// has it, is checked by tests/bpf/check_iterators.bpf.c.

#include <cerrno>

#include "bpf/test_program.hpp"

namespace taskwork::bpf {
namespace {

using namespace test;

constexpr bpf_insn may_goto(int off) { return make(BPF_JMP | kOpConditionalPseudo, 0, 0, off, 0); }

class Loops : public ::testing::Test {
protected:
    BpfDomain domain;
};

TEST_F(Loops, go_round_by_may_goto_8388608_times_in_a_call_of_a_function) {
    Program& program = domain.load({
        set(R6, 0),
        may_goto(2),  // 1
        add(R6, 1),
        jump(-3),
        call_function(2),
        alu(BPF_ADD, R0, R6),
        leave(),
        // Another call, other rounds: 7
        set(R0, 0),
        may_goto(3),
        add(R0, 1),
        jump_if(BPF_JEQ, R0, 1000, 1),
        jump(-4),
        // Back in the caller there are no more.
        leave(),
    });
    EXPECT_EQ(domain.run(program), 8388608u + 1000u);
    EXPECT_FALSE(domain.execution.faulted);
}

TEST_F(Loops, have_no_more_rounds_in_the_caller_after_a_call) {
    Program& program = domain.load({
        set(R6, 0),
        may_goto(2),
        add(R6, 1),
        jump(-3),
        call_function(4),
        may_goto(1),
        set(R6, 0),
        copy(R0, R6),
        leave(),
        may_goto(0),
        set(R0, 0),
        leave(),
    });
    EXPECT_EQ(domain.run(program), 8388608u);
}

TEST_F(Loops, by_may_goto_end_before_the_instructions_do) {
    const std::vector<Piece> endless{set(R0, 0), may_goto(2), add(R0, 1), jump(-3), leave()};
    Program& program = domain.load(endless);
    // Three quarters of a million in nmi, three a round.
    EXPECT_EQ(domain.run_in_nmi(program), 250000u);
    EXPECT_FALSE(domain.execution.faulted);

    std::vector<Piece> outer{set(R6, 0), may_goto(7),  set(R7, 0), may_goto(2),
                             add(R7, 1), jump(-3),     add(R6, 1), jump(-7),
                             jump(0),    copy(R0, R6), leave()};
    Program& nested = domain.load(outer);
    EXPECT_EQ(domain.run_in_nmi(nested), 1u);
    EXPECT_FALSE(domain.execution.faulted);
}

TEST_F(Loops, count_their_rounds_anew_in_each_callback) {
    Program& program = domain.load({
        set(R1, 100),
        function(R2, 8),  // 1
        store_imm(BPF_DW, R10, -8, 0),
        copy(R3, R10),
        add(R3, -8),
        set(R4, 0),
        call(BPF_FUNC_loop),
        load(BPF_DW, R0, R10, -8),
        leave(),
        // 50 rounds more in what R2 points to.
        set(R0, 0),  // 10
        may_goto(3),
        add(R0, 1),
        jump_if(BPF_JEQ, R0, 50, 1),
        jump(-4),
        load(BPF_DW, R1, R2, 0),
        alu(BPF_ADD, R1, R0),
        store(BPF_DW, R2, 0, R1),
        set(R0, 0),
        leave(),
    });
    EXPECT_EQ(domain.run(program), 5000u);
}

/// Iterates over [start, end) and returns how many numbers there were, or the error of _new.
std::vector<Piece> iterating(std::int32_t start, std::int32_t end) {
    return {
        copy(R6, R10),
        add(R6, -8),
        copy(R1, R6),
        set(R2, start),
        set(R3, end),
        BpfDomain::call_kfunc("bpf_iter_num_new"),
        copy(R8, R0),
        set(R7, 0),
        copy(R1, R6),  // 8
        BpfDomain::call_kfunc("bpf_iter_num_next"),
        jump_if(BPF_JEQ, R0, 0, 2),
        add(R7, 1),
        jump(-5),
        copy(R1, R6),
        BpfDomain::call_kfunc("bpf_iter_num_destroy"),
        jump_if(BPF_JEQ, R8, 0, 1),
        copy(R7, R8),
        copy(R0, R7),
        leave(),
    };
}

TEST_F(Loops, iterate_over_8388608_numbers_and_not_one_more) {
    EXPECT_EQ(domain.run(domain.load(iterating(-1, 8388607))), 8388608u);
    EXPECT_EQ(domain.run(domain.load(iterating(-1, 8388608))), negative(E2BIG));
    EXPECT_EQ(domain.run(domain.load(iterating(INT32_MIN, INT32_MAX))), negative(E2BIG));
    EXPECT_EQ(domain.run(domain.load(iterating(INT32_MIN, INT32_MIN + 3))), 3u);
    EXPECT_EQ(domain.run(domain.load(iterating(INT32_MAX - 3, INT32_MAX))), 3u);
    EXPECT_EQ(domain.run(domain.load(iterating(INT32_MAX, INT32_MAX))), 0u);
    EXPECT_EQ(domain.run(domain.load(iterating(1, 0))), negative(EINVAL));
}

TEST_F(Loops, refuse_an_iterator_that_is_not_in_memory_of_the_program) {
    for (const char* kfunc : {"bpf_iter_num_new", "bpf_iter_num_next", "bpf_iter_num_destroy"}) {
        SCOPED_TRACE(kfunc);
        for (const int offset : {0, 8, -12, -520}) {
            Program& program = domain.load({copy(R1, R10), add(R1, offset), set(R2, 0), set(R3, 1),
                                            BpfDomain::call_kfunc(kfunc), leave()});
            domain.expect_fault(program, FaultKind::bad_argument, 4);
        }
    }
}

}  // namespace
}  // namespace taskwork::bpf
