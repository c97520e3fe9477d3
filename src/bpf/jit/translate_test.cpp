// SPDX-License-Identifier: Apache-2.0
//
// Translated code beside the interpreter: random instructions must leave the same registers and the
// same stack. And what the interpreter cannot say of it: how it calls, and how it is left.
#include "bpf/jit/translate.hpp"

#include <gtest/gtest.h>

#include <random>

#include "bpf/jit/processor.hpp"
#include "bpf/jit/test_native.hpp"
#include "bpf/test_program.hpp"

namespace taskwork::bpf::jit {
namespace {

using namespace taskwork::bpf::test;
using test::Native;

Source source_of(const Program& program) {
    Source source;
    source.insns = program.insns;
    source.insn_count = program.insn_count;
    source.function_starts = program.function_starts;
    return source;
}

/// Programs of any instruction but calls of helpers, that end, and leave R0-R9 on their stack.
class Generator {
public:
    static constexpr int kSlots = 16;  ///< Eight bytes each, below what the registers are left in.

    explicit Generator(std::uint32_t seed) : random_(seed) {}

    std::vector<Piece> program() {
        for (int i = R0; i <= R9; ++i) {
            emit(wide(static_cast<Register>(i), number()));
        }
        for (int slot = 0; slot < kSlots; ++slot) {
            emit(store(BPF_DW, R10, slot_at(slot), any()));
        }
        const unsigned steps = 5 + below(40);
        for (unsigned i = 0; i < steps; ++i) {
            step();
        }
        for (int i = R0; i <= R9; ++i) {
            emit(store(BPF_DW, R10, -8 * (i + 1), static_cast<Register>(i)));
        }
        emit(leave());
        if (calls_) {
            // The function that is called: five arguments, and registers of its own.
            const auto callee = static_cast<std::int32_t>(count_);
            for (const auto& [piece, at] : calls_at_) {
                pieces_[piece].insns[0].imm = callee - static_cast<std::int32_t>(at) - 1;
            }
            emit(store(BPF_DW, R10, -8, R3));
            emit(copy(R6, R1));
            emit(alu(BPF_ADD, R6, R2));
            emit(copy(R9, R5));
            emit(load(BPF_DW, R7, R10, -8));
            emit(alu(BPF_XOR, R6, R7));
            emit(alu(BPF_ADD, R6, R4));
            emit(alu(BPF_SUB, R6, R9));
            emit(copy(R0, R6));
            emit(leave());
        }
        return pieces_;
    }

private:
    unsigned below(unsigned limit) { return static_cast<unsigned>(random_() % limit); }
    Register any() { return static_cast<Register>(below(10)); }
    static int slot_at(int slot) { return -8 * (11 + slot); }
    void emit(const Piece& piece) {
        pieces_.push_back(piece);
        count_ += piece.count;
    }
    std::uint64_t number() {
        static constexpr std::uint64_t corners[] = {0,
                                                    1,
                                                    2,
                                                    7,
                                                    31,
                                                    32,
                                                    63,
                                                    64,
                                                    0x7f,
                                                    0x80,
                                                    0xff,
                                                    0x7fff,
                                                    0x8000,
                                                    INT32_MAX,
                                                    0x80000000,
                                                    UINT32_MAX,
                                                    0x100000000,
                                                    INT64_MAX,
                                                    std::uint64_t{1} << 63,
                                                    UINT64_MAX};
        switch (below(3)) {
        case 0:
            return corners[below(std::size(corners))];
        case 1:
            return -corners[below(std::size(corners))];
        default:
            return std::uint64_t{random_()} << 32 | random_();
        }
    }
    bpf_insn arithmetic() {
        static constexpr int operations[] = {BPF_ADD,  BPF_SUB, BPF_MUL, BPF_DIV, BPF_MOD,
                                             BPF_OR,   BPF_AND, BPF_XOR, BPF_LSH, BPF_RSH,
                                             BPF_ARSH, BPF_MOV, BPF_NEG, BPF_END};
        const int operation = operations[below(std::size(operations))];
        const bool is_wide = below(2) == 0;
        const bool divides = operation == BPF_DIV || operation == BPF_MOD;
        if (operation == BPF_NEG) {
            const unsigned code = is_wide ? BPF_ALU64 : BPF_ALU;
            return make(code | BPF_NEG, any(), 0, 0, 0);
        }
        if (operation == BPF_END) {
            const unsigned order = below(2) == 0 ? BPF_TO_BE : BPF_TO_LE;
            const unsigned code = is_wide ? unsigned{BPF_ALU64} : BPF_ALU | order;
            return make(code | BPF_END, any(), 0, 0, 16 << below(3));
        }
        if (below(2) == 0) {
            static constexpr int extensions[] = {0, 8, 16, 32};
            const int off = divides                ? static_cast<int>(below(2))
                            : operation == BPF_MOV ? extensions[below(is_wide ? 4 : 3)]
                                                   : 0;
            return is_wide ? alu(operation, any(), any(), off)
                           : alu32(operation, any(), any(), off);
        }
        const bool shifts = operation == BPF_LSH || operation == BPF_RSH || operation == BPF_ARSH;
        auto imm = static_cast<std::int32_t>(number());
        if (shifts) {
            imm = static_cast<std::int32_t>(below(is_wide ? 64 : 32));
        } else if (divides && imm == 0) {
            imm = -1;
        }
        const int off = divides ? static_cast<int>(below(2)) : 0;
        return is_wide ? alu(operation, any(), imm, off) : alu32(operation, any(), imm, off);
    }
    bpf_insn branch(int over) {
        static constexpr int compares[] = {BPF_JEQ,  BPF_JNE,  BPF_JGT,  BPF_JGE,  BPF_JLT, BPF_JLE,
                                           BPF_JSGT, BPF_JSGE, BPF_JSLT, BPF_JSLE, BPF_JSET};
        const int compare = compares[below(std::size(compares))];
        const auto imm = static_cast<std::int32_t>(number());
        switch (below(4)) {
        case 0:
            return jump_if(compare, any(), imm, over);
        case 1:
            return jump32_if(compare, any(), imm, over);
        case 2:
            return jump_if(compare, any(), any(), over);
        default:
            return jump32_if(compare, any(), any(), over);
        }
    }
    void step() {
        static constexpr int sizes[] = {BPF_B, BPF_H, BPF_W, BPF_DW};
        const int size = sizes[below(4)];
        const int somewhere =
            slot_at(static_cast<int>(below(kSlots - 1))) - static_cast<int>(below(8));
        switch (below(12)) {
        case 0: {
            const unsigned count = 1 + below(4);
            emit(branch(static_cast<int>(count)));
            for (unsigned i = 0; i < count; ++i) {
                emit(arithmetic());
            }
            break;
        }
        case 1:
            emit(load(size, any(), R10, somewhere));
            break;
        case 2:
            emit(load_signed(sizes[below(3)], any(), R10, somewhere));
            break;
        case 3:
            emit(store(size, R10, somewhere, any()));
            break;
        case 4:
            emit(store_imm(size, R10, somewhere, static_cast<std::int32_t>(number())));
            break;
        case 5: {
            static constexpr int operations[] = {BPF_ADD,
                                                 BPF_OR,
                                                 BPF_AND,
                                                 BPF_XOR,
                                                 BPF_ADD | BPF_FETCH,
                                                 BPF_OR | BPF_FETCH,
                                                 BPF_AND | BPF_FETCH,
                                                 BPF_XOR | BPF_FETCH,
                                                 BPF_XCHG,
                                                 BPF_CMPXCHG,
                                                 BPF_CMPXCHG};
            const int slot = slot_at(static_cast<int>(below(kSlots)));
            if (below(3) == 0) {
                emit(load(BPF_DW, R0, R10, slot));  // so that some comparisons succeed
            }
            emit(atomic(below(2) == 0 ? BPF_DW : BPF_W, R10, slot, any(),
                        operations[below(std::size(operations))]));
            break;
        }
        case 6: {
            // By an address in another register, R0 among them.
            const Register base = any();
            const Register other = base == R9 ? R0 : static_cast<Register>(base + 1);
            emit(copy(base, R10));
            emit(below(2) == 0 ? atomic(BPF_DW, base, slot_at(3), other, BPF_XOR | BPF_FETCH)
                               : load(size, other, base, somewhere));
            emit(wide(base, number()));  // An address is not the same in both.
            break;
        }
        case 7:
            if (!in_loop_) {
                loop();
            }
            break;
        case 8:
            calls_ = true;
            calls_at_.emplace_back(pieces_.size(), count_);
            emit(make(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, 0));
            for (int i = R1; i <= R5; ++i) {
                emit(wide(static_cast<Register>(i), number()));  // They are anything now.
            }
            break;
        default:
            emit(arithmetic());
            break;
        }
    }
    /// A few rounds, counted in memory that nothing else writes.
    void loop() {
        in_loop_ = true;
        const int counter = slot_at(kSlots) - 16;
        emit(store_imm(BPF_DW, R10, counter, 1 + below(5)));
        const std::size_t top = count_;
        const unsigned count = 1 + below(4);
        for (unsigned i = 0; i < count; ++i) {
            emit(arithmetic());
        }
        emit(load(BPF_DW, R4, R10, counter));
        emit(add(R4, -1));
        emit(store(BPF_DW, R10, counter, R4));
        emit(jump_if(BPF_JNE, R4, 0, static_cast<int>(top) - static_cast<int>(count_) - 1));
        in_loop_ = false;
    }

