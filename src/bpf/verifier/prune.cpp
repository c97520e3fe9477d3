// SPDX-License-Identifier: Apache-2.0
//
// Pruning: a path that comes to an instruction in a state which a walked one covers need not go on.
// Covers: every number, pointer and stack byte that can be now could be then, as far as what
// followed looked at it: dead registers and unread slots say nothing, and numbers on which nothing
// depended (precise.cpp) may be any. Inside loops, where what follows is not known before the walk
// has come round (loops.cpp), everything counts.
#include <algorithm>
#include <cerrno>

#include "bpf/verifier/walk.hpp"

namespace taskwork::bpf::verifier {

/// Which id then is which now.
struct Walk::Ids {
    std::vector<std::pair<std::uint32_t, std::uint32_t>> pairs;
    bool match(std::uint32_t old, std::uint32_t now) {
        if ((old == 0) != (now == 0)) {
            return false;
        }
        if (old == 0) {
            return true;
        }
        for (const auto& [first, second] : pairs) {
            if (first == old || second == now) {
                return first == old && second == now;
            }
        }
        pairs.emplace_back(old, now);
        return true;
    }
    /// Numbers that were equal then must be so now.
    bool match_number(std::uint32_t old, std::uint32_t now) {
        return old == 0 || match(old, now == 0 ? fresh-- : now);
    }
    std::uint32_t fresh = UINT32_MAX;
};

bool Walk::is_known(bool& known) {
    std::vector<Checkpoint*>& list = seen_[insn_];
    const std::uint32_t insns = verdict_.statistics.insns_processed - insns_at_checkpoint_;
    const std::uint32_t jumps = jumps_ - jumps_at_checkpoint_;
    const Round round = structure_.round[insn_];
    const bool comes_round = round != Round::none;
    bool add = comes_round || (jumps >= 2 && insns >= 8);
    // The latest first: in a loop that is the round before, which decides whether to add.
    for (std::size_t i = list.size(); i-- > 0;) {
        Checkpoint& old = *list[i];
        if (old.branches != 0) {
            if (closes_loop(old)) {
                tell_covered(old, Matching::within);
                ++old.hits;
                come_round(old);
                known = true;
                return true;
            }
            // What a callback or an iterator changes may be out of sight.
            if ((round == Round::none || round == Round::may_goto) && same(old, Matching::exact)) {
                return refuse(EINVAL, "infinite loop detected at insn %u", insn_);
            }
            // In a loop that ends, states between are many and help little.
            if (!comes_round && jumps < 20 && insns < 100) {
                add = false;
            }
        } else if (same(old, old.loop != nullptr ? Matching::within : Matching::precise)) {
            ++old.hits;
            if (old.loop != nullptr) {
                tell_covered(old, Matching::within);
                come_round(old);
            } else {
                tell_covered(old, Matching::precise);
                take_over(state_, old);
            }
            known = true;
            return true;
        }
        if (add) {
            ++old.misses;
        }
        const std::uint32_t patience = comes_round ? 64 : 3;
        if (old.misses > old.hits * patience + patience) {
            list.erase(list.begin() + static_cast<std::ptrdiff_t>(i));
            --states_;
        }
    }
    return !add || add_checkpoint();
}

void Walk::tell_covered(const Checkpoint& old, Matching matching) const {
    if (input_.observer == nullptr) {
        return;
    }
    Covered covered{.by = old, .everything_counts = matching == Matching::within, .live = {}};
    for (unsigned frame = 0; frame < state_.frames.size(); ++frame) {
        covered.live[frame] = live_in_frame(state_, frame, insn_);
    }
    input_.observer->prune(insn_, state_, covered);
}

bool Walk::add_checkpoint() {
    if (checkpoint_bytes_ > input_.checkpoint_bytes_max) {
        return refuse(E2BIG, "too many states: %u", verdict_.statistics.states_total);
    }
    auto checkpoint = std::make_unique<Checkpoint>();
    checkpoint->state = state_;
    checkpoint->insn = insn_;
    checkpoint->number = verdict_.statistics.states_total;
    checkpoint_bytes_ += sizeof(Checkpoint) + state_.history.size() * sizeof(Step);
    for (const Frame& frame : state_.frames) {
        checkpoint_bytes_ += sizeof(Frame) + frame.stack.size() * sizeof(Slot);
    }
    state_.parent = checkpoint.get();
    state_.history.clear();
    state_.followed.clear();
    state_.written = {};
    jumps_at_checkpoint_ = jumps_;
    insns_at_checkpoint_ = verdict_.statistics.insns_processed;

    std::vector<Checkpoint*>& list = seen_[insn_];
    list.push_back(checkpoint.get());
    checkpoints_.push_back(std::move(checkpoint));
    Statistics& s = verdict_.statistics;
    ++s.states_total;
    s.states_peak = std::max(s.states_peak, ++states_);
    s.states_per_insn_max =
        std::max(s.states_per_insn_max, static_cast<std::uint32_t>(list.size()));
    return true;
}

// ---- Comparison ---------------------------------------------------------------------------------

bool Walk::same_register(const Register& old, const Register& now, Matching matching, Ids& ids) {
    if (matching == Matching::exact) {
        return old.type == now.type && old.value == now.value && old.map == now.map &&
               old.offset == now.offset && old.size == now.size && old.or_null == now.or_null &&
               old.delta == now.delta && old.trust == now.trust && old.structure == now.structure &&
               old.frame == now.frame && old.read_only == now.read_only &&
               ids.match(old.id, now.id) && ids.match(old.reference, now.reference) &&
               ids.match(old.map_uid, now.map_uid);
    }
    if (old.type == Type::none) {
        return true;
    }
    if (old.type != now.type) {
        return false;
    }
    if (old.type == Type::scalar) {
        if (matching == Matching::precise && !old.precise) {
            return true;
        }
        return old.value.contains(now.value) && ids.match_number(old.id, now.id) &&
               (old.id == 0 || old.delta == now.delta);
    }
    if (old.map != now.map || old.offset != now.offset || old.size != now.size ||
        old.or_null != now.or_null || old.trust != now.trust || old.structure != now.structure ||
        old.frame != now.frame || old.read_only != now.read_only) {
        return false;
    }
    const bool covers =
        old.type == Type::stack ? old.value == now.value : old.value.contains(now.value);
    return covers && ids.match(old.id, now.id) && ids.match(old.reference, now.reference) &&
           ids.match(old.map_uid, now.map_uid);
}

bool Walk::same_slot(const Slot& old, const Slot& now, Matching matching, Ids& ids) {
    if (is_special(old.bytes[0]) || is_special(now.bytes[0])) {
        // How many numbers an iterator has given counts only where nothing else has changed.
        return old.bytes == now.bytes && ids.match(old.spilled.id, now.spilled.id) &&
               old.drained == now.drained &&
               (matching != Matching::exact || old.drained || old.depth == now.depth);
    }
    if (matching == Matching::exact) {
        return old.bytes == now.bytes &&
               (!old.is_spilled() || same_register(old.spilled, now.spilled, matching, ids));
    }
    const unsigned spilled = old.is_spilled() ? old.spilled_bytes() : 0;
    if (spilled != 0) {
        if (now.is_spilled() && now.spilled_bytes() == spilled) {
            if (!same_register(old.spilled, now.spilled, matching, ids)) {
                return false;
            }
        } else {
            // Bytes of which nothing is known are an unknown number.
            const bool any = old.spilled.is_scalar() &&
                             (matching == Matching::precise ? !old.spilled.precise
                                                            : old.spilled.value.is_unknown());
            if (!any || (now.is_spilled() && now.spilled.is_pointer())) {
                return false;
            }
            // One that is equal to nothing.
            if (matching != Matching::precise && !ids.match_number(old.spilled.id, 0)) {
                return false;
            }
        }
    }
    for (unsigned i = spilled; i < 8; ++i) {
        const bool now_zero =
            now.bytes[i] == Byte::zero ||
            (now.bytes[i] == Byte::spill && now.spilled.is_null() && matching != Matching::precise);
        if (old.bytes[i] == Byte::zero && !now_zero) {
            return false;
        }
    }
    return true;
}

std::uint16_t Walk::live_in_frame(const State& state, unsigned frame, std::uint32_t insn) const {
    constexpr std::uint16_t always = 1U << BPF_REG_10;
    if (frame == state.depth()) {
        return structure_.live[insn] | always;
    }
    const Frame& callee = state.frames[frame + 1];
    return callee.kind == FrameKind::callback ? structure_.live[callee.call_site] | always
                                              : structure_.live[callee.call_site + 1] | always;
}

bool Walk::same_frame(const State& old, unsigned frame, std::uint16_t live, std::uint64_t read,
                      Matching matching, Ids& ids) {
    const Frame& then = old.frames[frame];
    const Frame& now = state_.frames[frame];
    if (then.function != now.function || then.kind != now.kind ||
        (frame > 0 && then.call_site != now.call_site) ||
        // With fewer calls to come, less was seen of what follows.
        then.callback_calls > now.callback_calls ||
        (matching == Matching::exact && then.callback_calls != now.callback_calls)) {
        return false;
    }
    for (unsigned i = 0; i < MAX_BPF_REG; ++i) {
        if ((live >> i & 1) != 0 &&
            !same_register(then.registers[i], now.registers[i], matching, ids)) {
            return false;
        }
    }
    static const Slot nothing;
    const std::size_t slots = matching == Matching::exact
                                  ? std::max(then.stack.size(), now.stack.size())
                                  : then.stack.size();
    for (std::size_t i = 0; i < slots; ++i) {
        if (matching == Matching::precise && (read >> i & 1) == 0) {
            continue;
        }
        if (!same_slot(i < then.stack.size() ? then.stack[i] : nothing,
                       i < now.stack.size() ? now.stack[i] : nothing, matching, ids)) {
            return false;
        }
    }
    return true;
}

bool Walk::same(const Checkpoint& old, Matching matching) {
    const State& then = old.state;
    if (then.frames.size() != state_.frames.size() || then.may_sleep != state_.may_sleep ||
        then.rcu_locks != state_.rcu_locks || then.preempt_locks != state_.preempt_locks ||
        then.entry != state_.entry || then.held.size() != state_.held.size() ||
        (matching == Matching::exact && then.may_goto_depth != state_.may_goto_depth)) {
        return false;
    }
    Ids ids;
    for (std::size_t i = then.frames.size(); i-- > 0;) {
        const auto frame = static_cast<unsigned>(i);
        if (!same_frame(then, frame, live_in_frame(state_, frame, insn_), old.read[frame], matching,
                        ids)) {
            return false;
        }
    }
    for (std::size_t i = 0; i < then.held.size(); ++i) {
        const Held& a = then.held[i];
        const Held& b = state_.held[i];
        if (a.kind != b.kind || a.map != b.map || a.irq_save != b.irq_save ||
            !ids.match(a.id, b.id) || !ids.match(a.value_id, b.value_id)) {
            return false;
        }
    }
    return true;
}

}  // namespace taskwork::bpf::verifier
