// SPDX-License-Identifier: Apache-2.0
//
// Of the follower: what is loose, as data flows.
#include "bpf/verifier/log.hpp"
#include "tests/fuzz/soundness/follower.hpp"
#include "tests/fuzz/soundness/instructions.hpp"

namespace taskwork::fuzz {

using verifier::Frame;
using verifier::FrameKind;
using verifier::Slot;
using verifier::text_of;

bool Follower::slot_at(Word address, unsigned& depth, unsigned& slot) const {
    const Word offset = address - stack_;
    if (offset >= Word{bpf::kFrameBytes} * bpf::kFramesMax) {
        return false;
    }
    depth = static_cast<unsigned>(offset / bpf::kFrameBytes);
    slot = static_cast<unsigned>((bpf::kFrameBytes - 1 - offset % bpf::kFrameBytes) / 8);
    return true;
}

bool Follower::reads_unread(const Place& place) {
    const bpf_insn& at = previous();
    const unsigned f = depth_ - activation().base;
    if ((place.loose[f].unread_registers & read_by(at)) != 0) {
        return blame(text_of("instruction %u reads a register that pruning took for dead", insn_));
    }
    const bool loads = BPF_CLASS(at.code) == BPF_LDX || is_atomic(at);
    if (!loads) {
        return true;
    }
    const bool by_source = BPF_CLASS(at.code) == BPF_LDX || at.imm == bpf::kAtomicLoadAcquire;
    const Word address = registers_[depth_][by_source ? at.src_reg : at.dst_reg] +
                         static_cast<Word>(std::int64_t{at.off});
    unsigned depth = 0;
    unsigned slot = 0;
    if (at.imm != bpf::kAtomicStoreRelease && slot_at(address, depth, slot) &&
        depth >= activation().base &&
        (place.loose[depth - activation().base].unread_slots >> slot & 1) != 0) {
        return blame(text_of("instruction %u reads a slot that pruning took for unread", insn_));
    }
    return true;
}

void Follower::carry(Place& place, bool into_callback) const {
    const bpf_insn& at = previous();
    const unsigned f = depth_ - activation().base;
    Loose& loose = place.loose[f];
    switch (BPF_CLASS(at.code)) {
    case BPF_ALU:
    case BPF_ALU64: {
        const bool by_register = BPF_SRC(at.code) == BPF_X && BPF_OP(at.code) != BPF_END;
        const bool from_loose = by_register && loose.has_register(at.src_reg);
        if (BPF_OP(at.code) == BPF_MOV) {
            loose.tighten_register(at.dst_reg);
        }
        if (from_loose) {
            loose.any_number_registers |= static_cast<std::uint16_t>(1U << at.dst_reg);
        }
        return;
    }
    case BPF_LD:
        loose.tighten_register(at.dst_reg);
        return;
    case BPF_LDX:
    case BPF_ST:
    case BPF_STX:
        carry_memory(place, f);
        return;
    default:
        break;
    }
    switch (BPF_OP(at.code)) {
    case BPF_CALL:
        carry_call(place, f, into_callback);
        break;
    case BPF_EXIT:
        if (f > 0 && recording_.at(place.node).frames.back().kind == FrameKind::called) {
            place.loose[f - 1].copy_register(0, loose, 0);
        }
        loose = {};
        break;
    default:
        carry_jump(loose, recording_.at(place.node).frames.back());
        break;
    }
}

void Follower::carry_call(Place& place, unsigned f, bool into_callback) const {
    const bpf_insn& at = previous();
    Loose& loose = place.loose[f];
    if (into_callback) {
        place.loose[f + 1] = {};
        place.loose[f + 1].copy_register(at.imm == BPF_FUNC_loop ? 2 : 4, loose, 3);
        return;
    }
    if (calls(at, CallKind::subprogram) && f + 1 < place.loose.size()) {
        place.loose[f + 1] = {};
        for (unsigned i = BPF_REG_1; i <= BPF_REG_5; ++i) {
            place.loose[f + 1].copy_register(i, loose, i);
        }
    }
    for (unsigned i = BPF_REG_0; i <= BPF_REG_5; ++i) {
        loose.tighten_register(i);
    }
}

/// A comparison narrows both sides by each other, and all that equals them.
void Follower::carry_jump(Loose& loose, const Frame& frame) const {
    const std::uint16_t compared = read_by(previous());
    if (((loose.any_number_registers | loose.unread_registers) & compared) == 0) {
        return;
    }
    loose.any_number_registers |= compared;
    for (unsigned side = 0; side < frame.registers.size(); ++side) {
        const std::uint32_t id = frame.registers[side].id;
        if ((compared >> side & 1) == 0 || id == 0 || !frame.registers[side].is_scalar()) {
            continue;
        }
        for (unsigned i = 0; i < frame.registers.size(); ++i) {
            if (frame.registers[i].is_scalar() && frame.registers[i].id == id) {
                loose.any_number_registers |= static_cast<std::uint16_t>(1U << i);
            }
        }
        for (unsigned i = 0; i < frame.stack.size(); ++i) {
            const Slot& slot = frame.stack[i];
            if (slot.is_spilled() && slot.spilled.is_scalar() && slot.spilled.id == id) {
                loose.any_number_slots |= std::uint64_t{1} << i;
            }
        }
    }
}

void Follower::carry_memory(Place& place, unsigned f) const {
    const bpf_insn& at = previous();
    Loose& loose = place.loose[f];
    const bool atomic = is_atomic(at);
    const bool loads =
        BPF_CLASS(at.code) == BPF_LDX || (atomic && at.imm == bpf::kAtomicLoadAcquire);
    const Word address = registers_[depth_][loads ? at.src_reg : at.dst_reg] +
                         static_cast<Word>(std::int64_t{at.off});
    unsigned depth = 0;
    unsigned slot = 0;
    const bool on_stack = slot_at(address, depth, slot) && depth >= activation().base;
    Loose* there = on_stack ? &place.loose[depth - activation().base] : nullptr;
    const bool slot_is_loose = there != nullptr && there->has_slot(slot);
    const auto make = [&loose](unsigned number, bool is_loose) {
        loose.tighten_register(number);
        if (is_loose) {
            loose.any_number_registers |= static_cast<std::uint16_t>(1U << number);
        }
    };
    if (loads) {
        make(at.dst_reg, slot_is_loose);
        return;
    }
    const bool source_is_loose = BPF_CLASS(at.code) == BPF_STX && loose.has_register(at.src_reg);
    const bool fetches = atomic && at.imm != bpf::kAtomicStoreRelease;
    if (there != nullptr) {
        if (bpf::access_bytes(at.code) == 8 && !fetches) {
            there->tighten_slot(slot);
        }
        if (source_is_loose) {
            there->any_number_slots |= std::uint64_t{1} << slot;
        }
    }
    if (fetches && at.imm == BPF_CMPXCHG) {
        make(BPF_REG_0, slot_is_loose);
    } else if (fetches && (at.imm & BPF_FETCH) != 0) {
        make(at.src_reg, slot_is_loose);
    }
}

}  // namespace taskwork::fuzz
