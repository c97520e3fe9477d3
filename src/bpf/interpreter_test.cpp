// SPDX-License-Identifier: Apache-2.0
#include "bpf/interpreter.hpp"

#include <cerrno>

#include "bpf/kernel_btf/task_struct.h"
#include "bpf/statistics.hpp"
#include "bpf/test_program.hpp"

namespace taskwork::bpf {
namespace {

using namespace test;

constexpr std::uint64_t kMinus1 = ~std::uint64_t{0};

class Interpreter : public ::testing::Test {
protected:
    /// `a` op `b` by register and, where `b` fits an immediate, by immediate, in both widths.
    std::uint64_t compute(unsigned width, int operation, std::uint64_t a, std::uint64_t b,
                          int off = 0) {
        const bpf_insn insn =
            width == 64 ? alu(operation, R0, R1, off) : alu32(operation, R0, R1, off);
        const std::uint64_t result =
            domain.run(domain.load({wide(R0, a), wide(R1, b), insn, leave()}));
        const auto imm = static_cast<std::int32_t>(b);
        const bool fits = width == 32 || static_cast<std::uint64_t>(std::int64_t{imm}) == b;
        const bool shift = operation == BPF_LSH || operation == BPF_RSH || operation == BPF_ARSH;
        const bool zero_divisor = (operation == BPF_DIV || operation == BPF_MOD) && imm == 0;
        const bool sign_move = operation == BPF_MOV && off != 0;
        if (fits && !zero_divisor && !sign_move && !(shift && b >= width)) {
            const bpf_insn by_immediate =
                width == 64 ? alu(operation, R0, imm, off) : alu32(operation, R0, imm, off);
            EXPECT_EQ(domain.run(domain.load({wide(R0, a), by_immediate, leave()})), result)
                << "by immediate: operation " << operation << " width " << width;
        }
        return result;
    }
    std::uint64_t unary(bpf_insn insn, std::uint64_t value) {
        return domain.run(domain.load({wide(R0, value), insn, leave()}));
    }
    bool jumps(bpf_insn insn, std::uint64_t a, std::uint64_t b) {
        return domain.run(domain.load({wide(R1, a), wide(R2, b), insn, set(R0, 0), leave(),
                                       set(R0, 1), leave()})) == 1;
    }