    std::mt19937 random_;
    std::vector<Piece> pieces_;
    std::size_t count_ = 0;
    bool in_loop_ = false;
    bool calls_ = false;
    std::vector<std::pair<std::size_t, std::size_t>> calls_at_;
};

TEST(Translate, leaves_the_registers_and_the_stack_that_the_interpreter_leaves) {
    if (!kProcessor.has_translator) {
        GTEST_SKIP() << "no translator for this processor";
    }
    BpfDomain domain;
    for (std::uint32_t seed = 0; seed < 4000; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        const std::vector<Piece> pieces = Generator(seed).program();
        Program& program = domain.load(pieces);
        const std::uint64_t expected = domain.run(program);
        ASSERT_FALSE(domain.execution.faulted);
        Source source = source_of(program);
        source.extensions = seed % 4 != 0;
        Native native(source);
        ASSERT_EQ(native.run(), expected);
        const auto* const frame = reinterpret_cast<const std::uint64_t*>(
            domain.execution.task->bpf_stack[static_cast<unsigned>(Level::task)]);
        const int words = 10 + Generator::kSlots;
        for (int i = 1; i <= words; ++i) {
            const std::size_t at = kFrameBytes / 8 - static_cast<std::size_t>(i);
            ASSERT_EQ(native.frames[at], frame[at])
                << (i <= 10 ? "R" : "slot ") << (i <= 10 ? i - 1 : i);
        }
        domain.unload(program);
    }
}

// ---- Calls --------------------------------------------------------------------------------------

struct Call {
    std::uint64_t arguments[5];
    std::uint64_t frame;
    bool aligned;
};
std::vector<Call> calls;

std::uint64_t record(std::uint64_t r1, std::uint64_t r2, std::uint64_t r3, std::uint64_t r4,
                     std::uint64_t r5, NativeState* state) {
    calls.push_back({{r1, r2, r3, r4, r5},
                     state->frame,
                     reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)) % 16 == 0});
    return 77;
}

