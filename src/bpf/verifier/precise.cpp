// SPDX-License-Identifier: Apache-2.0
//
// Which numbers matter. A number does where the walk has used what it knows of it: to decide a
// branch, as an offset, as a size. From there the instructions of the path are followed backwards
// to whatever the number was computed from, through all checkpoints, which are marked; the others
// may prune paths with any number.
#include "bpf/verifier/walk.hpp"

namespace taskwork::bpf::verifier {

namespace {

constexpr std::uint16_t kArguments = 0x3e;
/// Instructions between those at which it is noted what was followed back.
constexpr std::size_t kFollowedEvery = 32;

}  // namespace

/// What was wanted behind the instruction becomes what is wanted before it.
void Walk::step_back(const Step& step, Wanted& wanted) const {
    const bpf_insn& at = input_.insns[step.insn];
    std::uint16_t& registers = wanted.registers[step.frame];
    const auto dst = static_cast<std::uint16_t>(1U << at.dst_reg);
    const auto src = static_cast<std::uint16_t>(1U << at.src_reg);
    const bool by_register = BPF_SRC(at.code) == BPF_X;
    const auto slot_bit =
        step.slot == Step::kNoSlot ? std::uint64_t{0} : std::uint64_t{1} << step.slot;
    const auto take = [&registers](std::uint16_t bit) {
        const bool was = (registers & bit) != 0;
        registers = static_cast<std::uint16_t>(registers & ~bit);
        return was;
    };
    switch (BPF_CLASS(at.code)) {
    case BPF_ALU:
    case BPF_ALU64:
        if ((registers & dst) == 0 || BPF_OP(at.code) == BPF_END || BPF_OP(at.code) == BPF_NEG) {
            return;
        }
        if (BPF_OP(at.code) == BPF_MOV) {
            take(dst);
        }
        registers = static_cast<std::uint16_t>(registers | (by_register ? src : 0));
        return;
    case BPF_LD:
        take(dst);
        return;
    case BPF_LDX:
        if (take(dst)) {
            wanted.slots[step.slot_frame] |= slot_bit;
        }
        return;
    case BPF_ST:
        wanted.slots[step.slot_frame] &= ~slot_bit;
        return;
    case BPF_STX:
        if (BPF_MODE(at.code) == kModeAtomic) {
            if (at.imm == kAtomicLoadAcquire) {
                if (take(dst)) {
                    wanted.slots[step.slot_frame] |= slot_bit;
                }
                return;
            }
            if (at.imm == BPF_CMPXCHG) {
                take(1);
            } else if (at.imm != kAtomicStoreRelease && (at.imm & BPF_FETCH) != 0) {
                take(src);
            }
            if (at.imm != kAtomicStoreRelease) {
                return;
            }
        }
        if ((wanted.slots[step.slot_frame] & slot_bit) != 0) {
            wanted.slots[step.slot_frame] &= ~slot_bit;
            registers |= src;
        }
        return;
    default:
        break;
    }
    if (BPF_OP(at.code) == BPF_CALL) {
        const unsigned callee = step.frame + 1;
        const bool enters =
            at.src_reg == static_cast<unsigned>(CallKind::subprogram) &&
            !structure_.functions[structure_.function_at(callee_of(at, step.insn))].is_global();
        if (enters && callee < kFramesMax) {
            registers = static_cast<std::uint16_t>((registers & ~(kArguments | 1)) |
                                                   (wanted.registers[callee] & kArguments));
        } else if (!step.callback) {
            take(kArguments | 1);
        }
        if ((enters || step.callback) && callee < kFramesMax) {
            wanted.registers[callee] = 0;
            wanted.slots[callee] = 0;
        }
        if (step.frame != 0 && is_tail_call(at)) {
            // What a program that was called has returned.
            wanted.registers[step.frame - 1] &= static_cast<std::uint16_t>(~1U);
        }
        return;
    }
    if (BPF_OP(at.code) == BPF_EXIT) {
        if (step.frame != 0 && !step.callback && (wanted.registers[step.frame - 1] & 1) != 0) {
            wanted.registers[step.frame - 1] &= static_cast<std::uint16_t>(~1U);
            registers |= 1;
        }
        return;
    }
    // A jump: both sides of a comparison narrow each other, and whatever equals them.
    const auto compared = static_cast<std::uint16_t>(dst | (by_register ? src : 0));
    if (BPF_OP(at.code) != BPF_JA && BPF_OP(at.code) != kOpConditionalPseudo &&
        ((registers & (compared | step.linked)) != 0 ||
         (wanted.slots[step.frame] & step.linked_slots) != 0)) {
        registers |= static_cast<std::uint16_t>(compared | step.linked);
        wanted.slots[step.frame] |= step.linked_slots;
    }
}

void Walk::make_precise(unsigned number) {
    if (!reg(number).is_scalar()) {
        return;
    }
    Wanted wanted;
    wanted.registers[state_.depth()] = static_cast<std::uint16_t>(1U << number);
    // The latest step is the instruction at hand.
    make_precise(state_, wanted, 1);
}

/// From the end of a path, or as many instructions before as are skipped, to its beginning. Numbers
/// that were followed there before are left out on the way: else each use of one would cost as much
/// as was walked since.
void Walk::follow_back(Path& path, Wanted& wanted, std::size_t skipped) const {
    for (std::size_t i = path.history.size() - skipped; i-- > 0 && wanted.any();) {
        if (i != 0 && i % kFollowedEvery == 0) {
            const std::size_t place = i / kFollowedEvery - 1;
            if (path.followed.size() <= place) {
                path.followed.resize(place + 1);
            }
            wanted.leave_out(path.followed[place]);
            path.followed[place].add(wanted);
        }
        step_back(path.history[i], wanted);
    }
}

bool Walk::make_precise(Path& path, Wanted& wanted, std::size_t skipped) {
    bool any_news = false;
    follow_back(path, wanted, skipped);
    for (Checkpoint* at = path.parent; at != nullptr; at = at->state.parent) {
        // Marked already: so is what it came from.
        for (std::size_t f = 0; f < kFramesMax; ++f) {
            if (f >= at->state.frames.size()) {
                wanted.registers[f] = 0;
                wanted.slots[f] = 0;
                continue;
            }
            Frame& frame = at->state.frames[f];
            const auto mark = [](Register& each) {
                const bool news = each.is_scalar() && !each.precise;
                each.precise = each.precise || news;
                return news;
            };
            for (unsigned i = 0; i < MAX_BPF_REG; ++i) {
                if ((wanted.registers[f] >> i & 1) != 0 && !mark(frame.registers[i])) {
                    wanted.registers[f] &= static_cast<std::uint16_t>(~(1U << i));
                }
            }
            for (unsigned i = 0; i < kSlots; ++i) {
                if ((wanted.slots[f] >> i & 1) != 0 &&
                    (i >= frame.stack.size() || !frame.stack[i].is_spilled() ||
                     !mark(frame.stack[i].spilled))) {
                    wanted.slots[f] &= ~(std::uint64_t{1} << i);
                }
            }
        }
        if (!wanted.any()) {
            return any_news;
        }
        any_news = true;
        follow_back(at->state, wanted, 0);
    }
    return any_news;
}

/// The path ends where `old` covers it: what mattered to what followed `old` matters to it. Returns
/// whether that is news.
bool Walk::take_over(Path& path, const Checkpoint& old) {
    SlotMasks read{};
    Wanted wanted;
    for (std::size_t f = 0; f < old.state.frames.size(); ++f) {
        const Frame& frame = old.state.frames[f];
        read[f] = old.read[f] & ~path.written[f];
        const std::uint16_t live = live_in_frame(old.state, static_cast<unsigned>(f), old.insn);
        for (unsigned i = 0; i < MAX_BPF_REG; ++i) {
            const Register& each = frame.registers[i];
            if ((live >> i & 1) != 0 && each.is_scalar() && each.precise) {
                wanted.registers[f] |= static_cast<std::uint16_t>(1U << i);
            }
        }
        for (std::size_t i = 0; i < frame.stack.size(); ++i) {
            const Slot& slot = frame.stack[i];
            if ((old.read[f] >> i & 1) != 0 && slot.is_spilled() && slot.spilled.is_scalar() &&
                slot.spilled.precise) {
                wanted.slots[f] |= std::uint64_t{1} << i;
            }
        }
    }
    const bool reads_more = merge_read(path.parent, read);
    return (wanted.any() && make_precise(path, wanted, 0)) || reads_more;
}

}  // namespace taskwork::bpf::verifier
