// SPDX-License-Identifier: Apache-2.0
//
// What maps do, one operation at a time: the sequential models that histories are held against.
#pragma once

#include <array>
#include <cstdint>
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
    };
    /// Whether it may need a place in the map.
    [[nodiscard]] bool inserts() const { return kind == Kind::update || kind == Kind::insert; }

    Kind kind = Kind::lookup;
    std::uint8_t key = 0;
    std::uint64_t value = 0;  ///< Written, or found.
    std::errc result = no_error;
    /// Insertions that overlapped with this operation; each may have held a place meanwhile.
    std::uint8_t rivals = 0;
};

/// Keys from 0 to kKeys - 1, at most `capacity` of them at a time. Full is a map also to who comes
/// while an insertion holds the last place, whatever becomes of that one: so it is in the kernel,
/// where the count is raised first, and a handler finds the list of free elements locked.
class HashModel {
public:
    static constexpr std::size_t kKeys = 4;
    using State = std::array<std::uint64_t, kKeys>;  ///< 0: not there.

    /// `forgets`: any element may have been evicted at any time (LRU), so the map is never full.
    explicit HashModel(std::size_t capacity, bool forgets = false)
        : capacity_(capacity), forgets_(forgets) {}

    template <class Visit>
    bool next(const State& state, const Operation& operation, Visit visit) const {
        if (State after = state; apply(after, operation) && visit(after)) {
            return true;
        }
        if (!forgets_ || state[operation.key] == 0) {
            return false;
        }
        State after = state;
        after[operation.key] = 0;
        return apply(after, operation) && visit(after);
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
        if (!there && !forgets_) {
            const std::size_t count = count_of(state);
            if (operation.result == std::errc::argument_list_too_long) {
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
    bool forgets_;
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

}  // namespace taskwork::maps
