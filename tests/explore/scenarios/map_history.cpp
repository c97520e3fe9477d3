// SPDX-License-Identifier: Apache-2.0
#include "tests/explore/scenarios/map_history.hpp"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>

namespace explore {

namespace {

/// The notes of an operation: that it has begun, after which others had ended; its result.
constexpr unsigned kOperationsMax = (kNotesMax - kFreeNotes) / 2;
constexpr unsigned begun(unsigned id) { return kFreeNotes + 2 * id; }
constexpr unsigned ended(unsigned id) { return begun(id) + 1; }

constexpr std::uint64_t kNever = UINT32_MAX;

std::string line_of(const Operation& operation) {
    return std::string(Operation::kNames[static_cast<std::size_t>(operation.kind)]) + " key " +
           std::to_string(operation.key) + " value " + std::to_string(operation.value) + " -> " +
           std::to_string(static_cast<int>(operation.result));
}

}  // namespace

unsigned MapHistory::plan(const Operation& operation) {
    if (plans_.size() == kOperationsMax) {
        std::fprintf(stderr, "explore: more operations than there are notes\n");
        std::abort();
    }
    plans_.push_back(operation);
    return static_cast<unsigned>(plans_.size() - 1);
}

void MapHistory::begin(unsigned id) {
    // Acquire and release: what has ended before also happens before, in every model.
    note(begun(id), 1 | ended_.load(std::memory_order_acquire) << 1);
}

void MapHistory::end(unsigned id, const Operation& done) {
    comment(line_of(done));
    note(ended(id), 1 | static_cast<std::uint64_t>(done.result) << 1 | done.value << 32);
    ended_.fetch_or(std::uint64_t{1} << id, std::memory_order_acq_rel);
}

bool MapHistory::has_ended(unsigned id) const { return noted(ended(id)) != 0; }

std::errc MapHistory::result(unsigned id) const {
    return static_cast<std::errc>(noted(ended(id)) >> 1 & 0x7fffffff);
}

std::uint32_t MapHistory::cut_short() const {
    std::uint32_t all = 0;
    for (unsigned id = 0; id < plans_.size(); ++id) {
        all |= noted(begun(id)) != 0 && !has_ended(id) ? 1U << id : 0U;
    }
    return all;
}

/// All that have begun. Their clock: what they saw to have ended are sets that only grow.
std::vector<MapHistory::Event> MapHistory::events() const {
    std::vector<Event> all;
    for (unsigned id = 0; id < plans_.size(); ++id) {
        if (noted(begun(id)) == 0) {
            continue;
        }
        const auto count = [](std::uint64_t set) {
            return static_cast<std::uint64_t>(std::popcount(set));
        };
        Event event{2 * count(noted(begun(id)) >> 1) + 1, kNever, plans_[id]};
        for (unsigned other = 0; other < plans_.size(); ++other) {
            const std::uint64_t seen = noted(begun(other)) >> 1;
            if ((seen >> id & 1) != 0) {
                event.end = std::min(event.end, 2 * count(seen));
            }
        }
        if (has_ended(id)) {
            event.operation.result = result(id);
            event.operation.value = noted(ended(id)) >> 32;
        } else if (event.operation.kind == Do::take) {
            event.operation.kind = Do::remove;  // Nobody knows what it found.
        }
        all.push_back(event);
    }
    return all;
}

void MapHistory::leave_out(std::vector<Event>& all, std::uint32_t without, bool no_memory,
                           bool evicts) const {
    std::size_t at = 0;
    for (unsigned id = 0; id < plans_.size(); ++id) {
        if (noted(begun(id)) == 0) {
            continue;
        }
        Operation& operation = all[at].operation;
        const bool cut = (without >> id & 1) != 0;
        if (cut && evicts && operation.inserts()) {
            operation.result = std::errc::not_enough_memory;
            operation.rivals = UINT8_MAX;
            ++at;
        } else if (cut || (no_memory && operation.result == std::errc::not_enough_memory)) {
            all.erase(all.begin() + static_cast<std::ptrdiff_t>(at));
        } else {
            ++at;
        }
    }
}

void MapHistory::append(std::vector<Event>& all, const std::vector<Operation>& found) {
    std::uint64_t clock = kNever + 1;
    for (const Operation& one : found) {
        all.push_back({clock, clock + 1, one});
        clock += 2;
    }
}

std::string MapHistory::text_of(const std::vector<Event>& all) {
    std::string text = "no order of the operations explains their results:";
    for (const Event& event : all) {
        const std::string end = event.end == kNever ? "" : std::to_string(event.end);
        text += "\n" + std::to_string(event.begin) + " to " + end + ": " + line_of(event.operation);
    }
    return text;
}

}  // namespace explore
