// SPDX-License-Identifier: Apache-2.0
//
// What maps do, one operation at a time: the sequential models that histories are held against.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/errc.hpp"

namespace taskwork::maps {

/// An operation on a map and what came of it. Values are never 0.
struct Operation {
    enum class Kind : std::uint8_t {
        update,
        insert,   ///< BPF_NOEXIST
        replace,  ///< BPF_EXIST
        remove,
        lookup,
        take,  ///< lookup and delete
        push,
        push_over,  ///< BPF_EXIST
        pop,
        peek,
        reserve,  ///< Of a ring; `value` is the record's number.
        submit,
        discard,
        consume,  ///< One record, `value`.
    };
    static constexpr std::array kNames = {"update",  "insert", "replace",   "remove", "lookup",
                                          "take",    "push",   "push_over", "pop",    "peek",
                                          "reserve", "submit", "discard",   "consume"};
    /// Whether it may need a place in the map.
    [[nodiscard]] bool inserts() const { return kind == Kind::update || kind == Kind::insert; }
    /// Whether it may hold a place on its way, or give one back.
    [[nodiscard]] bool changes() const { return kind != Kind::lookup; }

    Kind kind = Kind::lookup;
    std::uint8_t key = 0;
    std::uint64_t value = 0;  ///< Written, or found.
    std::errc result = no_error;
    /// Operations that overlapped with this one and may each have held a place meanwhile.
    std::uint8_t rivals = 0;
};

/// Keys from 0 to kKeys - 1, at most `capacity` of them at a time. Full is a map also to who comes
/// while an insertion holds the last place, whatever becomes of that one: so it is in the kernel,
/// where the count is raised first, and a handler finds the list of free elements locked.
///
/// Evicting (LRU), it refuses no insertion for want of a place but takes another key out: any, at
/// any moment between the beginning of the insertion and its place, so never the one that it puts
/// there; and only if the map is full, or would be if rivals held a place each. A rival may be a
/// deletion, whose place comes back late, and an insertion that then finds its key has evicted in
/// vain. Where rivals hold all places there is nothing to evict: -ENOMEM.
class HashModel {
public:
    static constexpr std::size_t kKeys = 4;
    using State = std::array<std::uint64_t, kKeys>;  ///< 0: not there.

    explicit HashModel(std::size_t capacity, bool evicts = false)
        : capacity_(capacity), evicts_(evicts) {}

    template <class Visit>
    bool next(const State& state, const Operation& operation, Visit visit) const {
        State after = state;
        return apply(after, operation) && visit(after);
    }
    template <class Visit>
    bool meanwhile(const State& state, const Operation& open, Visit visit) const {
        if (!evicts_ || !open.inserts() || count_of(state) + open.rivals < capacity_) {
            return false;
        }
        for (std::size_t key = 0; key < kKeys; ++key) {
            State after = state;
            after[key] = 0;
            if (state[key] != 0 && visit(after)) {
                return true;
            }
        }
        return false;
    }
    /// Whether what `other` does counts among the rivals of an operation that it overlaps with.
    [[nodiscard]] bool is_rival(const Operation& other) const {
        return evicts_ ? other.changes() : other.inserts();
    }

private:
    bool apply(State& state, const Operation& operation) const {
        using Kind = Operation::Kind;
        std::uint64_t& value = state[operation.key];
        const bool there = value != 0;
        switch (operation.kind) {
        case Kind::lookup:
            return there ? operation.result == no_error && operation.value == value
                         : operation.result == std::errc::no_such_file_or_directory;
        case Kind::take:
        case Kind::remove:
            if (!there) {
                return operation.result == std::errc::no_such_file_or_directory;
            }
            if (operation.result != no_error ||
                (operation.kind == Kind::take && operation.value != value)) {
                return false;
            }
            value = 0;
            return true;
        case Kind::insert:
            if (there) {
                return operation.result == std::errc::file_exists;
            }
            break;
        case Kind::replace:
            if (!there) {
                return operation.result == std::errc::no_such_file_or_directory;
            }
            break;
        case Kind::update:
            break;
        default:
            return false;
        }
        if (!there) {
            const std::size_t count = count_of(state);
            if (evicts_ && operation.result == std::errc::not_enough_memory) {
                return operation.rivals >= capacity_;
            }
            if (!evicts_ && operation.result == std::errc::argument_list_too_long) {
                return count + operation.rivals >= capacity_;
            }
            if (count >= capacity_) {
                return false;
            }
        }
        value = operation.value;
        return operation.result == no_error;
    }
    static std::size_t count_of(const State& state) {
        std::size_t count = 0;
        for (const std::uint64_t value : state) {
            count += value != 0 ? 1U : 0U;
        }
        return count;
    }

