// SPDX-License-Identifier: Apache-2.0
//
// Loops that are not walked round by round must not hide what a later round does: random programs
// hand numbers on from variable to variable in loops of all kinds, and index a value with them.
// What is accepted is run by the interpreter, which checks every access.

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <random>
#include <vector>

#include "bpf/test_program.hpp"

namespace taskwork::bpf::verifier {
namespace {

using namespace taskwork::bpf::test;

using Code = std::vector<bpf_insn>;

void append(Code& code, const Code& more) { code.insert(code.end(), more.begin(), more.end()); }
void append_piece(Code& code, const Piece& piece) {
    for (std::size_t i = 0; i < piece.count; ++i) {
        code.push_back(piece.insns[i]);
    }
}

/// R9 is a value of 64 bytes. Variables: four words of the stack, R7, R8. In a callback the words
/// are those of its caller, by R6.
class Generator {
public:
    Generator(std::uint32_t seed, const Piece& map) : random_(seed), map_(map) {}

    std::vector<Piece> program() {
        Code code{store_imm(BPF_W, R10, -4, 0), copy(R2, R10), add(R2, -4)};
        append_piece(code, map_);
        append(code, {call(BPF_FUNC_map_lookup_elem), jump_if(BPF_JNE, R0, 0, 2), set(R0, 0),
                      leave(), copy(R9, R0)});
        for (unsigned variable = 0; variable < kVariables; ++variable) {
            append(code, assign(variable, below(4) == 0 ? number() : 0));
        }
        // Different ways to the first loop.
        for (unsigned ways = below(3); ways > 0; --ways) {
            append(code, guarded(assign(below(kVariables), number())));
        }
        const unsigned statements = 1 + below(3);
        for (unsigned i = 0; i < statements; ++i) {
            append(code, loop(0));
            append(code, statement(1));
        }
        append(code, use());
        append(code, {set(R0, 0), leave()});
        const auto main_size = static_cast<std::int32_t>(code.size());
        for (std::size_t i = 0; i < callbacks_.size(); ++i) {
            // The callbacks follow; where each is called its number stands.
            const auto begin = static_cast<std::int32_t>(code.size());
            for (std::int32_t at = 0; at < main_size; ++at) {
                bpf_insn& insn = code[static_cast<std::size_t>(at)];
                if (insn.code == kLoadImmediate64 && insn.src_reg == BPF_PSEUDO_FUNC &&
                    insn.imm == -static_cast<std::int32_t>(i) - 1) {
                    insn.imm = begin - at - 1;
                }
            }
            append(code, callbacks_[i]);
        }
        return {code.begin(), code.end()};
    }

private:
    static constexpr unsigned kWords = 4;
    static constexpr unsigned kVariables = kWords + 2;

