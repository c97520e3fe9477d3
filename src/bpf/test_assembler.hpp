// SPDX-License-Identifier: Apache-2.0
//
// For tests and benchmarks: an assembler of one function an instruction.
//
//     {set(R0, 7), leave()}
#pragma once

#include <linux/bpf.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "bpf/isa.hpp"

namespace taskwork::bpf::test {

enum Register : std::uint8_t { R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 };

constexpr bpf_insn make(unsigned code, unsigned dst, unsigned src, int off, std::int64_t imm) {
    return bpf_insn{static_cast<__u8>(code), static_cast<__u8>(dst & 15),
                    static_cast<__u8>(src & 15), static_cast<__s16>(off), static_cast<__s32>(imm)};
}

/// One instruction or a pair.
struct Piece {
    std::array<bpf_insn, 2> insns{};
    std::size_t count = 1;
    constexpr Piece(bpf_insn insn) : insns{insn} {}
    constexpr Piece(bpf_insn first, bpf_insn second) : insns{first, second}, count(2) {}
};

constexpr bpf_insn alu(int operation, Register dst, std::int64_t imm, int off = 0) {
    return make(BPF_ALU64 | operation | BPF_K, dst, 0, off, imm);
}
constexpr bpf_insn alu(int operation, Register dst, Register src, int off = 0) {
    return make(BPF_ALU64 | operation | BPF_X, dst, src, off, 0);
}
constexpr bpf_insn alu32(int operation, Register dst, std::int64_t imm, int off = 0) {
    return make(BPF_ALU | operation | BPF_K, dst, 0, off, imm);
}
constexpr bpf_insn alu32(int operation, Register dst, Register src, int off = 0) {
    return make(BPF_ALU | operation | BPF_X, dst, src, off, 0);
}
constexpr bpf_insn set(Register dst, std::int64_t imm) { return alu(BPF_MOV, dst, imm); }
constexpr bpf_insn copy(Register dst, Register src) { return alu(BPF_MOV, dst, src); }
constexpr bpf_insn add(Register dst, std::int64_t imm) { return alu(BPF_ADD, dst, imm); }

constexpr bpf_insn load(int size, Register dst, Register base, int off) {
    return make(BPF_LDX | BPF_MEM | size, dst, base, off, 0);
}
constexpr bpf_insn load_signed(int size, Register dst, Register base, int off) {
    return make(BPF_LDX | kModeLoadSigned | size, dst, base, off, 0);
}
constexpr bpf_insn store(int size, Register base, int off, Register src) {
    return make(BPF_STX | BPF_MEM | size, base, src, off, 0);
}
constexpr bpf_insn store_imm(int size, Register base, int off, std::int64_t imm) {
    return make(BPF_ST | BPF_MEM | size, base, 0, off, imm);
}
constexpr bpf_insn atomic(int size, Register base, int off, Register src, int operation) {
    return make(BPF_STX | kModeAtomic | size, base, src, off, operation);
}

constexpr bpf_insn jump(int off) { return make(BPF_JMP | BPF_JA, 0, 0, off, 0); }
constexpr bpf_insn jump_if(int operation, Register dst, std::int64_t imm, int off) {
    return make(BPF_JMP | operation | BPF_K, dst, 0, off, imm);
}
constexpr bpf_insn jump_if(int operation, Register dst, Register src, int off) {
    return make(BPF_JMP | operation | BPF_X, dst, src, off, 0);
}
constexpr bpf_insn jump32_if(int operation, Register dst, std::int64_t imm, int off) {
    return make(BPF_JMP32 | operation | BPF_K, dst, 0, off, imm);
}
constexpr bpf_insn jump32_if(int operation, Register dst, Register src, int off) {
    return make(BPF_JMP32 | operation | BPF_X, dst, src, off, 0);
}
constexpr bpf_insn call(int helper) { return make(BPF_JMP | BPF_CALL, 0, 0, 0, helper); }
/// Calls the function that begins `distance` instructions behind the next one.
constexpr bpf_insn call_function(int distance) {
    return make(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, distance);
}
constexpr bpf_insn leave() { return make(BPF_JMP | BPF_EXIT, 0, 0, 0, 0); }

constexpr Piece wide(Register dst, std::uint64_t value, unsigned pseudo = 0) {
    return {make(kLoadImmediate64, dst, pseudo, 0, static_cast<std::int32_t>(value)),
            make(0, 0, 0, 0, static_cast<std::int32_t>(value >> 32))};
}
/// The function that begins `distance` instructions behind the second half of this pair, which
/// counts: 1 is what follows it.
constexpr Piece function(Register dst, int distance) {
    return wide(dst, static_cast<std::uint32_t>(distance), BPF_PSEUDO_FUNC);
}

}  // namespace taskwork::bpf::test