    std::size_t capacity_;
    bool evicts_;
};

/// A queue, or a stack, of at most `capacity` values.
class SequenceModel {
public:
    using State = std::vector<std::uint64_t>;  ///< Oldest first.

    SequenceModel(std::size_t capacity, bool is_stack) : capacity_(capacity), is_stack_(is_stack) {}

    template <class Visit>
    bool next(const State& state, const Operation& operation, Visit visit) const {
        State after = state;
        return apply(after, operation) && visit(after);
    }

    [[nodiscard]] static bool is_rival(const Operation&) { return false; }

private:
    bool apply(State& state, const Operation& operation) const {
        using Kind = Operation::Kind;
        switch (operation.kind) {
        case Kind::push:
        case Kind::push_over:
            if (state.size() == capacity_) {
                if (operation.kind == Kind::push) {
                    return operation.result == std::errc::argument_list_too_long;
                }
                state.erase(state.begin());
            }
            state.push_back(operation.value);
            return operation.result == no_error;
        case Kind::pop:
        case Kind::peek: {
            if (state.empty()) {
                return operation.result == std::errc::no_such_file_or_directory;
            }
            const auto at = is_stack_ ? state.end() - 1 : state.begin();
            if (operation.result != no_error || operation.value != *at) {
                return false;
            }
            if (operation.kind == Kind::pop) {
                state.erase(at);
            }
            return true;
        }
        default:
            return false;
        }
    }

    std::size_t capacity_;
    bool is_stack_;
};

/// A ring with room for `capacity` records of one size. They leave in the order in which they were
/// reserved; one that is not finished holds back those behind it. The consumer passes discarded
/// ones on its way to what it takes, or to the one that it has to wait for.
class RingModel {
public:
    enum class Mark : std::uint8_t { busy, submitted, discarded };
    using State = std::vector<std::pair<std::uint64_t, Mark>>;  ///< Oldest first.

    explicit RingModel(std::size_t capacity) : capacity_(capacity) {}

    template <class Visit>
    bool next(const State& state, const Operation& operation, Visit visit) const {
        State after = state;
        return apply(after, operation) && visit(after);
    }
    template <class Visit>
    bool meanwhile(const State& state, const Operation& open, Visit visit) const {
        return open.kind == Operation::Kind::consume && !state.empty() &&
               state.front().second == Mark::discarded &&
               visit(State(state.begin() + 1, state.end()));
    }
    [[nodiscard]] static bool is_rival(const Operation&) { return false; }

private:
    bool apply(State& state, const Operation& operation) const {
        using Kind = Operation::Kind;
        const bool done = operation.result == no_error;
        switch (operation.kind) {
        case Kind::reserve:
            if (done && state.size() < capacity_) {
                state.emplace_back(operation.value, Mark::busy);
                return true;
            }
            return !done && state.size() == capacity_;
        case Kind::submit:
        case Kind::discard:
            for (auto& [number, mark] : state) {
                if (number == operation.value && mark == Mark::busy) {
                    mark = operation.kind == Kind::submit ? Mark::submitted : Mark::discarded;
                    return true;
                }
            }
            return false;
        case Kind::consume:
            if (!done) {
                return state.empty() || state.front().second == Mark::busy;
            }
            if (state.empty() || state.front() != std::pair(operation.value, Mark::submitted)) {
                return false;
            }
            state.erase(state.begin());
            return true;
        default:
            return false;
        }
    }

    std::size_t capacity_;
};

}  // namespace taskwork::maps
