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
    if (insn_ == Node::kNone) {
        std::copy_n(registers, MAX_BPF_REG, registers_[depth].begin());
        if (!enter(insn, depth)) {
            return false;
        }
    } else {
        if (leaves(previous())) {
            const FrameKind kind =
                recording_.at(activation().places.front().node).frames.back().kind;
            for (Place& place : activation().places) {
                carry(place, false);
            }
            if (kind == FrameKind::callback) {
                if (!return_from_callback()) {
                    return false;
                }
            } else if (kind == FrameKind::global) {
                activations_.pop_back();
                insn_ = recording_.at(activation().places.front().node).insn;
                --depth_;
            }
        }
        const bool called = calls(previous(), CallKind::subprogram);
        const bool into_callback = !called && depth == depth_ + 1;
        const bool global =
            called && depth == depth_ + 1 && recording_.entry(insn) != Node::kNone && insn != 0;
        if (!leaves(previous()) && !global) {
            for (Place& place : activation().places) {
                if (!reads_unread(place)) {
                    return false;
                }
                carry(place, into_callback);
            }
        }
        remember_result(depth, registers);
        std::copy_n(registers, MAX_BPF_REG, registers_[depth].begin());
        if (global ? !enter(insn, depth) : !go_to(insn, depth)) {
            return false;
        }
    }
    insn_ = insn;
    depth_ = depth;
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
