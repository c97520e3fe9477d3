// SPDX-License-Identifier: Apache-2.0
//
// What the verifier accepts must not fault: random programs are judged, and those that pass are run
// by the interpreter, which checks every access. The generator knows what programs look like, or
// few would pass: it looks values up, checks them for null, bounds its numbers, and errs now and
// then.

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <vector>

#include "bpf/test_program.hpp"

namespace taskwork::bpf::verifier {
namespace {

using namespace taskwork::bpf::test;

class Generator {
public:
    Generator(std::uint32_t seed, const Piece& map) : random_(seed), map_(map) {}

    /// R6-R9: numbers. R0 in the middle: a value of 64 bytes, or null.
    std::vector<Piece> program() {
        pieces_.clear();
        for (const bpf_insn& insn :
             {load(BPF_DW, R6, R1, 0), load(BPF_DW, R7, R1, 8), set(R8, number()), set(R9, 0),
              store_imm(BPF_DW, R10, -8, number()), store(BPF_DW, R10, -16, R7),
              store(BPF_DW, R10, -24, R8), store_imm(BPF_DW, R10, -32, 0)}) {
            pieces_.emplace_back(insn);
        }
        const unsigned steps = 2 + below(12);
        for (unsigned i = 0; i < steps; ++i) {
            step();
        }
        pieces_.emplace_back(set(R0, 0));
        pieces_.emplace_back(leave());
        return pieces_;
    }

private:
    unsigned below(unsigned limit) { return static_cast<unsigned>(random_() % limit); }
    Register numeric() { return static_cast<Register>(R6 + below(4)); }
    std::int64_t number() {
        static constexpr std::int64_t corners[] = {0,  1,   2,    7,    8,         15,        16,
                                                   31, 63,  64,   -1,   -8,        255,       256,
                                                   -2, 511, 4096, 1000, INT32_MAX, INT32_MIN, 56};
        return corners[below(std::size(corners))];
    }
    bpf_insn arithmetic() {
        static constexpr int operations[] = {BPF_ADD, BPF_SUB, BPF_MUL, BPF_AND,  BPF_OR,
                                             BPF_XOR, BPF_RSH, BPF_LSH, BPF_ARSH, BPF_MOV,
                                             BPF_DIV, BPF_MOD, BPF_AND, BPF_RSH};
        const int operation = operations[below(std::size(operations))];
        const bool shifts = operation == BPF_RSH || operation == BPF_LSH || operation == BPF_ARSH;
        const bool divides = operation == BPF_DIV || operation == BPF_MOD;
        const bool wide = below(2) == 0;
        if (below(2) == 0) {
            const int sign = divides && below(2) == 0 ? 1 : 0;
            return wide ? alu(operation, numeric(), numeric(), sign)
                        : alu32(operation, numeric(), numeric(), sign);
        }
        const std::int64_t immediate = shifts    ? below(wide ? 64 : 32)
                                       : divides ? 1 + below(9)
                                                 : number();
        return wide ? alu(operation, numeric(), immediate) : alu32(operation, numeric(), immediate);
    }
    bpf_insn branch(int over) {
        static constexpr int compares[] = {BPF_JEQ,  BPF_JNE,  BPF_JGT,  BPF_JGE,  BPF_JLT, BPF_JLE,
                                           BPF_JSGT, BPF_JSGE, BPF_JSLT, BPF_JSLE, BPF_JSET};
        const int compare = compares[below(std::size(compares))];
        if (below(2) == 0) {
            return below(2) == 0 ? jump_if(compare, numeric(), number(), over)
                                 : jump32_if(compare, numeric(), number(), over);
        }
        return below(2) == 0 ? jump_if(compare, numeric(), numeric(), over)
                             : jump32_if(compare, numeric(), numeric(), over);
    }
    void step() {
        static constexpr int sizes[] = {BPF_B, BPF_H, BPF_W, BPF_DW};
        const int size = sizes[below(4)];
        switch (below(10)) {
        case 0:
        case 1:
        case 2:
            pieces_.emplace_back(arithmetic());
            break;
        case 3: {  // something on one way only
            const unsigned count = 1 + below(3);
            pieces_.emplace_back(branch(static_cast<int>(count)));
            for (unsigned i = 0; i < count; ++i) {
                pieces_.emplace_back(arithmetic());
            }
            break;
        }
        case 4:
            pieces_.emplace_back(store(below(3) == 0 ? size : BPF_DW, R10,
                                       -8 * static_cast<int>(1 + below(4)), numeric()));
            break;
        case 5:
            pieces_.emplace_back(load(below(3) == 0 ? size : BPF_DW, numeric(), R10,
                                      -8 * static_cast<int>(1 + below(4))));
            break;
        case 6: {  // a loop of a few rounds
            const Register counter = numeric();
            pieces_.emplace_back(set(counter, 0));
            pieces_.emplace_back(add(counter, 1 + below(3)));
            pieces_.emplace_back(arithmetic());
            pieces_.emplace_back(jump_if(BPF_JLT, counter, 1 + below(40), -3));
            break;
        }
        case 7: {  // the stack by a variable offset
            const Register offset = numeric();
            pieces_.emplace_back(copy(R2, offset));
            pieces_.emplace_back(alu(BPF_AND, R2, below(4) == 0 ? number() : 24));
            pieces_.emplace_back(alu(BPF_ADD, R2, R10));
            pieces_.emplace_back(below(2) == 0 ? store(BPF_DW, R2, -32, numeric())
                                               : load(BPF_DW, numeric(), R2, -32));
            break;
        }
        default:
            access_value(size);
            break;
        }
    }
    void access_value(int size) {
        pieces_.emplace_back(store_imm(BPF_W, R10, -36, below(3)));
        pieces_.emplace_back(copy(R2, R10));
        pieces_.emplace_back(add(R2, -36));
        pieces_.push_back(map_);
        pieces_.emplace_back(call(BPF_FUNC_map_lookup_elem));
        std::vector<bpf_insn> guarded;
        const Register offset = numeric();
        guarded.push_back(copy(R1, offset));
        switch (below(4)) {
        case 0:
            guarded.push_back(alu(BPF_AND, R1, below(3) == 0 ? number() : 56));
            break;
        case 1:
            guarded.push_back(jump_if(BPF_JGT, R1, below(3) == 0 ? number() : 56, 3));
            break;
        case 2:
            guarded.push_back(alu(BPF_MOD, R1, 1 + below(64)));
            break;
        default:
            break;
        }
        guarded.push_back(alu(BPF_ADD, R0, R1));
        switch (below(3)) {
        case 0:
            guarded.push_back(store(size, R0, static_cast<int>(below(8)), numeric()));
            break;
        case 1:
            guarded.push_back(atomic(BPF_DW, R0, 0, numeric(), BPF_ADD | BPF_FETCH));
            break;
        default:
            guarded.push_back(load(size, numeric(), R0, static_cast<int>(below(8))));
            break;
        }
        guarded.push_back(set(R9, number()));  // the end of all jumps over
        pieces_.emplace_back(jump_if(BPF_JEQ, R0, 0, static_cast<int>(guarded.size())));
        for (const bpf_insn& insn : guarded) {
            pieces_.emplace_back(insn);
        }
    }

