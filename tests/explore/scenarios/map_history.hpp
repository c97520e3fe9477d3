// SPDX-License-Identifier: Apache-2.0
//
// What threads and handlers do to a map, as a history that has to be one of a sequential model
// (tests/maps/models.hpp). Precedence is what the actors themselves can see: when an operation
// begins it reads which others have ended.
#pragma once

#include <string>
#include <vector>

#include "tests/explore/heap.hpp"
#include "tests/explore/scenarios/core.hpp"
#include "tests/maps/linearizability.hpp"
#include "tests/maps/models.hpp"

namespace explore {

using taskwork::maps::Operation;
using Do = Operation::Kind;

class MapHistory {
public:
    explicit MapHistory(Setup& setup) : ended_(setup.variable("ended")) {}

    /// While it is laid out: an operation that an actor will do, and its number.
    unsigned plan(const Operation& operation);
    /// By the actor.
    void begin(unsigned id);
    void end(unsigned id, const Operation& done);

    [[nodiscard]] unsigned size() const { return static_cast<unsigned>(plans_.size()); }
    [[nodiscard]] const Operation& planned(unsigned id) const { return plans_[id]; }
    [[nodiscard]] bool has_ended(unsigned id) const;
    [[nodiscard]] std::errc result(unsigned id) const;

    /// Fails the run if no order of what was done, and then of what was `found` when all was over,
    /// is one of the model. What a death has cut short may have happened or not. `no_memory`:
    /// updates may be refused with not_enough_memory, and have not happened then. `evicts`: so may
    /// those that a death has cut short, and have evicted all the same.
    template <class Model>
    void check(const Model& model, const typename Model::State& initial,
               const std::vector<Operation>& found, bool no_memory = false,
               bool evicts = false) const {
        const HeapOf own(false);
        const std::uint32_t cut = cut_short();
        for (std::uint32_t without = cut;; without = (without - 1) & cut) {
            std::vector<Event> all = events();
            for (Event& event : all) {
                for (const Event& other : all) {
                    const bool overlap = other.begin < event.end && event.begin < other.end;
                    event.operation.rivals +=
                        &other != &event && overlap && model.is_rival(other.operation) ? 1 : 0;
                }
            }
            leave_out(all, without, no_memory, evicts);
            append(all, found);
            if (taskwork::maps::Linearization<Model, Operation>(model, all).exists(initial)) {
                return;
            }
            if (without == 0) {
                fail("linearizable", text_of(all));
                return;
            }
        }
    }

private:
    using Event = taskwork::maps::Event<Operation>;

    [[nodiscard]] std::vector<Event> events() const;
    [[nodiscard]] std::uint32_t cut_short() const;
    void leave_out(std::vector<Event>& all, std::uint32_t without, bool no_memory,
                   bool evicts) const;
    static void append(std::vector<Event>& all, const std::vector<Operation>& found);
    static std::string text_of(const std::vector<Event>& all);

    Variable& ended_;  ///< Operations that have ended, as bits.
    std::vector<Operation> plans_;
};

}  // namespace explore
