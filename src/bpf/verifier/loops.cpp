// SPDX-License-Identifier: Apache-2.0
//
// Loops that need not be walked as often as they go round: by an iterator on the stack
// (bpf_iter_num_*), by may_goto, by a helper that calls back (callbacks.cpp). Each round passes one
// instruction (Structure::round). A path that comes there again in a state within the one of an
// earlier round brings nothing new and ends; numbers that differ from round to round, and have not
// mattered yet, are given up, or that would never be.
//
// Such a path goes back to a checkpoint of which it is not known yet what counts, for not all that
// follows has been walked. It is kept as one of the loop's ways back. Until all paths of the loop
// have ended everything counts in its checkpoints (Checkpoint::loop); then what counts at the
// beginning is handed on along the ways back, until that is no news anywhere.
#include <algorithm>
#include <cerrno>
#include <iterator>
#include <utility>

#include "bpf/verifier/walk.hpp"

namespace taskwork::bpf::verifier {

// ---- Iterators ----------------------------------------------------------------------------------

bool Walk::iterator_argument(const KfuncPrototype& prototype, unsigned number, Call& call) {
    const Register given = reg(number);
    const unsigned index = number - BPF_REG_1;
    const bool is_new = prototype.kind == KfuncKind::iter_new;
    const auto unexpected = [&] {
        return is_new ? refuse(EINVAL, "expected uninitialized iter_num as arg #%u", index)
                      : refuse(EINVAL, "expected an initialized iter_num as arg #%u", index);
    };
    if (given.type != Type::stack) {
        return refuse(EINVAL, "arg#%u expected pointer to an iterator on stack", index);
    }
    if (!given.value.is_constant()) {
        note("iter has to be at a constant offset");
        return unexpected();
    }
    const std::int64_t offset = given.offset + given.value.s64.min;
    if (offset % 8 != 0 || offset >= 8) {
        note("cannot pass in iter at an offset=%d", static_cast<int>(offset));
        return unexpected();
    }
    if (!is_new && (offset >= 0 || offset < -std::int64_t{kFrameBytes})) {
        return unexpected();
    }
    StackRange range{};
    if (!stack_range(given, number, 0, 8, Access::write, range)) {
        return false;
    }
    call.frame = given.frame;
    call.slot = static_cast<unsigned>(~range.min) >> 3;
    Slot& slot = state_.slot(call.frame, call.slot);
    state_.history.back().slot = static_cast<std::uint8_t>(call.slot);
    state_.history.back().slot_frame = given.frame;
    if (is_new == (slot.bytes[0] == Byte::iterator)) {
        return unexpected();
    }
    if (!is_new) {
        read_slot(call.frame, call.slot);
        if (prototype.kind == KfuncKind::iter_destroy) {
            call.released = slot.spilled.id;
            slot = Slot{};
        }
        return true;
    }
    slot = Slot{};
    slot.bytes.fill(Byte::iterator);
    slot.spilled.id = new_id();
    state_.written[call.frame] |= std::uint64_t{1} << call.slot;
    state_.held.push_back({.kind = HeldKind::reference, .id = slot.spilled.id, .insn = insn_});
    return true;
}

/// There may be another number, unless there were no more before, and there may be none: goes on
/// with the latter.
bool Walk::iterate(const Call& call) {
    if (!state_.slot(call.frame, call.slot).drained) {
        State other = state_;
        Slot& slot = other.slot(call.frame, call.slot);
        ++slot.depth;
        Register number = Register::pointer(Type::memory);
        number.size = sizeof(std::int32_t);
        number.read_only = true;
        number.reference = slot.spilled.id;
        other.frame().registers[BPF_REG_0] = number;
        if (const Checkpoint* before = earlier_round(state_.parent)) {
            widen(before->state, other);
        }
        if (!push(std::move(other), insn_ + 1)) {
            return false;
        }
        state_.slot(call.frame, call.slot).drained = true;
    }
    reg(BPF_REG_0) = Register::constant(0);
    return true;
}

// ---- may_goto -----------------------------------------------------------------------------------

bool Walk::may_goto() {
    State on = state_;
    ++on.may_goto_depth;
    if (const Checkpoint* before = earlier_round(state_.parent)) {
        widen(before->state, on);
    }
    if (!push(std::move(on), insn_ + 1)) {
        return false;
    }
    insn_ = static_cast<std::uint32_t>(std::int64_t{insn_} + 1 + insn().off);
    return true;
}

// ---- Rounds -------------------------------------------------------------------------------------

const Checkpoint* Walk::earlier_round(const Checkpoint* this_round) const {
    const auto same_calls = [this](const State& then) {
        if (then.frames.size() != state_.frames.size()) {
            return false;
        }
        for (std::size_t i = 1; i < then.frames.size(); ++i) {
            if (then.frames[i].call_site != state_.frames[i].call_site) {
                return false;
            }
        }
        return true;
    };
    const std::vector<Checkpoint*>& list = seen_[insn_];
    for (std::size_t i = list.size(); i-- > 0;) {
        const Checkpoint* at = list[i];
        if (at != this_round && at->branches != 0 && at->state.entry == state_.entry &&
            same_calls(at->state)) {
            return at;
        }
    }
    return nullptr;
}

void Walk::widen(const State& before, State& now) {
    const auto widen_one = [](const Register& old, Register& each) {
        // Of equal ranges one may have moved away from the numbers that it was linked to.
        const bool differs =
            old.value != each.value || (old.id != 0 && (each.id == 0 || old.delta != each.delta));
        if (old.is_scalar() && each.is_scalar() && !old.precise && differs) {
            each = Register::unknown();
        }
    };
    for (std::size_t f = 0; f < now.frames.size(); ++f) {
        Frame& frame = now.frames[f];
        const Frame& old = before.frames[f];
        for (unsigned i = 0; i < MAX_BPF_REG; ++i) {
            widen_one(old.registers[i], frame.registers[i]);
        }
        for (std::size_t i = 0; i < frame.stack.size() && i < old.stack.size(); ++i) {
            if (frame.stack[i].is_spilled() && old.stack[i].is_spilled() &&
                frame.stack[i].spilled_bytes() == old.stack[i].spilled_bytes() &&
                frame.stack[i].spilled_bytes() == 8) {
                widen_one(old.stack[i].spilled, frame.stack[i].spilled);
            }
        }
    }
}

/// Whether the path at hand, which has passed `old`, brings nothing new there.
bool Walk::closes_loop(const Checkpoint& old) {
    switch (structure_.round[insn_]) {
    case Round::none:
        return false;
    case Round::callback:
        return same(old, Matching::within);
    case Round::iterator: {
        if (!same(old, Matching::within)) {
            return false;
        }
        // `old` was let through, and here is the same: an iterator.
        const Register& iterator = reg(BPF_REG_1);
        const auto at = static_cast<std::int32_t>(iterator.offset + iterator.value.s64.min);
        return !state_.slot(iterator.frame, static_cast<unsigned>(~at) >> 3).drained;
    }
    case Round::may_goto:
        return old.state.may_goto_depth != state_.may_goto_depth && same(old, Matching::within);
    }
    return false;
}

/// The path ends at a checkpoint of a loop that is still walked.
void Walk::come_round(Checkpoint& old) {
    Checkpoint& head = old.branches != 0 ? old : *old.loop;
    // Of loops in each other the outermost counts; the way to it has been marked.
    for (Checkpoint* at = state_.parent;
         at != &head && (at->loop == nullptr || at->loop->number > head.number);
         at = at->state.parent) {
        at->loop = &head;
        head.inside.push_back(at);
    }
    take_over(state_, old);
    checkpoint_bytes_ += sizeof(Checkpoint::Return) + state_.history.size() * sizeof(Step);
    head.returns.push_back({static_cast<const Path&>(state_), &old});
}

/// All paths from `head` have ended.
void Walk::end_loop(Checkpoint& head) {
    for (bool news = true; news;) {
        news = false;
        for (Checkpoint::Return& each : head.returns) {
            news = take_over(each.path, *each.to) || news;
        }
    }
    Checkpoint* const outer = head.loop;
    for (Checkpoint* each : head.inside) {
        if (each->loop == &head) {
            each->loop = outer;
            if (outer != nullptr) {
                outer->inside.push_back(each);
            }
        }
    }
    if (outer != nullptr) {
        // What turns out to count in the outer loop goes round here, too.
        std::move(head.returns.begin(), head.returns.end(), std::back_inserter(outer->returns));
    }
    head.returns.clear();
    head.inside.clear();
}

}  // namespace taskwork::bpf::verifier