    std::mt19937 random_;
    Piece map_;
    std::vector<Piece> pieces_;
};

TEST(VerifierSoundness, what_is_accepted_never_faults) {
    BpfDomain domain;
    map::Map& map = domain.array(64, 2);
    LoadSpec spec = domain.spec();
    spec.type = BPF_PROG_TYPE_SYSCALL;
    spec.flags = BPF_F_SLEEPABLE;
    spec.unverified = false;
    unsigned accepted = 0;
    constexpr std::uint32_t kPrograms = 3000;
    for (std::uint32_t seed = 1; seed <= kPrograms; ++seed) {
        Generator generator(seed, domain.wide_map(R1, map));
        auto loaded = domain.try_load(spec, generator.program());
        if (!loaded) {
            continue;
        }
        ++accepted;
        std::mt19937_64 random(seed);
        for (int run = 0; run < 16; ++run) {
            std::uint64_t context[2] = {random() >> (random() % 64), random() >> (random() % 64)};
            domain.run(**loaded, context, sizeof context, true);
            ASSERT_FALSE(domain.execution.faulted)
                << "seed " << seed << ", instruction "
                << (*loaded)->last_fault_insn.load(std::memory_order_relaxed) - 1 << ": "
                << describe(static_cast<FaultKind>(
                       (*loaded)->last_fault_kind.load(std::memory_order_relaxed)))
                << ", context " << context[0] << " " << context[1];
        }
        domain.unload(**loaded);
    }
    // Or it would say little.
    EXPECT_GT(accepted, kPrograms / 10);
    RecordProperty("accepted", static_cast<int>(accepted));
}

/// Instructions that are formed well and mean nothing.
bpf_insn any_insn(std::mt19937& random, int count) {
    static constexpr unsigned codes[] = {
        BPF_ALU64 | BPF_MOV | BPF_X,
        BPF_ALU64 | BPF_MOV | BPF_K,
        BPF_ALU64 | BPF_ADD | BPF_X,
        BPF_ALU64 | BPF_SUB | BPF_X,
        BPF_ALU64 | BPF_ADD | BPF_K,
        BPF_ALU | BPF_AND | BPF_K,
        BPF_ALU64 | BPF_NEG,
        BPF_LDX | BPF_MEM | BPF_DW,
        BPF_LDX | BPF_MEM | BPF_W,
        BPF_STX | BPF_MEM | BPF_DW,
        BPF_STX | BPF_MEM | BPF_B,
        BPF_ST | BPF_MEM | BPF_W,
        BPF_STX | kModeAtomic | BPF_W,
        BPF_JMP | BPF_JEQ | BPF_K,
        BPF_JMP | BPF_JSGT | BPF_X,
        BPF_JMP32 | BPF_JLT | BPF_K,
        BPF_JMP | BPF_JA,
        BPF_JMP | BPF_CALL,
        BPF_JMP | BPF_CALL,
        BPF_JMP | BPF_EXIT,
        BPF_ALU64 | BPF_END | BPF_K,
    };
    const auto below = [&random](unsigned limit) { return static_cast<int>(random() % limit); };
    const unsigned code = codes[below(std::size(codes))];
    const unsigned kind = BPF_CLASS(code);
    const bool jumps = kind == BPF_JMP || kind == BPF_JMP32;
    bpf_insn insn = make(code, static_cast<unsigned>(below(11)), static_cast<unsigned>(below(11)),
                         jumps ? below(9) - 3 : -8 * below(5), below(40) - 8);
    if (code == (BPF_JMP | BPF_CALL)) {
        insn = below(3) == 0
                   ? make(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, 1000 + below(kKfuncs))
               : below(4) == 0 ? call_function(below(static_cast<unsigned>(count)) - count / 2)
                               : call(below(200));
    } else if (code == (BPF_JMP | BPF_EXIT)) {
        insn = leave();
    } else if (code == (BPF_JMP | BPF_JA)) {
        insn = jump(below(9) - 3);
    } else if (kind == BPF_LDX || (kind == BPF_STX && BPF_MODE(code) == BPF_MEM) ||
               (BPF_SRC(code) == BPF_X && kind != BPF_STX && kind != BPF_ST)) {
        insn.imm = 0;
    }
    if ((kind == BPF_ALU64 || kind == BPF_ALU)) {
        insn.off = 0;
        insn.src_reg = BPF_SRC(code) == BPF_X ? insn.src_reg : 0;
        insn.dst_reg = insn.dst_reg == R10 ? 0 : insn.dst_reg;
    }
    if (BPF_SRC(code) == BPF_K && (jumps || kind == BPF_ST)) {
        insn.src_reg = code == (BPF_JMP | BPF_CALL) ? insn.src_reg : 0;
    }
    return insn;
}

TEST(VerifierSoundness, rubbish_is_judged_without_harm) {
    BpfDomain domain;
    map::Map& map = domain.hash(4, 16, 8, 8);
    map::Map& ring = domain.ring(4096);
    LoadSpec spec = domain.spec();
    spec.unverified = false;
    spec.log_level = 2;
    unsigned walked = 0;
    for (std::uint32_t seed = 1; seed <= 20000; ++seed) {
        std::mt19937 random(seed);
        std::vector<Piece> pieces{domain.wide_map(R1, seed % 2 == 0 ? map : ring), copy(R2, R10),
                                  add(R2, -8)};
        const int count = 3 + static_cast<int>(random() % 20);
        for (int i = 0; i < count; ++i) {
            pieces.emplace_back(any_insn(random, count));
        }
        pieces.emplace_back(leave());
        auto loaded = domain.try_load(spec, pieces);
        walked += domain.log.find("processed ") != std::string::npos ? 1 : 0;
        if (loaded) {
            domain.unload(**loaded);
        }
    }
    EXPECT_GT(walked, 1000u);
}

}  // namespace
}  // namespace taskwork::bpf::verifier
