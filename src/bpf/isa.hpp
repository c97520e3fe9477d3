// SPDX-License-Identifier: Apache-2.0
//
// What of the BPF instruction set Debian 12's <linux/bpf.h> (6.1, ISA v3) does not name yet, and
// the values that the loader puts into rewritten instructions. RFC 9669 describes the instruction
// set.
#pragma once

#include <linux/bpf.h>

#include <cstdint>

namespace taskwork::bpf {

// ---- ISA v4 and later --------------------------------------------------------------------------

inline constexpr std::uint8_t kModeLoadSigned = 0x80;  ///< BPF_MEMSX.
inline constexpr std::uint8_t kModeAtomic = 0xc0;
inline constexpr std::int32_t kAtomicLoadAcquire = 0x100;
inline constexpr std::int32_t kAtomicStoreRelease = 0x110;
inline constexpr std::int16_t kSignedDivision = 1;          ///< `off` of sdiv and smod.
inline constexpr std::uint8_t kOpConditionalPseudo = 0xe0;  ///< BPF_JCOND (may_goto).

/// Source bit of an ALU or JMP opcode as an enumerator-free constant: K is 0, X is 8.
inline constexpr std::uint8_t kLoadImmediate64 = BPF_LD | BPF_IMM | BPF_DW;

/// Where LDDW's value comes from (src_reg), by number: the header may lack the newer ones.
enum class Pseudo : std::uint8_t {
    none = 0,
    map_fd = 1,
    map_value = 2,
    btf_id = 3,
    function = 4,
    map_index = 5,
    map_index_value = 6,
};

/// Whom BPF_CALL calls (src_reg).
enum class CallKind : std::uint8_t {
    helper = 0,
    subprogram = 1,
    kfunc = 2,
    tail = 3,  ///< Rewritten: what was helper bpf_tail_call, R1 to R3 its arguments.
};

/// What libbpf puts in place of an instruction whose CO-RE relocation failed: a call to a helper
/// that does not exist. Legal while it is never reached.
inline constexpr std::int32_t kPoisonedCall = 195896080;
/// The first of the numbers that libbpf (since 1.3) has called in place of weak kernel functions
/// that it did not find, and how many there may be. Legal while they are never reached.
inline constexpr std::int32_t kAbsentFunction = 2002000000;
inline constexpr std::int32_t kAbsentFunctions = 1000000;

/// Of a call to a helper. Context: any.
constexpr bool is_poisoned(std::int32_t id) noexcept {
    return id == kPoisonedCall ||
           (id >= kAbsentFunction && id - kAbsentFunction < kAbsentFunctions);
}

/// Bytes that a load, a store or an atomic operation of this opcode works on.
/// Context: any.
constexpr unsigned access_bytes(unsigned code) noexcept {
    switch (BPF_SIZE(code)) {
    case BPF_B:
        return 1;
    case BPF_H:
        return 2;
    case BPF_W:
        return 4;
    default:
        return 8;
    }
}

// ---- Rewritten instructions --------------------------------------------------------------------

/// A rewritten call that ends the execution when it is reached: a poisoned instruction, or a weak
/// kfunc that the loader did not find.
inline constexpr std::int32_t kCallNowhere = -1;

/// Modes of a load by a pointer to a kernel struct that may be null: it gives 0 where there is
/// nothing to be read. The loader puts them where the verifier says so (the kernel's PROBE_MEM).
inline constexpr std::uint8_t kModeProbe = BPF_ABS;
inline constexpr std::uint8_t kModeProbeSigned = BPF_IND;

/// Context: any.
constexpr bool is_probe(const bpf_insn& insn) noexcept {
    return BPF_CLASS(insn.code) == BPF_LDX &&
           (BPF_MODE(insn.code) == kModeProbe || BPF_MODE(insn.code) == kModeProbeSigned);
}
/// A load, which may be an atomic one, as a probe. Probes acquire.
/// Context: any.
constexpr bpf_insn as_probe(bpf_insn insn) noexcept {
    const bool is_signed =
        BPF_CLASS(insn.code) == BPF_LDX && BPF_MODE(insn.code) == kModeLoadSigned;
    insn.code = static_cast<std::uint8_t>(BPF_LDX | BPF_SIZE(insn.code) |
                                          (is_signed ? kModeProbeSigned : kModeProbe));
    insn.imm = 0;
    return insn;
}

inline constexpr unsigned kFrameBytes = 512;
inline constexpr unsigned kFramesMax = 8;

/// Tail calls in an execution; further ones do nothing (MAX_TAIL_CALL_CNT).
inline constexpr unsigned kTailCallsMax = 33;

/// How often the loops of one call of a function go round by may_goto (BPF_MAX_LOOPS).
inline constexpr std::uint32_t kMayGotoMax = 8U << 20;

/// A function of a program as a value in a register: {0xfb : 8, program id : 24, entry : 32}. No
/// address of an x86-64 process looks like this, so it can be confused with no pointer; and with
/// the program's id in it, not with a function of another program.
inline constexpr std::uint64_t kFunctionTag = std::uint64_t{0xfb} << 56;
/// A kfunc whose existence a program tests (weak symbols): not null, and not an address either.
inline constexpr std::uint64_t kKfuncTag = std::uint64_t{0xfc} << 56;

/// Context: any.
constexpr std::uint64_t function_value(std::uint32_t program_id, std::uint32_t entry) noexcept {
    return kFunctionTag | std::uint64_t{program_id & 0xffffff} << 32 | entry;
}

}  // namespace taskwork::bpf
