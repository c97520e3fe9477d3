// SPDX-License-Identifier: Apache-2.0
//
// Is a recorded history linearizable? Each operation has a beginning and an end on a shared clock,
// its arguments and its result; the question is whether one order of them all, in which nothing
// comes before what had ended when it began, is a run of a sequential model. The search is Wing and
// Gong's (1993), with Lowe's memory of what has been tried (2017).
//
// A model has
//     using State = ...;      // ordered by <
//     template <class Visit>  // bool visit(const State&): true ends the walk
//     bool next(const State&, const Operation&, Visit visit) const;
// which visits every state that the operation, with the result that it had, can lead to from one;
// none: the result is impossible there. It returns whether a visit did. A model in which more
// happens than results say has, of the same form,
//     bool meanwhile(const State&, const Operation& open, Visit visit) const;
// for what an operation that has begun and not come to its place may do to the state before. It
// has to come to an end.
#pragma once

#include <algorithm>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

namespace taskwork::maps {

template <class Operation>
struct Event {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    Operation operation;
};

/// At most this many operations in a history.
inline constexpr std::size_t kHistoryMax = 63;

template <class Model, class Operation>
class Linearization {
public:
    Linearization(const Model& model, const std::vector<Event<Operation>>& history)
        : model_(model), history_(history) {}

    /// Whether the history can be ordered, from `initial` on. Context: task.
    bool exists(const typename Model::State& initial) { return search(0, initial); }
    /// How many pairs of operations overlapped: what there was to decide.
    [[nodiscard]] std::size_t overlaps() const {
        std::size_t count = 0;
        for (std::size_t i = 0; i < history_.size(); ++i) {
            for (std::size_t j = 0; j < i; ++j) {
                count += history_[i].begin < history_[j].end && history_[j].begin < history_[i].end
                             ? 1U
                             : 0U;
            }
        }
        return count;
    }

private:
    using Done = std::uint64_t;  ///< A bit for each operation that has its place.

    bool search(Done done, const typename Model::State& state) {
        if (done == (Done{1} << history_.size()) - 1) {
            return true;
        }
        if (!tried_.emplace(done, state).second) {
            return false;
        }
        std::uint64_t first_end = UINT64_MAX;
        for (std::size_t i = 0; i < history_.size(); ++i) {
            if ((done & Done{1} << i) == 0) {
                first_end = std::min(first_end, history_[i].end);
            }
        }
        for (std::size_t i = 0; i < history_.size(); ++i) {
            if ((done & Done{1} << i) != 0 || history_[i].begin > first_end) {
                continue;
            }
            const auto go_on = [&](const typename Model::State& next) {
                return search(done | Done{1} << i, next);
            };
            if (model_.next(state, history_[i].operation, go_on)) {
                return true;
            }
            const auto stay = [&](const typename Model::State& next) { return search(done, next); };
            if constexpr (requires { model_.meanwhile(state, history_[i].operation, stay); }) {
                if (model_.meanwhile(state, history_[i].operation, stay)) {
                    return true;
                }
            }
        }
        return false;
    }

    const Model& model_;
    const std::vector<Event<Operation>>& history_;
    std::set<std::pair<Done, typename Model::State>> tried_;
};

}  // namespace taskwork::maps
