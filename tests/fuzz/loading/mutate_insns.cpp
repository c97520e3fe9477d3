// SPDX-License-Identifier: Apache-2.0
#include <linux/bpf.h>

#include <algorithm>
#include <iterator>
#include <span>
#include <utility>

#include "bpf/isa.hpp"
#include "host.hpp"
#include "mutate.hpp"
#include "request.hpp"

namespace taskwork::fuzz {
namespace {

using bpf::CallKind;
using bpf::Pseudo;

/// Opcodes of all classes, wide constants and calls among them.
std::uint8_t opcode(Random& random) {
    static constexpr std::uint8_t usual[] = {
        0xb7, 0xbf, 0x07, 0x0f, 0x17, 0x27, 0x57, 0x67, 0x77, 0xc7, 0xb4, 0xbc, 0x04, 0x61, 0x69,
        0x71, 0x79, 0x62, 0x63, 0x7a, 0x7b, 0x73, 0xdb, 0x05, 0x15, 0x1d, 0x25, 0x2d, 0x55, 0x5d,
        0x65, 0xa5, 0xc5, 0x16, 0x1e, 0x85, 0x95, 0x18, 0x37, 0x9f, 0x84, 0xd4, 0xdc, 0xd7, 0x06};
    return below(random, 8) == 0 ? static_cast<std::uint8_t>(random())
                                 : usual[below(random, std::size(usual))];
}

void change_field(bpf_insn& insn, Random& random) {
    switch (below(random, 6)) {
    case 0:
        insn.code = opcode(random);
        break;
    case 1:
        insn.dst_reg = below(random, 12) & 0xf;
        break;
    case 2:
        insn.src_reg = below(random, 12) & 0xf;
        break;
    case 3:
        insn.off = static_cast<std::int16_t>(below(random, 4) == 0 ? odd_word(random)
                                                                   : below(random, 17) - 8);
        break;
    case 4:
        insn.imm = static_cast<std::int32_t>(below(random, 2) == 0 ? odd_word(random)
                                                                   : below(random, 220));
        break;
    default:
        insn.imm = kFirstMapDescriptor + static_cast<std::int32_t>(below(random, kMaps + 1));
        break;
    }
}

/// What loaders relocate: an instruction that names a map, a value, a variable, a function, a
/// kfunc.
std::vector<bpf_insn> relocated(Random& random) {
    const auto wide = [&random](Pseudo pseudo, std::int32_t low, std::int32_t high) {
        bpf_insn first{};
        first.code = BPF_LD | BPF_IMM | BPF_DW;
        first.dst_reg = below(random, 10) & 0xf;
        first.src_reg = static_cast<unsigned>(pseudo) & 0xf;
        first.imm = low;
        bpf_insn second{};
        second.imm = high;
        return std::vector<bpf_insn>{first, second};
    };
    const auto call = [](CallKind kind, std::int32_t imm, std::int16_t off) {
        bpf_insn insn{};
        insn.code = BPF_JMP | BPF_CALL;
        insn.src_reg = static_cast<unsigned>(kind) & 0xf;
        insn.imm = imm;
        insn.off = off;
        return std::vector<bpf_insn>{insn};
    };
    const auto map = kFirstMapDescriptor + static_cast<std::int32_t>(below(random, kMaps + 1));
    const auto index = static_cast<std::int32_t>(below(random, kMaps + 3));
    const auto offset =
        static_cast<std::int32_t>(below(random, 4) == 0 ? odd_word(random) : 8 * below(random, 9));
    const auto distance = static_cast<std::int32_t>(below(random, 24)) - 4;
    const auto& kfuncs = kfunc_ids();
    const auto kfunc = static_cast<std::int32_t>(
        below(random, 8) == 0 ? below(random, 256) : kfuncs[below(random, kfuncs.size())]);
    switch (below(random, 9)) {
    case 0:
        return wide(Pseudo::map_fd, map, 0);
    case 1:
        return wide(Pseudo::map_value, map, offset);
    case 2:
        return wide(Pseudo::map_index, index, 0);
    case 3:
        return wide(Pseudo::map_index_value, index, offset);
    case 4:
        return wide(Pseudo::btf_id, kfunc, 0);
    case 5:
        return wide(Pseudo::function, distance, 0);
    case 6:
        return call(CallKind::subprogram, distance, 0);
    case 7:
        return call(CallKind::kfunc, kfunc, 0);
    default:  // of a module, by its place in fd_array
        return call(CallKind::kfunc, kfunc, static_cast<std::int16_t>(below(random, kMaps + 3)));
    }
}

// ---- Form ---------------------------------------------------------------------------------------

/// Reserved fields as they must be, for the rest to be looked at.
void tidy_arithmetic(bpf_insn& insn) {
    const unsigned operation = BPF_OP(insn.code);
    const bool wide = BPF_CLASS(insn.code) == BPF_ALU64;
    insn.dst_reg %= BPF_REG_10;
    if (operation == BPF_NEG || operation == BPF_END) {
        insn.code &= static_cast<std::uint8_t>(operation == BPF_END && !wide ? 0xff : ~BPF_X);
        insn.src_reg = 0;
        insn.off = 0;
        insn.imm = operation == BPF_NEG ? 0 : 16 << (static_cast<unsigned>(insn.imm) % 3);
        return;
    }
    if (operation > BPF_END) {
        insn.code = BPF_ALU64 | BPF_ADD | BPF_K;
    }
    const bool by_register = BPF_SRC(insn.code) == BPF_X;
    insn.src_reg = by_register ? insn.src_reg : 0;
    insn.imm = by_register ? 0 : insn.imm;
    if (operation == BPF_MOV && by_register) {
        insn.off = static_cast<std::int16_t>(insn.off == 0 ? 0 : 8 << (insn.off & 1));
    } else {
        insn.off = operation == BPF_DIV || operation == BPF_MOD ? insn.off & 1 : 0;
    }
    const bool shifts = operation == BPF_LSH || operation == BPF_RSH || operation == BPF_ARSH;
    if (!by_register && shifts) {
        insn.imm &= wide ? 63 : 31;
    }
    if (!by_register && (operation == BPF_DIV || operation == BPF_MOD) && insn.imm == 0) {
        insn.imm = 1;
    }
}

void tidy_memory(bpf_insn& insn) {
    const unsigned kind = BPF_CLASS(insn.code);
    const unsigned mode = BPF_MODE(insn.code);
    const auto plain = static_cast<std::uint8_t>(kind | BPF_MEM | BPF_SIZE(insn.code));
    if (kind == BPF_STX && mode == bpf::kModeAtomic) {
        static constexpr std::int32_t operations[] = {BPF_ADD,
                                                      BPF_OR | BPF_FETCH,
                                                      BPF_AND,
                                                      BPF_XOR | BPF_FETCH,
                                                      BPF_ADD | BPF_FETCH,
                                                      BPF_XCHG,
                                                      BPF_CMPXCHG,
                                                      bpf::kAtomicLoadAcquire,
                                                      bpf::kAtomicStoreRelease};
        insn.code |= BPF_SIZE(insn.code) == BPF_W ? 0 : BPF_DW;
        insn.imm = operations[static_cast<unsigned>(insn.imm) % std::size(operations)];
        return;
    }
    if (mode != BPF_MEM &&
        !(kind == BPF_LDX && mode == bpf::kModeLoadSigned && BPF_SIZE(insn.code) != BPF_DW)) {
        insn.code = plain;
    }
    insn.dst_reg = kind == BPF_LDX ? insn.dst_reg % BPF_REG_10 : insn.dst_reg;
    insn.src_reg = kind == BPF_ST ? 0 : insn.src_reg;
    insn.imm = kind == BPF_ST ? insn.imm : 0;
}

void tidy_jump(bpf_insn& insn, std::int64_t at, std::int64_t count) {
    const unsigned operation = BPF_OP(insn.code);
    const bool is_short = BPF_CLASS(insn.code) == BPF_JMP32;
    if (operation > BPF_JSLE && operation != bpf::kOpConditionalPseudo) {
        insn.code = BPF_JMP | BPF_JA;
    }
    if (operation == BPF_CALL || operation == BPF_EXIT) {
        const bool calls = operation == BPF_CALL;
        insn.code = static_cast<std::uint8_t>(BPF_JMP | operation);
        insn.dst_reg = 0;
        insn.src_reg = calls ? insn.src_reg % 3 : 0;
        insn.off = insn.src_reg == static_cast<unsigned>(CallKind::kfunc) ? insn.off : 0;
        insn.imm = calls ? insn.imm : 0;
        return;
    }
    const bool is_far = is_short && operation == BPF_JA;
    const std::int64_t target = at + 1 + (is_far ? insn.imm : insn.off);
    if (target < 0 || target >= count) {
        insn.off = 0;
        insn.imm = is_far ? 0 : insn.imm;
    }
    if (operation == BPF_JA || operation == bpf::kOpConditionalPseudo) {
        insn.dst_reg = insn.src_reg = 0;
        insn.off = is_far ? 0 : insn.off;
        insn.imm = is_far ? insn.imm : 0;
    } else if (BPF_SRC(insn.code) == BPF_X) {
        insn.imm = 0;
    } else {
        insn.src_reg = 0;
    }
}

void tidy(std::vector<bpf_insn>& insns) {
    if (insns.back().code != (BPF_JMP | BPF_EXIT)) {
        insns.push_back(
            {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0});
    }
    const auto count = static_cast<std::int64_t>(insns.size());
    for (std::size_t i = 0; i < insns.size(); ++i) {
        bpf_insn& insn = insns[i];
        insn.dst_reg %= MAX_BPF_REG;
        insn.src_reg %= MAX_BPF_REG;
        if (insn.code == bpf::kLoadImmediate64 && i + 2 < insns.size()) {
            insn.off = 0;
            insn.dst_reg %= BPF_REG_10;
            insn.src_reg %= 7;
            insns[++i] = {.code = 0, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = insns[i].imm};
            continue;
        }
        switch (BPF_CLASS(insn.code)) {
        case BPF_LD:
            insn.code = BPF_ALU64 | BPF_MOV | BPF_K;
            [[fallthrough]];
        case BPF_ALU:
        case BPF_ALU64:
            tidy_arithmetic(insn);
            break;
        case BPF_JMP:
        case BPF_JMP32:
            tidy_jump(insn, static_cast<std::int64_t>(i), count);
            break;
        default:
            tidy_memory(insn);
            break;
        }
    }
}

/// Jumps and calls over what has come or gone.
void lead_on(std::vector<bpf_insn>& insns, const Shift& shift) {
    const auto place = static_cast<std::int64_t>(shift.at);
    for (std::size_t i = 0; i < insns.size(); ++i) {
        bpf_insn& insn = insns[i];
        const bool is_function = insn.code == (BPF_LD | BPF_IMM | BPF_DW) &&
                                 insn.src_reg == static_cast<unsigned>(Pseudo::function);
        const bool calls = is_function ||
                           (insn.code == (BPF_JMP | BPF_CALL) &&
                            insn.src_reg == static_cast<unsigned>(CallKind::subprogram)) ||
                           insn.code == (BPF_JMP32 | BPF_JA);
        const unsigned kind = BPF_CLASS(insn.code);
        const bool jumps = !calls && (kind == BPF_JMP || kind == BPF_JMP32) &&
                           BPF_OP(insn.code) != BPF_CALL && BPF_OP(insn.code) != BPF_EXIT;
        if (!calls && !jumps) {
            continue;
        }
        // Where it was, and where it led, before.
        const auto now = static_cast<std::int64_t>(i);
        const bool moved = now >= place + std::max(shift.by, 0);
        const std::int64_t source = moved ? now - shift.by : now;
        const std::int64_t target = source + 1 + (calls ? insn.imm : insn.off);
        const std::int32_t further = (target >= place ? shift.by : 0) - (moved ? shift.by : 0);
        if (now >= place && !moved) {
            continue;  // It is what has come.
        }
        if (calls) {
            insn.imm = static_cast<std::int32_t>(static_cast<std::uint32_t>(insn.imm) +
                                                 static_cast<std::uint32_t>(further));
        } else {
            insn.off = static_cast<std::int16_t>(insn.off + further);
        }
    }
}

}  // namespace

std::vector<Shift> mutate_insns(std::vector<std::byte>& bytes, Random& random) {
    std::vector<bpf_insn> insns = as_vector<bpf_insn>(bytes);
    std::vector<Shift> shifts;
    const auto insert = [&](std::size_t at, const std::vector<bpf_insn>& more) {
        insns.insert(insns.begin() + static_cast<std::ptrdiff_t>(at), more.begin(), more.end());
        shifts.push_back({at, static_cast<std::int32_t>(more.size())});
    };
    for (std::uint32_t changes = 1 + below(random, 3); changes > 0; --changes) {
        if (insns.empty()) {
            insns.push_back({.code = 0x95, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0});
        }
        std::size_t at = below(random, insns.size());
        at -= at != 0 && insns[at].code == 0 ? 1 : 0;  // not between the halves of one
        const std::size_t before = shifts.size();
        switch (below(random, 9)) {
        case 0:
            insns.erase(insns.begin() + static_cast<std::ptrdiff_t>(at));
            shifts.push_back({at, -1});
            if (at < insns.size() && insns[at].code == 0) {
                insns.erase(insns.begin() + static_cast<std::ptrdiff_t>(at));
                shifts.back().by = -2;
            }
            break;
        case 1:
            insert(at, insns[at].code == bpf::kLoadImmediate64 && at + 1 < insns.size()
                           ? std::vector<bpf_insn>{insns[at], insns[at + 1]}
                           : std::vector<bpf_insn>{insns[at]});
            break;
        case 2: {
            bpf_insn insn{};
            insn.code = opcode(random);
            insn.dst_reg = below(random, 11) & 0xf;
            insn.src_reg = below(random, 11) & 0xf;
            insn.imm = static_cast<std::int32_t>(below(random, 64));
            insert(at, {insn});
            break;
        }
        case 3:
            std::swap(insns[at], insns[below(random, insns.size())]);
            break;
        case 4:
            insert(at, relocated(random));
            break;
        default:
            change_field(insns[at], random);
            break;
        }
        if (shifts.size() != before && below(random, 8) != 0) {
            lead_on(insns, shifts.back());
        }
    }
    if (!insns.empty() && below(random, 8) != 0) {
        tidy(insns);
    }
    const auto all = std::as_bytes(std::span(insns));
    bytes.assign(all.begin(), all.end());
    return shifts;
}

void mutate_table(std::vector<std::byte>& bytes, Random& random) {
    std::vector<std::uint32_t> words = as_vector<std::uint32_t>(bytes);
    if (words.empty() || below(random, 8) == 0) {
        words.push_back(below(random, 16));
    }
    const std::size_t which = below(random, words.size());
    switch (below(random, 4)) {
    case 0:
        words[which] = odd_word(random);
        break;
    case 1:
        words[which] += below(random, 5) - 2;
        break;
    case 2:
        words.resize(which);
        break;
    default:
        words[which] = below(random, 64);
        break;
    }
    const auto all = std::as_bytes(std::span(words));
    bytes.assign(all.begin(), all.end());
}

}  // namespace taskwork::fuzz