std::uint64_t abandon(std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t,
                      NativeState* state) {
    taskwork_leave_native(state);
}

const void* called_back;

std::uint64_t call_back(std::uint64_t r1, std::uint64_t, std::uint64_t, std::uint64_t,
                        std::uint64_t, NativeState* state) {
    return taskwork_enter_native(r1, 0, 0, 0, called_back, state) + 1;
}

std::vector<const void*> returns;

/// Walks the frames that rbp links, as profilers do.
std::uint64_t walk(std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t,
                   NativeState*) {
    const auto* frame = static_cast<const std::uintptr_t*>(__builtin_frame_address(0));
    for (int i = 0; i < 4; ++i) {
        returns.push_back(reinterpret_cast<const void*>(frame[1]));
        frame = reinterpret_cast<const std::uintptr_t*>(frame[0]);
    }
    return 0;
}

constexpr NativeHelper kHelpers[] = {abandon, record, call_back, walk};

bpf_insn call(int helper) { return make(BPF_JMP | BPF_CALL, 0, 0, 0, helper); }
bpf_insn call_function(int over) { return make(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, over); }

/// A program as raw instructions, which no loader has seen.
struct Raw {
    explicit Raw(std::vector<bpf_insn> with, std::uint64_t starts = 1)
        : insns(std::move(with)), function_starts(starts) {}
    [[nodiscard]] Source source() const {
        Source source;
        source.insns = insns.data();
        source.insn_count = static_cast<std::uint32_t>(insns.size());
        source.function_starts = &function_starts;
        return source;
    }
    std::vector<bpf_insn> insns;
    std::uint64_t function_starts;
};

