// SPDX-License-Identifier: Apache-2.0
//
// Helpers that native code does without a call say what they say in the interpreter.
#include <cerrno>

#include "bpf/interpreter.hpp"
#include "tests/native/native_domain.hpp"

namespace taskwork::bpf {
namespace {

using namespace test;

class NativeInline : public NativeTest {
protected:
    void expect_same(Program& program, std::uint64_t expected) {
        EXPECT_EQ(run(program), expected);
        EXPECT_FALSE(domain.execution.faulted);
        EXPECT_EQ(run(program, true), expected);
        EXPECT_FALSE(domain.execution.faulted);
    }
    /// Counts its rounds behind R2, and ends with the one of this number.
    static std::vector<Piece> round_that_counts(std::int32_t last) {
        return {load(BPF_DW, R3, R2, 0),
                add(R3, 1),
                store(BPF_DW, R2, 0, R3),
                set(R0, 0),
                jump_if(BPF_JNE, R1, last, 1),
                set(R0, 1),
                leave()};
    }
    /// bpf_loop(rounds), and 1,000 times what it says added to what was counted.
    Program& loop(std::int32_t rounds, std::int32_t last) {
        return native(
            linked({{store_imm(BPF_DW, R10, -8, 0), set(R6, 1), set(R7, 2), set(R8, 3), set(R9, 4),
                     set(R1, rounds), function(R2, 1), copy(R3, R10), add(R3, -8), set(R4, 0),
                     call(BPF_FUNC_loop), alu(BPF_MUL, R0, 1000), load(BPF_DW, R1, R10, -8),
                     alu(BPF_ADD, R0, R1), alu(BPF_ADD, R0, R6), alu(BPF_ADD, R0, R7),
                     alu(BPF_ADD, R0, R8), alu(BPF_ADD, R0, R9), leave()},
                    round_that_counts(last)}));
    }
};

TEST_F(NativeInline, lookups_in_arrays_of_any_size) {
    for (const std::uint32_t size : {8U, 12U, 16U, 24U, 4096U, 1001U}) {
        map::Map& map = domain.array(size, 5);
        for (std::uint32_t key = 0; key < 5; ++key) {
            *static_cast<std::uint64_t*>(map::lookup(map, &key)) = key * 3;
        }
        for (const std::int32_t key : {0, 4, 5, -1, INT32_MIN}) {
            Program& program =
                native({store_imm(BPF_W, R10, -4, key), store_imm(BPF_W, R10, -8, -1),
                        copy(R2, R10), add(R2, -4), domain.wide_map(R1, map),
                        call(BPF_FUNC_map_lookup_elem), jump_if(BPF_JNE, R0, 0, 2), set(R0, 77),
                        leave(), load(BPF_DW, R0, R0, 0), leave()});
            EXPECT_EQ(program.native.call_count, 0u);
            expect_same(program, key >= 0 && key < 5 ? static_cast<std::uint64_t>(key) * 3 : 77);
            BpfDomain::unload(program);
        }
    }
}

TEST_F(NativeInline, a_lookup_that_is_come_to_with_two_maps) {
    map::Map& first = domain.array(8, 1);
    map::Map& second = domain.array(8, 1);
    const std::uint32_t key = 0;
    *static_cast<std::uint64_t*>(map::lookup(first, &key)) = 1;
    *static_cast<std::uint64_t*>(map::lookup(second, &key)) = 2;
    Program& program =
        native({store_imm(BPF_W, R10, -4, 0), copy(R2, R10), add(R2, -4), load(BPF_DW, R3, R1, 168),
                domain.wide_map(R1, first), jump_if(BPF_JNE, R3, 0, 2), domain.wide_map(R1, second),
                call(BPF_FUNC_map_lookup_elem), jump_if(BPF_JNE, R0, 0, 1), leave(),
                load(BPF_DW, R0, R0, 0), leave()});
    EXPECT_EQ(program.native.call_count, 1u);
    expect_same(program, 2);
}

TEST_F(NativeInline, who_and_where) {
    Program& who =
        native({call(BPF_FUNC_get_current_pid_tgid), copy(R6, R0),
                call(BPF_FUNC_get_current_pid_tgid), alu(BPF_XOR, R6, R0), copy(R0, R6), leave()});
    expect_same(who, 0);
    Program& ids = native({call(BPF_FUNC_get_current_pid_tgid), leave()});
    EXPECT_EQ(run(ids), run(ids, true));
    Program& task = native({call(BPF_FUNC_get_current_task), leave()});
    EXPECT_EQ(task.native.call_count, 0u);
    EXPECT_EQ(run(task), reinterpret_cast<std::uint64_t>(task::current()->view));
    // An execution keeps the number of its processor, by whichever way it asks.
    Program& where =
        native({call(BPF_FUNC_get_smp_processor_id), copy(R6, R0),
                call(BPF_FUNC_get_smp_processor_id), alu(BPF_XOR, R6, R0), copy(R0, R6), leave()});
    expect_same(where, 0);
    Program& number = native({call(BPF_FUNC_get_smp_processor_id), leave()});
    EXPECT_LT(run(number), map::MapTable::get().processors.count());
    EXPECT_LT(domain.run_in_nmi(number), map::MapTable::get().processors.count());
}

TEST_F(NativeInline, loops) {
    expect_same(loop(0, 5), 10);
    expect_same(loop(1, 5), 1000 + 1 + 10);
    expect_same(loop(5, 5), 5000 + 5 + 10);
    expect_same(loop(6, 5), 6000 + 6 + 10);
    expect_same(loop(100, 5), 6000 + 6 + 10);
    expect_same(loop(1000, -1), 1000 * 1000 + 1000 + 10);
    expect_same(loop((1 << 23) + 1, 5), static_cast<std::uint64_t>(-E2BIG * 1000 + 10));
    expect_same(loop(-1, 5), static_cast<std::uint64_t>(-E2BIG * 1000 + 10));
}

TEST_F(NativeInline, loops_in_loops) {
    Program& program = native(linked(
        {{store_imm(BPF_DW, R10, -8, 0), set(R1, 7), function(R2, 1), copy(R3, R10), add(R3, -8),
          set(R4, 0), call(BPF_FUNC_loop), load(BPF_DW, R0, R10, -8), leave()},
         {copy(R3, R2), copy(R6, R2), function(R2, 2), set(R1, 11), set(R4, 0), call(BPF_FUNC_loop),
          load(BPF_DW, R1, R6, 0), add(R1, 1000), store(BPF_DW, R6, 0, R1), set(R0, 0), leave()},
         round_that_counts(-1)}));
    expect_same(program, 7 * 1000 + 7 * 11);
}

TEST_F(NativeInline, loops_end_with_the_execution_that_takes_too_long) {
    Program& program = native(linked({{set(R1, 1 << 23), function(R2, 1), set(R3, 0), set(R4, 0),
                                       call(BPF_FUNC_loop), set(R0, 1), leave()},
                                      {set(R0, 0), leave()}}));
    EXPECT_EQ(domain.run_in_nmi(program), 0u);
    EXPECT_TRUE(domain.execution.faulted);
    EXPECT_STREQ(
        describe(static_cast<FaultKind>(program.last_fault_kind.load(std::memory_order_relaxed))),
        describe(FaultKind::too_long));
    // Where the callback begins.
    EXPECT_EQ(program.last_fault_insn.load(std::memory_order_relaxed), 8u + 1);
}

/// A regression: the rounds were charged, and the call was not.
TEST_F(NativeInline, loops_of_no_rounds_in_a_loop_without_end_take_too_long) {
    Program& program =
        native(linked({{set(R1, 0), function(R2, 1), set(R3, 0), set(R4, 0), call(BPF_FUNC_loop),
                        jump_if(BPF_JEQ, R0, 0, -7), set(R0, 1), leave()},
                       {set(R0, 0), leave()}}));
    EXPECT_EQ(domain.run_in_nmi(program), 0u);
    EXPECT_TRUE(domain.execution.faulted);
    EXPECT_STREQ(
        describe(static_cast<FaultKind>(program.last_fault_kind.load(std::memory_order_relaxed))),
        describe(FaultKind::too_long));
}

TEST_F(NativeInline, loops_with_flags_are_those_of_the_helper) {
    Program& program = native(linked({{load(BPF_DW, R4, R1, 168), add(R4, 1), set(R1, 3),
                                       function(R2, 1), set(R3, 0), call(BPF_FUNC_loop), leave()},
                                      {set(R0, 0), leave()}}));
    expect_same(program, negative(EINVAL));
}

}  // namespace
}  // namespace taskwork::bpf
