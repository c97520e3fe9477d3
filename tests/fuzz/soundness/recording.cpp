// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/soundness/recording.hpp"

namespace taskwork::fuzz {

void Recording::clear() {
    count_ = 0;
    maps_.clear();
    put_off_.clear();
    later_.clear();
    entries_.clear();
    checkpoints_.clear();
    latest_ = Node::kNone;
}

std::uint32_t Recording::entry(std::uint32_t insn) const {
    const auto found = entries_.find(insn);
    return found == entries_.end() ? Node::kNone : found->second;
}

std::uint32_t Recording::add(std::uint32_t insn, const verifier::State& state) {
    const std::uint32_t number = count_++;
    if (number == nodes_.size()) {
        nodes_.emplace_back();
    }
    Node& node = nodes_[number];
    node.insn = insn;
    node.target = Node::kNone;
    node.frames = state.frames;
    node.next.clear();
    node.held.clear();
    for (const verifier::Held& each : state.held) {
        node.held.push_back({each.kind, each.id});
    }
    node.rcu_locks = state.rcu_locks;
    node.preempt_locks = state.preempt_locks;
    node.entry = state.entry;
    node.loose = {};
    node.everything_counted = false;
    for (verifier::Frame& frame : node.frames) {
        for (verifier::Register& each : frame.registers) {
            each.map = keep(each.map);
        }
        for (verifier::Slot& slot : frame.stack) {
            slot.spilled.map = keep(slot.spilled.map);
        }
    }
    if (latest_ == Node::kNone) {
        entries_[insn] = number;
    } else if (nodes_[latest_].entry == state.entry) {
        nodes_[latest_].next.push_back(number);
    } else {
        later_.push_back(number);
    }
    return number;
}

const verifier::MapInfo* Recording::keep(const verifier::MapInfo* map) {
    if (map == nullptr) {
        return nullptr;
    }
    for (const auto& [original, copy] : maps_) {
        if (original == map) {
            return copy.get();
        }
    }
    return maps_.emplace_back(map, std::make_unique<verifier::MapInfo>(*map)).second.get();
}

void Recording::begin(std::uint32_t) {
    put_off_.assign(1, Node::kNone);
    checkpoints_.clear();
}

void Recording::walk(std::uint32_t insn, const verifier::State& state) {
    if (!is_whole()) {
        return;
    }
    latest_ = add(insn, state);
    if (state.parent != nullptr && state.history.empty()) {
        checkpoints_[state.parent] = latest_;
    }
}

void Recording::put_off() { put_off_.push_back(latest_); }

void Recording::take_up() {
    latest_ = put_off_.back();
    put_off_.pop_back();
}

void Recording::prune(std::uint32_t insn, const verifier::State& state,
                      const verifier::Covered& covered) {
    if (!is_whole()) {
        return;
    }
    Node& node = nodes_[add(insn, state)];
    node.target = checkpoints_.at(&covered.by);
    node.everything_counted = covered.everything_counts;
    for (std::size_t f = 0; f < covered.by.state.frames.size(); ++f) {
        const verifier::Frame& frame = covered.by.state.frames[f];
        Loose& loose = node.loose[f];
        loose.unread_registers = static_cast<std::uint16_t>(~covered.live[f]);
        if (covered.everything_counts) {
            continue;
        }
        for (unsigned i = 0; i < frame.registers.size(); ++i) {
            const verifier::Register& each = frame.registers[i];
            if (each.is_scalar() && !each.precise) {
                loose.any_number_registers |= static_cast<std::uint16_t>(1U << i);
            }
        }
        loose.unread_slots = ~covered.by.read[f];
        for (unsigned i = 0; i < frame.stack.size(); ++i) {
            const verifier::Slot& slot = frame.stack[i];
            if (slot.is_spilled() && slot.spilled.is_scalar() && !slot.spilled.precise) {
                loose.any_number_slots |= std::uint64_t{1} << i;
            }
        }
    }
}

}  // namespace taskwork::fuzz