struct Translated : testing::Test {
    void SetUp() override {
        if (!kProcessor.has_translator) {
            GTEST_SKIP() << "no translator for this processor";
        }
        calls.clear();
        returns.clear();
    }
    static void give_helpers(Native& native) {
        native.state.helpers = kHelpers;
        native.state.helper_count = std::size(kHelpers);
    }
};

TEST_F(Translated, code_calls_helpers_with_its_five_arguments_an_aligned_stack_and_its_frame) {
    for (int saved = 0; saved < 3; ++saved) {  // An odd and an even number of pushes.
        std::vector<bpf_insn> insns = {set(R1, 1), set(R2, 2), set(R3, 3), set(R4, 4), set(R5, 5)};
        for (int i = 0; i < saved; ++i) {
            insns.push_back(set(static_cast<Register>(R6 + i), 6));
        }
        insns.insert(insns.end(), {store_imm(BPF_DW, R10, -8, 1), call(1), add(R0, 1), leave()});
        const Raw raw(insns);
        Native native(raw.source());
        give_helpers(native);
        EXPECT_EQ(native.run(), 78u);
        ASSERT_EQ(calls.size(), static_cast<std::size_t>(saved + 1));
        const Call& seen = calls.back();
        for (std::uint64_t i = 0; i < 5; ++i) {
            EXPECT_EQ(seen.arguments[i], i + 1);
        }
        EXPECT_TRUE(seen.aligned);
        EXPECT_EQ(seen.frame, native.state.frame + kFrameBytes);
    }
}

TEST_F(Translated, code_keeps_R6_to_R9_over_calls_of_its_functions) {
    const Raw raw({set(R6, 6), set(R7, 7), set(R8, 8), set(R9, 9), set(R1, 100), call_function(5),
                   alu(BPF_ADD, R0, R6), alu(BPF_ADD, R0, R7), alu(BPF_ADD, R0, R8),
                   alu(BPF_ADD, R0, R9), leave(),
                   // The function.
                   set(R6, -1), set(R7, -1), set(R8, -1), set(R9, -1), copy(R0, R1), leave()},
                  1u | 1u << 11);
    Native native(raw.source());
    EXPECT_EQ(native.run(), 130u);
}

