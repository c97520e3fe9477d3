// SPDX-License-Identifier: Apache-2.0
//
// Recording: a walk of the verifier as a graph. A node is an instruction with the state in which it
// was walked; edges lead to what was walked next. A path that was pruned ends in a node whose
// target is the node of the state that covers it; there, what pruning did not compare is loose:
// registers that are not read later, slots that nothing reads, numbers that are not precise.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bpf/verifier/observer.hpp"

namespace taskwork::fuzz {

namespace verifier = bpf::verifier;

/// Registers and slots of a frame, a bit each. What is `unread` must not be read, what is
/// `any_number` may be a number that the state does not contain.
struct Loose {
    std::uint16_t unread_registers = 0;
    std::uint16_t any_number_registers = 0;
    std::uint64_t unread_slots = 0;
    std::uint64_t any_number_slots = 0;

    bool operator==(const Loose&) const = default;
    [[nodiscard]] bool has_register(unsigned number) const {
        return ((unread_registers | any_number_registers) >> number & 1) != 0;
    }
    [[nodiscard]] bool has_slot(unsigned number) const {
        return ((unread_slots | any_number_slots) >> number & 1) != 0;
    }
    void tighten_register(unsigned number) {
        const auto keep = static_cast<std::uint16_t>(~(1U << number));
        unread_registers &= keep;
        any_number_registers &= keep;
    }
    void tighten_slot(unsigned number) {
        const auto keep = ~(std::uint64_t{1} << number);
        unread_slots &= keep;
        any_number_slots &= keep;
    }
    /// Makes register `to` as loose as `from` of `by` is.
    void copy_register(unsigned to, const Loose& by, unsigned from) {
        const auto unread = static_cast<std::uint16_t>((by.unread_registers >> from & 1U) << to);
        const auto any = static_cast<std::uint16_t>((by.any_number_registers >> from & 1U) << to);
        tighten_register(to);
        unread_registers |= unread;
        any_number_registers |= any;
    }
};
using LooseFrames = std::array<Loose, bpf::kFramesMax>;

struct Node {
    static constexpr std::uint32_t kNone = UINT32_MAX;
    std::uint32_t insn = 0;
    std::uint32_t target = kNone;  ///< Pruned: what is walked instead.
    std::vector<verifier::Frame> frames;
    std::vector<std::uint32_t> next;
    struct Held {
        verifier::HeldKind kind;
        std::uint32_t id;
    };
    std::vector<Held> held;
    std::uint32_t rcu_locks = 0;
    std::uint32_t preempt_locks = 0;
    std::uint32_t entry = 0;  ///< State::entry
    LooseFrames loose;        ///< Pruned: in the target.
    /// Pruned: all that is read later was compared, as in a loop whose end was not known yet. What
    /// was loose before and still does not matter stays so.
    bool everything_counted = false;
};

class Recording final : public verifier::Observer {
public:
    /// A walk of more is not kept.
    static constexpr std::uint32_t kNodesMax = 30'000;

    void clear();
    [[nodiscard]] bool is_whole() const { return count_ < kNodesMax; }
    /// The first node of the program, or of a global function, at this instruction.
    [[nodiscard]] std::uint32_t entry(std::uint32_t insn) const;
    /// The first nodes of callbacks that run later.
    [[nodiscard]] const std::vector<std::uint32_t>& later() const { return later_; }
    [[nodiscard]] const Node& at(std::uint32_t node) const { return nodes_[node]; }

    void begin(std::uint32_t insn) override;
    void walk(std::uint32_t insn, const verifier::State& state) override;
    void put_off() override;
    void take_up() override;
    void prune(std::uint32_t insn, const verifier::State& state,
               const verifier::Covered& covered) override;

private:
    std::uint32_t add(std::uint32_t insn, const verifier::State& state);
    const verifier::MapInfo* keep(const verifier::MapInfo* map);

    /// What the verifier was told of maps, which does not outlast it.
    std::vector<std::pair<const verifier::MapInfo*, std::unique_ptr<verifier::MapInfo>>> maps_;
    std::vector<Node> nodes_;  ///< The first count_; the others keep their memory.
    std::uint32_t count_ = 0;
    std::vector<std::uint32_t> put_off_;
    std::vector<std::uint32_t> later_;
    std::uint32_t latest_ = Node::kNone;
    std::unordered_map<std::uint32_t, std::uint32_t> entries_;
    std::unordered_map<const verifier::Checkpoint*, std::uint32_t> checkpoints_;
};

}  // namespace taskwork::fuzz
