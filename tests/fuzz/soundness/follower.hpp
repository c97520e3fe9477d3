// SPDX-License-Identifier: Apache-2.0
//
// Follower: goes along a recorded walk while an accepted program is executed, and holds each
// register and each stack slot of each frame, at each instruction, against the state in which the
// walk was there. What it finds wrong it keeps as text, and ends the execution.
//
// Why this is sound, and not vacuous. Let c be the machine at an instruction and s the state of the
// node that the follower is at. The claim of the verifier is: c is in s, component by component,
// and equal ids are equal numbers; a step from c leads into a successor of the node. By induction
// that holds without exception along what was walked. Where a path was pruned, c is in the state of
// the pruned node, and the claim is that going on from the target is as good: its state contains c
// but for what pruning passed over because what follows does not depend on it. So there, and only
// there, a component that c has otherwise becomes *loose*, and only if pruning may pass over it: a
// dead register, an unread slot, a number that is not precise. Loose is carried on as data flows:
// what is computed from a loose number is loose, a comparison with one makes loose what it narrows;
// nothing else may leave the state. A pointer is never loose, what is unread must not be read, and
// a branch that the walk took one way only has one successor: a number that matters and is loose
// ends in a violation, which is what holds marks of precision, reads and liveness to their word. A
// component that c has as the state says is not loose any more.
//
// What is held (references, locks, regions) is counted as calls give and take it, and must be what
// the state holds, with nothing loose; what may sleep is not called inside of a region. Works that
// the program has scheduled are followed behind it, each from where the walk of its callback
// begins; a tail call to the program itself, from the walk's beginning, in the frame of whoever
// made it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "bpf/execution_observer.hpp"
#include "bpf/program.hpp"
#include "tests/fuzz/soundness/recording.hpp"

namespace taskwork::fuzz {

class Follower final : public bpf::ExecutionObserver {
public:
    explicit Follower(const Recording& recording) : recording_(recording) {}

    /// Before an execution of `program` on a stack that begins at `stack`, and of its works.
    void start(const bpf::Program& program, const void* stack, const void* context);
    bool at(std::uint32_t insn, unsigned depth, const std::uint64_t* registers) override;
    /// The execution came to its end.
    void end();

    /// Empty: all was as walked.
    [[nodiscard]] const std::string& violation() const { return violation_; }
    [[nodiscard]] std::uint64_t steps() const { return steps_; }
    /// Times that an execution went on at the target of a pruned path, and that something was
    /// loose.
    std::uint64_t jumps_to_covering = 0;
    std::uint64_t loosened = 0;
    /// Callbacks of task work, and tail calls to the program, that were followed.
    std::uint64_t works = 0;
    std::uint64_t programs_called = 0;

    /// An execution is cut off, without blame, after so many instructions.
    static constexpr std::uint64_t kStepsMax = 2000;

private:
    using Word = std::uint64_t;
    using RegisterFile = std::array<Word, MAX_BPF_REG>;
    struct Place {
        std::uint32_t node = Node::kNone;
        LooseFrames loose;
        bool operator==(const Place&) const = default;
    };
    /// What is held, of each kind.
    struct Holding {
        std::array<std::uint32_t, 4> of_kind{};  ///< By HeldKind.
        std::uint32_t rcu_locks = 0;
        std::uint32_t preempt_locks = 0;
        bool operator==(const Holding&) const = default;
        std::uint32_t& operator[](verifier::HeldKind kind) {
            return of_kind[static_cast<std::size_t>(kind)];
        }
    };
    /// A function that was walked by itself, called: its first frame, and where the walk is.
    struct Activation {
        unsigned base = 0;
        std::vector<Place> places;
        std::vector<Word> arguments;
        Holding held;  ///< By those that have called it.
        /// It was gone to by this tail call, in the frame of another.
        std::uint32_t tail_call = Node::kNone;
    };
    /// Registers and slots of eight frames that equal others, in all.
    static constexpr std::size_t kMembersMax = 256;
    struct Found {
        const void* map;
        Word address;
    };

    [[nodiscard]] Word frame_end(unsigned depth) const {
        return stack_ + std::uint64_t{bpf::kFrameBytes} * (depth + 1);
    }
    [[nodiscard]] const bpf_insn& previous() const { return program_->insns[insn_]; }
    void remember_result(unsigned depth, const Word* registers);
    void remember_helper(const Word* arguments, Word result);
    void remember_kfunc(const Word* arguments, Word result);
    /// By what is held.
    [[nodiscard]] bool may_sleep() const;
    bool hold_held(const Node& node, const LooseFrames& loose);
    [[nodiscard]] bool is_null(const Node& node, const LooseFrames& loose,
                               std::uint32_t reference) const;
    bool begin(std::uint32_t insn, unsigned depth, const Word* registers);
    bool leave_frame(bool& carried);
    bool return_from_callback();
    bool return_from_program();
    void return_from_global();
    bool enter(std::uint32_t insn, unsigned depth);
    bool enter_work(std::uint32_t insn);
    bool go_to(std::uint32_t insn, unsigned depth);
    bool settle(Place place, std::vector<Place>& places);
    void carry(Place& place, bool into_callback) const;
    void carry_call(Place& place, unsigned f, bool into_callback) const;
    void carry_jump(Loose& loose, const verifier::Frame& frame) const;
    void carry_memory(Place& place, unsigned f) const;
    bool reads_unread(const Place& place);
    [[nodiscard]] bool slot_at(Word address, unsigned& depth, unsigned& slot) const;

    bool hold(const Node& node, LooseFrames& loose);
    bool hold_ids(const std::vector<verifier::Frame>& frames, const LooseFrames& was,
                  LooseFrames& loose);
    [[nodiscard]] Word slot_word(unsigned frame, unsigned slot) const;
    [[nodiscard]] Activation& activation() { return activations_.back(); }
    [[nodiscard]] const Activation& activation() const { return activations_.back(); }
    [[nodiscard]] bool contains(const verifier::Register& reg, Word word) const;
    [[nodiscard]] bool points_into(const verifier::Register& reg, Word word) const;
    [[nodiscard]] bool slot_contains(const verifier::Slot& slot, Word word) const;
    bool blame(const std::string& text);

    const Recording& recording_;
    const bpf::Program* program_ = nullptr;
    Word stack_ = 0;
    Word context_ = 0;
    std::vector<Activation> activations_;
    std::vector<Place> scratch_;
    std::vector<Found> found_;                    ///< Values, by maps.
    std::vector<std::pair<Word, Word>> records_;  ///< Address, size.
    std::vector<Word> iterated_;                  ///< Addresses of numbers.
    std::vector<Word> acquired_;                  ///< Tasks.
    Holding held_;
    std::array<RegisterFile, bpf::kFramesMax> registers_{};
    std::array<Word, bpf::kFramesMax> keys_{};
    std::uint32_t insn_ = Node::kNone;
    unsigned depth_ = 0;
    std::uint64_t steps_ = 0;
    std::string complaint_;  ///< Of the latest place that did not hold.
    std::string violation_;
};

}  // namespace taskwork::fuzz