TEST_F(Translated, code_that_a_helper_abandons_gives_0_and_the_outer_code_goes_on) {
    const Raw outer({set(R6, 40), set(R1, 1), call(2), alu(BPF_ADD, R0, R6), leave()});
    const Raw inner(
        {set(R6, 1), set(R7, 2), store_imm(BPF_DW, R10, -8, 5), call(0), set(R0, 9), leave()});
    Native native(outer.source());
    Native other(inner.source());
    give_helpers(native);
    called_back = other.function(0);
    const std::uint64_t frame = native.state.frame;
    EXPECT_EQ(native.run(), 41u);
    EXPECT_EQ(native.state.frame, frame);
    EXPECT_EQ(native.state.stop, 0u);
    // The inner frame stood above the outer one, which the interpreter would have made too.
    EXPECT_EQ(native.frames[2 * kFrameBytes / 8 - 1], 5u);
    // All of it.
    called_back = nullptr;
    Native alone(inner.source());
    give_helpers(alone);
    EXPECT_EQ(alone.run(), 0u);
    EXPECT_EQ(alone.state.stop, 0u);
}

TEST_F(Translated, frames_are_linked_so_that_a_walk_by_frame_pointers_gets_through) {
    const Raw raw({set(R6, 1), call_function(2), alu(BPF_ADD, R0, R6), leave(), set(R7, 2), call(3),
                   alu(BPF_ADD, R0, R7), leave()},
                  1u | 1u << 4);
    Native native(raw.source());
    give_helpers(native);
    EXPECT_EQ(native.run(), 3u);
    ASSERT_EQ(returns.size(), 4u);
    EXPECT_TRUE(native.contains(returns[0]));
    EXPECT_TRUE(native.contains(returns[1]));
    const auto enter = reinterpret_cast<std::uintptr_t>(&taskwork_enter_native);
    EXPECT_LT(reinterpret_cast<std::uintptr_t>(returns[2]) - enter, 128u);
    EXPECT_FALSE(native.contains(returns[3]));
}

TEST_F(Translated, checked_loads_give_0_where_nothing_may_be_read) {
    const std::uint64_t value = 0x8899aabbccddeeff;
    const Raw raw({load(BPF_W, R0, R1, 0), leave()});
    const std::uint64_t checked = 1;
    Source source = raw.source();
    source.checked_loads = &checked;
    Native native(source);
    EXPECT_EQ(native.run(reinterpret_cast<std::uint64_t>(&value)), 0u);
    EXPECT_EQ(native.run(0), 0u);
    native.state.readable_start = reinterpret_cast<std::uint64_t>(&value);
    native.state.readable_size = sizeof(value);
    EXPECT_EQ(native.run(reinterpret_cast<std::uint64_t>(&value)), 0xccddeeffu);
    EXPECT_EQ(native.run(reinterpret_cast<std::uint64_t>(&value) + 8), 0u);
    EXPECT_EQ(native.run(reinterpret_cast<std::uint64_t>(&value) - 1), 0u);
}

TEST_F(Translated, may_goto_leaves_each_loop_once_the_rounds_of_the_function_are_used_up) {
    // while (may_goto) ++R0; the second loop finds no round left.
    const auto may_goto = [](int over) {
        return make(BPF_JMP | kOpConditionalPseudo, 0, 0, over, 0);
    };
    const Raw raw({set(R0, 0), may_goto(2), add(R0, 1), jump(-3), may_goto(2), add(R0, 1), jump(-3),
                   leave()});
    Native native(raw.source());
    EXPECT_EQ(native.run(), std::uint64_t{8} << 20);
}

TEST_F(Translated, an_instruction_without_translation_is_refused_by_number) {
    const Raw raw({set(R0, 0), make(BPF_ALU64 | 0xf0, R1, 0, 0, 0), leave()});
    const auto translated = translate(raw.source());
    ASSERT_FALSE(translated.has_value());
    EXPECT_EQ(translated.error().code, std::errc::not_supported);
    EXPECT_EQ(translated.error().text, "insn 1: opcode 247 has no translation");
}

}  // namespace
}  // namespace taskwork::bpf::jit