    unsigned below(unsigned limit) { return static_cast<unsigned>(random_() % limit); }
    std::int64_t number() {
        static constexpr std::int64_t numbers[] = {0, 0, 1, 7, 8, 56, 63, 64, 1000};
        return numbers[below(std::size(numbers))];
    }
    [[nodiscard]] Register base() const { return in_callback_ ? R6 : R10; }
    [[nodiscard]] int offset(unsigned word) const {
        return static_cast<int>(8 * word) - (in_callback_ ? 0 : 40);
    }
    Code read(Register to, unsigned variable) {
        return {variable < kWords ? load(BPF_DW, to, base(), offset(variable))
                                  : copy(to, variable == kWords ? R7 : R8)};
    }
    Code write(unsigned variable, Register from) {
        return {variable < kWords ? store(BPF_DW, base(), offset(variable), from)
                                  : copy(variable == kWords ? R7 : R8, from)};
    }
    Code assign(unsigned variable, std::int64_t value) {
        Code code{set(R1, value)};
        append(code, write(variable, R1));
        return code;
    }
    Code changed(unsigned variable, const bpf_insn& how) {
        Code code = read(R1, variable);
        code.push_back(how);
        append(code, write(variable, R1));
        return code;
    }
    Code hand_on() {
        Code code = read(R1, below(kVariables));
        append(code, write(below(kVariables), R1));
        return code;
    }
    /// Now and then, as nobody can know; the verifier walks the way without it first.
    Code guarded(const Code& what) {
        Code code{call(BPF_FUNC_get_prandom_u32), alu(BPF_AND, R0, 3),
                  jump_if(below(2) == 0 ? BPF_JEQ : BPF_JNE, R0, 0, 1),
                  jump(static_cast<int>(what.size()))};
        append(code, what);
        return code;
    }
    Code use() {
        Code access;
        append(access, {copy(R2, R9), alu(BPF_ADD, R2, R1), load(BPF_B, R0, R2, 0)});
        Code code = read(R1, below(kVariables));
        if (below(3) == 0) {
            code.push_back(jump_if(BPF_JGT, R1, 63, static_cast<int>(access.size())));
        }
        append(code, access);
        return code;
    }
    Code statement(unsigned depth) {
        const unsigned variable = below(kVariables);
        switch (below(10)) {
        case 0:
            return assign(variable, number());
        case 1:
            // Counts that matter are followed round by round, which takes long.
            return below(8) == 0 ? changed(variable, add(R1, 8)) : hand_on();
        case 2:
            return changed(variable, alu(BPF_AND, R1, below(2) == 0 ? 7 : 63));
        case 3:
            return guarded(hand_on());
        case 4: {
            Code code = read(R1, variable);
            append(code, read(R2, below(kVariables)));
            const Code what = hand_on();
            code.push_back(
                jump_if(below(2) == 0 ? BPF_JEQ : BPF_JGT, R1, R2, static_cast<int>(what.size())));
            append(code, what);
            return code;
        }
        case 5:
            return in_callback_ ? hand_on() : use();
        case 6:
            return depth < 2 && !in_callback_ ? loop(depth) : hand_on();
        case 7: {
            Code code = read(R1, variable);
            append(code, {jump_if(BPF_JLE, R1, 63, 1), set(R1, 0)});
            append(code, write(variable, R1));
            return code;
        }
        default:
            return hand_on();
        }
    }
    Code body(unsigned depth) {
        Code code;
        for (unsigned count = 1 + below(4); count > 0; --count) {
            append(code, statement(depth + 1));
        }
        return code;
    }
    Code loop(unsigned depth) {
        switch (below(3)) {
        case 0: {
            const Code rounds = body(depth);
            const auto size = static_cast<int>(rounds.size());
            const int at = -48 - 8 * static_cast<int>(depth);
            Code code{copy(R1, R10), add(R1, at), set(R2, 0), set(R3, below(6)),
                      BpfDomain::call_kfunc("bpf_iter_num_new")};
            append(code, {copy(R1, R10), add(R1, at), BpfDomain::call_kfunc("bpf_iter_num_next"),
                          jump_if(BPF_JEQ, R0, 0, size + 1)});
            append(code, rounds);
            append(code, {jump(-size - 5), copy(R1, R10), add(R1, at),
                          BpfDomain::call_kfunc("bpf_iter_num_destroy")});
            return code;
        }
        case 1: {
            const Code rounds = body(depth);
            const auto size = static_cast<int>(rounds.size());
            Code code{make(BPF_JMP | kOpConditionalPseudo, 0, 0, size + 4, 0),
                      call(BPF_FUNC_get_prandom_u32), alu(BPF_AND, R0, 3),
                      jump_if(BPF_JEQ, R0, 0, size + 1)};
            append(code, rounds);
            code.push_back(jump(-size - 5));
            return code;
        }
        default: {
            in_callback_ = true;
            Code callback{copy(R6, R2), set(R7, 0), set(R8, 0)};
            append(callback, body(depth));
            append(callback, {set(R0, 0), leave()});
            in_callback_ = false;
            callbacks_.push_back(callback);
            Code code{set(R1, below(6))};
            append_piece(code,
                         wide(R2, static_cast<std::uint32_t>(-static_cast<int>(callbacks_.size())),
                              BPF_PSEUDO_FUNC));
            append(code, {copy(R3, R10), add(R3, -40), set(R4, 0), call(BPF_FUNC_loop)});
            return code;
        }
        }
    }

    std::mt19937 random_;
    Piece map_;
    bool in_callback_ = false;
    std::vector<Code> callbacks_;
};

TEST(LoopSoundness, no_round_of_a_loop_does_what_was_not_foreseen) {
    BpfDomain domain;
    map::Map& map = domain.array(64, 1);
    LoadSpec spec = domain.spec();
    spec.unverified = false;
    unsigned accepted = 0;
    const char* count = std::getenv("TASKWORK_LOOP_PROGRAMS");
    const auto programs = static_cast<std::uint32_t>(count == nullptr ? 400 : std::atol(count));
    for (std::uint32_t seed = 1; seed <= programs; ++seed) {
        Generator generator(seed, domain.wide_map(R1, map));
        auto loaded = domain.try_load(spec, generator.program());
        if (!loaded) {
            continue;
        }
        ++accepted;
        for (int run = 0; run < 24; ++run) {
            domain.run_in_nmi(**loaded);
            ASSERT_FALSE(domain.execution.faulted)
                << "seed " << seed << ", instruction "
                << (*loaded)->last_fault_insn.load(std::memory_order_relaxed) - 1 << ": "
                << describe(static_cast<FaultKind>(
                       (*loaded)->last_fault_kind.load(std::memory_order_relaxed)));
        }
        domain.unload(**loaded);
    }
    // Or it would say little.
    EXPECT_GT(accepted, programs / 10);
    RecordProperty("accepted", static_cast<int>(accepted));
}

}  // namespace
}  // namespace taskwork::bpf::verifier
