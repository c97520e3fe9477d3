// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/soundness/follower.hpp"

#include <algorithm>

#include "bpf/verifier/log.hpp"
#include "tests/fuzz/soundness/instructions.hpp"

namespace taskwork::fuzz {

using verifier::Frame;
using verifier::FrameKind;
using verifier::text_of;
using verifier::Type;

namespace {

bool is_any_number(const Loose& loose) {
    return loose.any_number_registers != 0 || loose.any_number_slots != 0;
}

}  // namespace

// ---- The execution ------------------------------------------------------------------------------

void Follower::start(const bpf::Program& program, const void* stack, const void* context) {
    program_ = &program;
    stack_ = reinterpret_cast<Word>(stack);
    context_ = reinterpret_cast<Word>(context);
    activations_.clear();
    found_.clear();
    records_.clear();
    iterated_.clear();
    acquired_.clear();
    held_ = {};
    insn_ = Node::kNone;
    steps_ = 0;
    violation_.clear();
}

bool Follower::blame(const std::string& text) {
    if (violation_.empty()) {
        violation_ = text;
    }
    return false;
}

bool Follower::at(std::uint32_t insn, unsigned depth, const Word* registers) {
    if (!violation_.empty() || ++steps_ > kStepsMax) {
        return false;
    }
    if (insn_ == Node::kNone || (leaves(previous()) && depth_ == 0)) {
        if (!begin(insn, depth, registers)) {
            return false;
        }
    } else {
        bool carried = false;
        if (leaves(previous()) && !leave_frame(carried)) {
            return false;
        }
        const bool called = calls(previous(), CallKind::subprogram);
        const bool into_callback = !called && depth == depth_ + 1;
        const bool global =
            called && depth == depth_ + 1 && recording_.entry(insn) != Node::kNone && insn != 0;
        const bool program = !carried && calls(previous(), CallKind::tail) && insn == 0;
        if (!carried && !global && !program) {
            for (Place& place : activation().places) {
                if (!reads_unread(place)) {
                    return false;
                }
                carry(place, into_callback);
            }
        }
        remember_result(depth, registers);
        std::copy_n(registers, MAX_BPF_REG, registers_[depth].begin());
        if (global || program ? !enter(insn, depth) : !go_to(insn, depth)) {
            return false;
        }
        if (program) {
            activation().tail_call = insn_;
            ++programs_called;
        }
    }
    insn_ = insn;
    depth_ = depth;
    return true;
}

/// The main program, or one of its works, which have a stack of their own.
bool Follower::begin(std::uint32_t insn, unsigned depth, const Word* registers) {
    std::copy_n(registers, MAX_BPF_REG, registers_[depth].begin());
    if (insn_ == Node::kNone) {
        return enter(insn, depth);
    }
    end();
    activations_.clear();
    stack_ = registers[BPF_REG_10] - bpf::kFrameBytes;
    found_.push_back({reinterpret_cast<const void*>(registers[1]), registers[3]});
    keys_[depth] = registers[2];
    ++works;
    return enter_work(insn);
}

// ---- Returns ------------------------------------------------------------------------------------

/// What was called has ended. `carried`: what is loose is where it is when the caller goes on.
bool Follower::leave_frame(bool& carried) {
    carried = true;
    if (activation().tail_call != Node::kNone && depth_ == activation().base) {
        carried = return_from_program();
        return true;
    }
    const FrameKind kind = recording_.at(activation().places.front().node).frames.back().kind;
    for (Place& place : activation().places) {
        carry(place, false);
    }
    if (kind == FrameKind::callback) {
        carried = false;
        return return_from_callback();
    }
    if (kind == FrameKind::global) {
        carried = false;
        return_from_global();
    }
    return true;
}

void Follower::return_from_global() {
    activations_.pop_back();
    insn_ = recording_.at(activation().places.front().node).insn;
    --depth_;
}

/// The frame is left in which the tail call was made: a function's, whose result is what the
/// program's is, a global one's, or again a program's.
bool Follower::return_from_program() {
    do {
        insn_ = activation().tail_call;
        activations_.pop_back();
    } while (activation().tail_call != Node::kNone && depth_ == activation().base);
    if (depth_ == activation().base) {
        return_from_global();
        return false;
    }
    const unsigned f = depth_ - activation().base;
    for (Place& place : activation().places) {
        place.loose[f - 1].tighten_register(BPF_REG_0);
        place.loose[f] = {};
    }
    return true;
}

// ---- Along the walk -----------------------------------------------------------------------------

bool Follower::enter(std::uint32_t insn, unsigned depth) {
    const std::uint32_t node = recording_.entry(insn);
    if (node == Node::kNone) {
        return blame(text_of("the walk never began at instruction %u", insn));
    }
    activations_.push_back({.base = depth, .places = {}, .arguments = {}, .held = held_});
    activation().arguments.assign(registers_[depth].begin() + 1, registers_[depth].begin() + 6);
    if (!settle({.node = node, .loose = {}}, activation().places)) {
        return blame(text_of("entry, instruction %u: %s", insn, complaint_.c_str()));
    }
    return true;
}

/// A callback of task work: as often walked as there are maps that it was scheduled for.
bool Follower::enter_work(std::uint32_t insn) {
    complaint_ = "the walk never began there";
    activations_.push_back({.held = held_});
    for (const std::uint32_t node : recording_.later()) {
        if (recording_.at(node).insn == insn) {
            settle({.node = node, .loose = {}}, activation().places);
        }
    }
    return !activation().places.empty() ||
           blame(text_of("task work, instruction %u: %s", insn, complaint_.c_str()));
}

/// The walk is at the call again, as it was made; the execution is inside the helper.
bool Follower::return_from_callback() {
    const Frame& frame = recording_.at(activation().places.front().node).frames.back();
    const std::uint32_t call_site = frame.call_site;
    if (!go_to(call_site, depth_ - 1)) {
        return false;
    }
    insn_ = call_site;
    --depth_;
    return true;
}

bool Follower::go_to(std::uint32_t insn, unsigned depth) {
    complaint_ = "the walk never went there";
    std::vector<Place>& places = scratch_;
    places.clear();
    for (const Place& place : activation().places) {
        for (const std::uint32_t next : recording_.at(place.node).next) {
            const Node& node = recording_.at(next);
            if (node.insn == insn && node.frames.size() == depth - activation().base + 1) {
                settle({.node = next, .loose = place.loose}, places);
            }
        }
    }
    if (places.empty()) {
        return blame(text_of("from instruction %u to %u: %s", insn_, insn, complaint_.c_str()));
    }
    activation().places.swap(places);
    return true;
}

bool Follower::settle(Place place, std::vector<Place>& places) {
    const Node& node = recording_.at(place.node);
    if (!hold(node, place.loose)) {
        return false;
    }
    if (node.target != Node::kNone) {
        ++jumps_to_covering;
        LooseFrames loose = node.loose;
        if (node.everything_counted) {
            for (std::size_t f = 0; f < loose.size(); ++f) {
                loose[f].unread_registers |= place.loose[f].unread_registers;
                loose[f].any_number_registers |= place.loose[f].any_number_registers;
                loose[f].unread_slots |= place.loose[f].unread_slots;
                loose[f].any_number_slots |= place.loose[f].any_number_slots;
            }
        }
        if (!hold(recording_.at(node.target), loose)) {
            complaint_ = "pruned by a state that does not cover it: " + complaint_;
            return false;
        }
        loosened += std::any_of(loose.begin(), loose.end(), is_any_number) ? 1 : 0;
        place = {.node = node.target, .loose = loose};
    }
    // Where two ways through the walk meet they go on as one.
    if (std::find(places.begin(), places.end(), place) == places.end()) {
        places.push_back(place);
    }
    return true;
}

}  // namespace taskwork::fuzz