    BpfDomain domain;
};

// ---- Arithmetic ---------------------------------------------------------------------------------

TEST_F(Interpreter, adds_subtracts_and_multiplies_in_both_widths) {
    EXPECT_EQ(compute(64, BPF_ADD, 0xffffffff, 1), 0x100000000u);
    EXPECT_EQ(compute(32, BPF_ADD, 0xffffffff, 1), 0u);
    EXPECT_EQ(compute(64, BPF_ADD, 5, kMinus1), 4u);
    EXPECT_EQ(compute(64, BPF_SUB, 3, 5), static_cast<std::uint64_t>(-2));
    EXPECT_EQ(compute(32, BPF_SUB, 3, 5), 0xfffffffeu);
    EXPECT_EQ(compute(64, BPF_MUL, 0x100000001, 3), 0x300000003u);
    EXPECT_EQ(compute(32, BPF_MUL, 0x100000001, 3), 3u);
    EXPECT_EQ(compute(64, BPF_MUL, 7, static_cast<std::uint64_t>(-3)),
              static_cast<std::uint64_t>(-21));
}

TEST_F(Interpreter, clears_the_upper_half_after_every_operation_of_32_bits) {
    const std::uint64_t high = 0xdeadbeef00000000;
    for (int operation : {BPF_ADD, BPF_SUB, BPF_OR, BPF_XOR, BPF_LSH, BPF_RSH, BPF_ARSH, BPF_DIV,
                          BPF_MOD, BPF_MOV, BPF_MUL, BPF_AND}) {
        EXPECT_EQ(compute(32, operation, high | 8, 1) >> 32, 0u) << operation;
    }
    EXPECT_EQ(unary(make(BPF_ALU | BPF_NEG, R0, 0, 0, 0), high | 1), 0xffffffffu);
}

TEST_F(Interpreter, divides_by_zero_to_zero_and_leaves_the_remainder) {
    EXPECT_EQ(compute(64, BPF_DIV, 100, 0), 0u);
    EXPECT_EQ(compute(32, BPF_DIV, 100, 0), 0u);
    EXPECT_EQ(compute(64, BPF_MOD, 0x500000064, 0), 0x500000064u);
    EXPECT_EQ(compute(32, BPF_MOD, 0x500000064, 0), 0x64u);
    EXPECT_EQ(compute(64, BPF_DIV, 100, 0, kSignedDivision), 0u);
    EXPECT_EQ(compute(64, BPF_MOD, 100, 0, kSignedDivision), 100u);
    // Only the lower half counts in 32 bits.
    EXPECT_EQ(compute(32, BPF_DIV, 100, 0x100000000), 0u);
}

TEST_F(Interpreter, divides_unsigned_and_signed) {
    const auto minus_7 = static_cast<std::uint64_t>(-7);
    EXPECT_EQ(compute(64, BPF_DIV, minus_7, 2), minus_7 / 2);
    EXPECT_EQ(compute(32, BPF_DIV, minus_7, 2), 0xfffffff9u / 2);
    EXPECT_EQ(compute(64, BPF_DIV, minus_7, 2, kSignedDivision), static_cast<std::uint64_t>(-3));
    EXPECT_EQ(compute(32, BPF_DIV, minus_7, 2, kSignedDivision), 0xfffffffdu);
    EXPECT_EQ(compute(64, BPF_MOD, minus_7, 2, kSignedDivision), kMinus1);
    EXPECT_EQ(compute(32, BPF_MOD, minus_7, 2, kSignedDivision), 0xffffffffu);
    EXPECT_EQ(compute(64, BPF_MOD, minus_7, 4), minus_7 % 4);
}

TEST_F(Interpreter, divides_the_most_negative_number_by_minus_one) {
    const std::uint64_t least = std::uint64_t{1} << 63;
    EXPECT_EQ(compute(64, BPF_DIV, least, kMinus1, kSignedDivision), least);
    EXPECT_EQ(compute(64, BPF_MOD, least, kMinus1, kSignedDivision), 0u);
    EXPECT_EQ(compute(32, BPF_DIV, 0x80000000, 0xffffffff, kSignedDivision), 0x80000000u);
    EXPECT_EQ(compute(32, BPF_MOD, 0x80000000, 0xffffffff, kSignedDivision), 0u);
}

TEST_F(Interpreter, works_on_bits) {
    EXPECT_EQ(compute(64, BPF_OR, 0xf0f0f0f0f0, 0x0f), 0xf0f0f0f0ffu);
    EXPECT_EQ(compute(64, BPF_AND, kMinus1, static_cast<std::uint64_t>(-16)),
              static_cast<std::uint64_t>(-16));
    EXPECT_EQ(compute(32, BPF_AND, kMinus1, static_cast<std::uint64_t>(-16)), 0xfffffff0u);
    EXPECT_EQ(compute(64, BPF_XOR, 0xff, kMinus1), ~std::uint64_t{0xff});
    EXPECT_EQ(compute(32, BPF_XOR, 0xff, kMinus1), 0xffffff00u);
}

TEST_F(Interpreter, shifts_and_takes_counts_modulo_the_width) {
    EXPECT_EQ(compute(64, BPF_LSH, 1, 63), std::uint64_t{1} << 63);
    EXPECT_EQ(compute(64, BPF_LSH, 1, 64), 1u);
    EXPECT_EQ(compute(32, BPF_LSH, 1, 31), 0x80000000u);
    EXPECT_EQ(compute(32, BPF_LSH, 1, 33), 2u);
    EXPECT_EQ(compute(64, BPF_RSH, kMinus1, 63), 1u);
    EXPECT_EQ(compute(64, BPF_RSH, 4, 65), 2u);
    EXPECT_EQ(compute(32, BPF_RSH, kMinus1, 31), 1u);
    EXPECT_EQ(compute(64, BPF_ARSH, std::uint64_t{1} << 63, 63), kMinus1);
    EXPECT_EQ(compute(32, BPF_ARSH, 0x80000000, 31), 0xffffffffu);
    EXPECT_EQ(compute(32, BPF_ARSH, 0x40000000, 30), 1u);
}

TEST_F(Interpreter, moves_and_extends_signs) {
    EXPECT_EQ(compute(64, BPF_MOV, 0, static_cast<std::uint64_t>(-5)),
              static_cast<std::uint64_t>(-5));
    EXPECT_EQ(compute(32, BPF_MOV, 0, static_cast<std::uint64_t>(-5)), 0xfffffffbu);
    EXPECT_EQ(compute(64, BPF_MOV, 0, 0x180, 8), static_cast<std::uint64_t>(-128));
    EXPECT_EQ(compute(64, BPF_MOV, 0, 0x18000, 16), static_cast<std::uint64_t>(-32768));
    EXPECT_EQ(compute(64, BPF_MOV, 0, 0x180000000, 32), 0xffffffff80000000u);
    EXPECT_EQ(compute(32, BPF_MOV, 0, 0x80, 8), 0xffffff80u);
    EXPECT_EQ(compute(32, BPF_MOV, 0, 0x8000, 16), 0xffff8000u);
    EXPECT_EQ(compute(64, BPF_MOV, 0, 0x7f, 8), 0x7fu);
}

TEST_F(Interpreter, negates_and_swaps_bytes) {
    const std::uint64_t value = 0x0102030405060708;
    EXPECT_EQ(unary(make(BPF_ALU64 | BPF_NEG, R0, 0, 0, 0), 5), static_cast<std::uint64_t>(-5));
    const auto swapped = [&](unsigned code, int bits) {
        return unary(make(code, R0, 0, 0, bits), value);
    };
    EXPECT_EQ(swapped(BPF_ALU | BPF_END | BPF_TO_BE, 16), 0x0807u);
    EXPECT_EQ(swapped(BPF_ALU | BPF_END | BPF_TO_BE, 32), 0x08070605u);
    EXPECT_EQ(swapped(BPF_ALU | BPF_END | BPF_TO_BE, 64), 0x0807060504030201u);
    EXPECT_EQ(swapped(BPF_ALU | BPF_END | BPF_TO_LE, 16), 0x0708u);
    EXPECT_EQ(swapped(BPF_ALU | BPF_END | BPF_TO_LE, 32), 0x05060708u);
    EXPECT_EQ(swapped(BPF_ALU | BPF_END | BPF_TO_LE, 64), value);
    EXPECT_EQ(swapped(BPF_ALU64 | BPF_END, 16), 0x0807u);
    EXPECT_EQ(swapped(BPF_ALU64 | BPF_END, 32), 0x08070605u);
    EXPECT_EQ(swapped(BPF_ALU64 | BPF_END, 64), 0x0807060504030201u);
}

TEST_F(Interpreter, loads_immediates_of_64_bits) {
    EXPECT_EQ(domain.run(domain.load({wide(R0, 0x8000000180000002), leave()})),
              0x8000000180000002u);
}

// ---- Jumps --------------------------------------------------------------------------------------

TEST_F(Interpreter, compares_unsigned_and_signed_in_both_widths) {
    struct Case {
        int operation;
        std::uint64_t a;
        std::uint64_t b;
        bool wide;    // taken by a jump of 64 bits
        bool narrow;  // by one of 32 bits
    };
    const std::uint64_t high = 0x100000000;
    const Case cases[] = {
        {BPF_JEQ, 7, 7, true, true},         {BPF_JEQ, high | 7, 7, false, true},
        {BPF_JNE, 7, 7, false, false},       {BPF_JNE, high | 7, 7, true, false},
        {BPF_JGT, 7, 7, false, false},       {BPF_JGT, kMinus1, 7, true, true},
        {BPF_JGT, high, 7, true, false},     {BPF_JGE, 7, 7, true, true},
        {BPF_JGE, 6, 7, false, false},       {BPF_JLT, 6, 7, true, true},
        {BPF_JLT, 7, 7, false, false},       {BPF_JLT, high, 7, false, true},
        {BPF_JLE, 7, 7, true, true},         {BPF_JLE, 8, 7, false, false},
        {BPF_JSET, 6, 2, true, true},        {BPF_JSET, 4, 3, false, false},
        {BPF_JSET, high, high, true, false}, {BPF_JSGT, kMinus1, 0, false, false},
        {BPF_JSGT, 1, kMinus1, true, true},  {BPF_JSGT, 0x80000000, 0, true, false},
        {BPF_JSGE, 0, 0, true, true},        {BPF_JSGE, kMinus1, 0, false, false},
        {BPF_JSLT, kMinus1, 0, true, true},  {BPF_JSLT, 0x80000000, 0, false, true},
        {BPF_JSLE, 0, 0, true, true},        {BPF_JSLE, 1, kMinus1, false, false},
    };
    for (const Case& c : cases) {
        SCOPED_TRACE(::testing::Message()
                     << "operation " << c.operation << " " << c.a << " " << c.b);
        EXPECT_EQ(jumps(jump_if(c.operation, R1, R2, 2), c.a, c.b), c.wide);
        EXPECT_EQ(jumps(jump32_if(c.operation, R1, R2, 2), c.a, c.b), c.narrow);
        const auto imm = static_cast<std::int32_t>(c.b);
        if (static_cast<std::uint64_t>(std::int64_t{imm}) == c.b) {
            EXPECT_EQ(jumps(jump_if(c.operation, R1, imm, 2), c.a, c.b), c.wide);
            EXPECT_EQ(jumps(jump32_if(c.operation, R1, imm, 2), c.a, c.b), c.narrow);
        }
    }
}

TEST_F(Interpreter, jumps_forward_backward_and_far) {
    // Sums 1..10.
    EXPECT_EQ(domain.run(domain.load({set(R0, 0), set(R1, 10), alu(BPF_ADD, R0, R1), add(R1, -1),
                                      jump_if(BPF_JNE, R1, std::int64_t{0}, -3), leave()})),
              55u);
    EXPECT_EQ(domain.run(domain.load({make(BPF_JMP32 | BPF_JA, 0, 0, 0, 2), set(R0, 1), leave(),
                                      set(R0, 2), jump(0), leave()})),
              2u);
}

// ---- Functions ----------------------------------------------------------------------------------

TEST_F(Interpreter, calls_functions_that_keep_the_callers_registers_and_frame) {
    Program& program = domain.load({
        set(R6, 1),
        set(R7, 2),
        set(R8, 3),
        set(R9, 4),  // 0
        store_imm(BPF_DW, R10, -8, 77),
        set(R1, 5),
        set(R2, 6),
        call_function(8),  // 4
        alu(BPF_ADD, R0, R6),
        alu(BPF_ADD, R0, R7),
        alu(BPF_ADD, R0, R8),  // 8
        alu(BPF_ADD, R0, R9),
        load(BPF_DW, R1, R10, -8),  // 11
        alu(BPF_ADD, R0, R1),
        leave(),
        leave(),  // 13
        set(R6, 100),
        set(R7, 100),
        set(R8, 100),
        set(R9, 100),  // 16
        store_imm(BPF_DW, R10, -8, 1000),
        copy(R0, R1),
        alu(BPF_ADD, R0, R2),
        leave(),
    });
    EXPECT_EQ(domain.run(program), 11u + 10 + 77);
}

TEST_F(Interpreter, lets_a_function_use_its_callers_frame_through_a_pointer) {
    Program& program =
        domain.load({store_imm(BPF_DW, R10, -8, 20), copy(R1, R10), add(R1, -8), call_function(2),
                     load(BPF_DW, R0, R10, -8), leave(), load(BPF_DW, R2, R1, 0), add(R2, 1),
                     store(BPF_DW, R1, 0, R2), leave()});
    EXPECT_EQ(domain.run(program), 21u);
}

TEST_F(Interpreter, ends_a_recursion_that_needs_more_than_8_frames) {
    // f(n): n == 0 ? 0 : f(n - 1); frame 0 is the main program's.
    const auto recurse = [&](int depth) -> Program& {
        return domain.load({set(R1, depth), call_function(1), leave(),
                            jump_if(BPF_JEQ, R1, std::int64_t{0}, 3), add(R1, -1),
                            call_function(-3), leave(), set(R0, 7), leave()});
    };
    EXPECT_EQ(domain.run(recurse(6)), 7u);
    domain.expect_fault(recurse(7), FaultKind::too_deep, 5);
}

TEST_F(Interpreter, ends_a_program_that_runs_too_long) {
    Program& endless = domain.load({jump(-1), leave()});
    domain.run_in_nmi(endless);
    EXPECT_TRUE(domain.execution.faulted);
    EXPECT_EQ(endless.last_fault_kind.load(std::memory_order_relaxed),
              static_cast<std::uint64_t>(FaultKind::too_long));

    // Both sides of the limit: `count` loops of two instructions, three around them.
    const auto count_down = [&](std::int64_t count) -> Program& {
        return domain.load({set(R1, count), add(R1, -1), jump_if(BPF_JNE, R1, std::int64_t{0}, -2),
                            set(R0, 1), leave()});
    };
    const auto loops = static_cast<std::int64_t>(kInsnsMax[static_cast<int>(Level::nmi)] - 3) / 2;
    EXPECT_EQ(domain.run_in_nmi(count_down(loops)), 1u);
    EXPECT_FALSE(domain.execution.faulted);
    domain.run_in_nmi(count_down(loops + 1));
    EXPECT_TRUE(domain.execution.faulted);
    // Outside of handlers there is more time.
    EXPECT_EQ(domain.run(count_down(loops + 1)), 1u);
}

// ---- Memory -------------------------------------------------------------------------------------

TEST_F(Interpreter, loads_and_stores_every_size_and_extends) {
    Program& program = domain.load({
        wide(R1, 0xf1f2f3f4f5f6f7f8),
        store(BPF_DW, R10, -8, R1),
        load(BPF_B, R2, R10, -8),
        load(BPF_H, R3, R10, -8),
        load(BPF_W, R4, R10, -8),
        load_signed(BPF_B, R5, R10, -8),
        load_signed(BPF_H, R6, R10, -8),
        load_signed(BPF_W, R7, R10, -8),
        store(BPF_DW, R10, -16, R2),
        store(BPF_DW, R10, -24, R3),
        store(BPF_DW, R10, -32, R4),
        store(BPF_DW, R10, -40, R5),
        store(BPF_DW, R10, -48, R6),
        store(BPF_DW, R10, -56, R7),
        set(R0, 0),
        leave(),
    });
    EXPECT_EQ(domain.run(program), 0u);
    const auto* top =
        reinterpret_cast<const std::uint64_t*>(task::current()->bpf_stack[0] + kFrameBytes);
    EXPECT_EQ(top[-2], 0xf8u);
    EXPECT_EQ(top[-3], 0xf7f8u);
    EXPECT_EQ(top[-4], 0xf5f6f7f8u);
    EXPECT_EQ(top[-5], 0xfffffffffffffff8u);
    EXPECT_EQ(top[-6], 0xfffffffffffff7f8u);
    EXPECT_EQ(top[-7], 0xfffffffff5f6f7f8u);
}

TEST_F(Interpreter, stores_immediates_sign_extended_and_only_the_bytes_of_their_size) {
    const auto stored = [&](int size, std::int64_t imm) {
        return domain.run(
            domain.load({wide(R1, 0), store(BPF_DW, R10, -8, R1), store_imm(size, R10, -8, imm),
                         load(BPF_DW, R0, R10, -8), leave()}));
    };
    EXPECT_EQ(stored(BPF_DW, -2), static_cast<std::uint64_t>(-2));
    EXPECT_EQ(stored(BPF_W, -2), 0xfffffffeu);
    EXPECT_EQ(stored(BPF_H, -2), 0xfffeu);
    EXPECT_EQ(stored(BPF_B, -2), 0xfeu);
}

TEST_F(Interpreter, accesses_unaligned_memory) {
    EXPECT_EQ(domain.run(domain.load({wide(R1, 0x0102030405060708), store(BPF_DW, R10, -13, R1),
                                      load(BPF_DW, R0, R10, -13), leave()})),
              0x0102030405060708u);
}

TEST_F(Interpreter, keeps_a_program_inside_its_own_frame) {
    EXPECT_EQ(domain.run(domain.load(
                  {store_imm(BPF_B, R10, -512, 9), load(BPF_B, R0, R10, -512), leave()})),
              9u);
    domain.expect_fault(domain.load({load(BPF_B, R0, R10, -513), leave()}), FaultKind::bad_load, 0);
    domain.expect_fault(domain.load({store_imm(BPF_B, R10, -513, 1), leave()}),
                        FaultKind::bad_store, 0);
    EXPECT_EQ(domain.run(domain.load({load(BPF_B, R1, R10, -1), set(R0, 1), leave()})), 1u);
    domain.expect_fault(domain.load({load(BPF_B, R0, R10, 0), leave()}), FaultKind::bad_load, 0);
    domain.expect_fault(domain.load({load(BPF_DW, R0, R10, -7), leave()}), FaultKind::bad_load, 0);
    // A frame that a callee had is gone.
    domain.expect_fault(
        domain.load({call_function(2), load(BPF_DW, R1, R0, -8), leave(), copy(R0, R10), leave()}),
        FaultKind::bad_load, 1);
}

TEST_F(Interpreter, faults_on_null_wild_and_overflowing_addresses) {
    for (const std::uint64_t address :
         {std::uint64_t{0}, std::uint64_t{8}, kMinus1, kMinus1 - 7, std::uint64_t{1} << 63,
          kFunctionTag, reinterpret_cast<std::uint64_t>(this),
          reinterpret_cast<std::uint64_t>(task::current())}) {
        domain.expect_fault(domain.load({wide(R1, address), load(BPF_DW, R0, R1, 0), leave()}),
                            FaultKind::bad_load, 2);
        domain.expect_fault(domain.load({wide(R1, address), store_imm(BPF_DW, R1, 0, 1), leave()}),
                            FaultKind::bad_store, 2);
    }
}

TEST_F(Interpreter, reads_its_context_and_writes_it_only_if_it_may) {
    std::uint64_t context[2] = {11, 22};
    Program& reads = domain.load({load(BPF_DW, R0, R1, 8), leave()});
    EXPECT_EQ(domain.run(reads, context, sizeof(context)), 22u);
    domain.expect_fault(domain.load({load(BPF_DW, R0, R1, 9), leave()}), FaultKind::bad_load, 0,
                        context, sizeof(context));
    domain.expect_fault(domain.load({load(BPF_B, R0, R1, -1), leave()}), FaultKind::bad_load, 0,
                        context, sizeof(context));

    Program& writes = domain.load({store_imm(BPF_DW, R1, 0, 33), set(R0, 1), leave()});
    domain.expect_fault(writes, FaultKind::bad_store, 0, context, sizeof(context));
    EXPECT_EQ(context[0], 11u);
    EXPECT_EQ(domain.run(writes, context, sizeof(context), true), 1u);
    EXPECT_EQ(context[0], 33u);
}

TEST_F(Interpreter, does_every_atomic_operation_in_both_widths) {
    struct Case {
        int operation;
        std::uint64_t wanted;  // of 0xff00ff00ff00ff00 and 0x0ff00ff00ff00ff0
    };
    const std::uint64_t a = 0xff00ff00ff00ff00;
    const std::uint64_t b = 0x0ff00ff00ff00ff0;
    for (const Case& c : {Case{BPF_ADD, a + b}, Case{BPF_OR, a | b}, Case{BPF_AND, a & b},
                          Case{BPF_XOR, a ^ b}, Case{BPF_XCHG, b}}) {
        for (const int fetch : {0, BPF_FETCH}) {
            if (c.operation == BPF_XCHG && fetch == 0) {
                continue;
            }
            SCOPED_TRACE(::testing::Message() << "operation " << c.operation << " fetch " << fetch);
            const auto run = [&](int size, bool result) {
                return domain.run(
                    domain.load({wide(R1, a), wide(R2, b), store(BPF_DW, R10, -8, R1),
                                 atomic(size, R10, -8, R2, c.operation | fetch),
                                 result ? load(BPF_DW, R0, R10, -8) : copy(R0, R2), leave()}));
            };
            EXPECT_EQ(run(BPF_DW, true), c.wanted);
            EXPECT_EQ(run(BPF_DW, false), fetch != 0 ? a : b);
            // In 32 bits the upper half stays, and what is fetched is extended with zeros.
            const std::uint64_t low = c.operation == BPF_ADD ? static_cast<std::uint32_t>(a) +
                                                                   static_cast<std::uint32_t>(b)
                                                             : c.wanted;
            EXPECT_EQ(run(BPF_W, true), (a & 0xffffffff00000000) | (low & 0xffffffff));
            EXPECT_EQ(run(BPF_W, false), fetch != 0 ? (a & 0xffffffff) : b);
        }
    }
}

TEST_F(Interpreter, compares_and_exchanges) {
    const auto run = [&](int size, std::uint64_t expected, bool result) {
        return domain.run(
            domain.load({wide(R0, 0xaaaaaaaabbbbbbbb), store(BPF_DW, R10, -8, R0),
                         wide(R0, expected), set(R2, 5), atomic(size, R10, -8, R2, BPF_CMPXCHG),
                         result ? load(BPF_DW, R0, R10, -8) : copy(R0, R0), leave()}));
    };
    EXPECT_EQ(run(BPF_DW, 0xaaaaaaaabbbbbbbb, true), 5u);
    EXPECT_EQ(run(BPF_DW, 0xaaaaaaaabbbbbbbb, false), 0xaaaaaaaabbbbbbbbu);
    EXPECT_EQ(run(BPF_DW, 1, true), 0xaaaaaaaabbbbbbbbu);
    EXPECT_EQ(run(BPF_DW, 1, false), 0xaaaaaaaabbbbbbbbu);
    EXPECT_EQ(run(BPF_W, 0x99999999bbbbbbbb, true), 0xaaaaaaaa00000005u);
    EXPECT_EQ(run(BPF_W, 0x99999999bbbbbbbb, false), 0xbbbbbbbbu);
}

TEST_F(Interpreter, loads_with_acquire_and_stores_with_release) {
    EXPECT_EQ(domain.run(domain.load({set(R1, -1), store(BPF_DW, R10, -8, R1), set(R2, 7),
                                      atomic(BPF_H, R10, -8, R2, kAtomicStoreRelease),
                                      atomic(BPF_W, R0, -8, R10, kAtomicLoadAcquire), leave()})),
              0xffff0007u);
}

TEST_F(Interpreter, refuses_misaligned_atomics_and_atomics_on_the_context) {
    domain.expect_fault(domain.load({set(R2, 1), atomic(BPF_DW, R10, -12, R2, BPF_ADD), leave()}),
                        FaultKind::bad_store, 1);
    domain.expect_fault(domain.load({set(R2, 1), atomic(BPF_W, R10, -6, R2, BPF_ADD), leave()}),
                        FaultKind::bad_store, 1);
    std::uint64_t context = 1;
    Program& on_context = domain.load({set(R2, 1), atomic(BPF_DW, R1, 0, R2, BPF_ADD), leave()});
    EXPECT_EQ(domain.run(on_context, &context, sizeof(context), true), 0u);
    EXPECT_TRUE(domain.execution.faulted);
    EXPECT_EQ(context, 1u);
}

TEST_F(Interpreter, reads_task_and_process_but_writes_neither) {
    constexpr int pid = offsetof(task_struct, pid);
    Program& reads =
        domain.load({call(BPF_FUNC_get_current_task), load(BPF_W, R0, R0, pid), leave()});
    EXPECT_EQ(domain.run(reads), static_cast<std::uint32_t>(task::current()->tid));
    Program& follows = domain.load({call(BPF_FUNC_get_current_task),
                                    load(BPF_DW, R0, R0, offsetof(task_struct, mm)),
                                    load(BPF_DW, R0, R0, offsetof(mm_struct, arg_start)), leave()});
    EXPECT_NE(domain.run(follows), 0u);
    for (const int outside : {static_cast<int>(sizeof(task_struct)), -4}) {
        domain.expect_fault(
            domain.load({call(BPF_FUNC_get_current_task), load(BPF_W, R0, R0, outside), leave()}),
            FaultKind::bad_load, 1);
    }
    domain.expect_fault(
        domain.load({call(BPF_FUNC_get_current_task), store_imm(BPF_W, R0, pid, 1), leave()}),
        FaultKind::bad_store, 1);
}

TEST_F(Interpreter, touches_values_of_its_maps_and_nothing_beside_them) {
    map::Map& map = domain.array(24, 2);
    const auto with_value = [&](bpf_insn insn) -> Program& {
        return domain.load({store_imm(BPF_W, R10, -4, 1), domain.wide_map(R1, map), copy(R2, R10),
                            add(R2, -4), call(BPF_FUNC_map_lookup_elem), copy(R6, R0), insn,
                            set(R0, 1), leave()});
    };
    EXPECT_EQ(domain.run(with_value(store_imm(BPF_DW, R6, 16, 5))), 1u);
    EXPECT_EQ(domain.run(with_value(load(BPF_DW, R0, R6, 0))), 1u);
    domain.expect_fault(with_value(store_imm(BPF_DW, R6, 17, 5)), FaultKind::bad_store, 7);
    domain.expect_fault(with_value(load(BPF_B, R0, R6, 24)), FaultKind::bad_load, 7);
    // The first value lies before it, but an access may not begin in one and end in the other.
    domain.expect_fault(with_value(load(BPF_DW, R0, R6, -4)), FaultKind::bad_load, 7);
}

TEST_F(Interpreter, keeps_programs_out_of_maps_that_are_not_theirs) {
    map::Map& map = domain.array(8, 1);
    const std::uint32_t key = 0;
    const auto value = reinterpret_cast<std::uint64_t>(map::lookup(map, &key));
    domain.expect_fault(domain.load({wide(R1, value), load(BPF_DW, R0, R1, 0), leave()}),
                        FaultKind::bad_load, 2);
}

TEST_F(Interpreter, keeps_programs_off_the_slot_in_a_value) {
    map::Map& map = domain.array(32, 1, 0, 8);
    const auto with_value = [&](bpf_insn insn) -> Program& {
        return domain.load({store_imm(BPF_W, R10, -4, 0), domain.wide_map(R1, map), copy(R2, R10),
                            add(R2, -4), call(BPF_FUNC_map_lookup_elem), copy(R6, R0),
                            load(BPF_DW, R1, R6, 0), load(BPF_DW, R1, R6, 16), insn, set(R0, 1),
                            leave()});
    };
    EXPECT_EQ(domain.run(with_value(store_imm(BPF_DW, R6, 24, 5))), 1u);
    EXPECT_EQ(domain.run(with_value(store_imm(BPF_DW, R6, 0, 5))), 1u);
    domain.expect_fault(with_value(load(BPF_DW, R0, R6, 8)), FaultKind::bad_load, 9);
    domain.expect_fault(with_value(load(BPF_B, R0, R6, 15)), FaultKind::bad_load, 9);
    domain.expect_fault(with_value(store_imm(BPF_W, R6, 12, 0)), FaultKind::bad_store, 9);
    domain.expect_fault(with_value(load(BPF_DW, R0, R6, 4)), FaultKind::bad_load, 9);
    domain.expect_fault(with_value(load(BPF_DW, R0, R6, 25)), FaultKind::bad_load, 9);
}

TEST_F(Interpreter, lets_programs_read_but_not_write_read_only_maps) {
    map::Map& map = domain.array(16, 1, BPF_F_RDONLY_PROG);
    EXPECT_EQ(domain.run(domain.load(
                  {domain.wide_value(R1, map, 8), load(BPF_DW, R2, R1, 0), set(R0, 1), leave()})),
              1u);
    domain.expect_fault(
        domain.load({domain.wide_value(R1, map, 8), store_imm(BPF_DW, R1, 0, 1), leave()}),
        FaultKind::bad_store, 2);
    // Also when the read came first and the value is known.
    domain.expect_fault(domain.load({domain.wide_value(R1, map, 8), load(BPF_DW, R2, R1, 0),
                                     store_imm(BPF_DW, R1, 0, 1), leave()}),
                        FaultKind::bad_store, 3);
}

TEST_F(Interpreter, runs_at_nmi_level_inside_an_execution_at_task_level) {
    // The outer program leaves a mark in its frame, an event interrupts it (through a callback of
    // the host: here between two runs of the same frame), the mark is still there.
    map::Map& map = domain.array(8, 1);
    Program& inner =
        domain.load({store_imm(BPF_DW, R10, -8, 99), domain.wide_value(R1, map, 0), set(R2, 1),
                     atomic(BPF_DW, R1, 0, R2, BPF_ADD), set(R0, 0), leave()});
    Program& outer = domain.load({store_imm(BPF_DW, R10, -8, 5), call(BPF_FUNC_ktime_get_ns),
                                  load(BPF_DW, R0, R10, -8), leave()});
    task::Task& task = *task::current();
    const task::Section section(&task);
    Execution execution;
    execution.task = &task;
    execution.program = &outer;
    Machine machine(execution, Level::task);
    EXPECT_EQ(machine.run(0, 0, 0, 0), 5u);
    EXPECT_EQ(domain.run_in_nmi(inner), 0u);
    EXPECT_FALSE(domain.execution.faulted);
    const auto* outer_frame = reinterpret_cast<const std::uint64_t*>(
        task.bpf_stack[static_cast<unsigned>(Level::task)] + kFrameBytes);
    const auto* inner_frame = reinterpret_cast<const std::uint64_t*>(
        task.bpf_stack[static_cast<unsigned>(Level::nmi)] + kFrameBytes);
    EXPECT_EQ(outer_frame[-1], 5u);
    EXPECT_EQ(inner_frame[-1], 99u);
    const std::uint32_t key = 0;
    EXPECT_EQ(*static_cast<std::uint64_t*>(map::lookup(map, &key)), 1u);
}

TEST_F(Interpreter, counts_runs_and_the_latest_fault) {
    Program& program = domain.load({load(BPF_DW, R0, R1, 0), leave()});
    std::uint64_t context = 1;
    EXPECT_EQ(domain.run(program, &context, sizeof(context)), 1u);
    EXPECT_EQ(program.runs.load(std::memory_order_relaxed), 0u);  // Nobody asks.
    const Statistics statistics;
    EXPECT_EQ(domain.run(program, &context, sizeof(context)), 1u);
    EXPECT_EQ(program.runs.load(std::memory_order_relaxed), 1u);
    EXPECT_EQ(program.faults.load(std::memory_order_relaxed), 0u);
    EXPECT_EQ(program.last_fault_insn.load(std::memory_order_relaxed), 0u);
    domain.expect_fault(program, FaultKind::bad_load, 0);
    EXPECT_EQ(program.runs.load(std::memory_order_relaxed), 2u);
}

}  // namespace
}  // namespace taskwork::bpf
