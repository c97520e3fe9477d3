// SPDX-License-Identifier: Apache-2.0
//
// A hash, queue or stack of a few elements over a Core: what threads and handlers do to it is a
// history (map_history.hpp), and once all is over nothing of the map may be lost, nor too much.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "map/map.hpp"
#include "tests/explore/scenarios/map_history.hpp"

namespace explore {

inline constexpr std::uint8_t kA = 0;
inline constexpr std::uint8_t kB = 1;
inline constexpr std::uint8_t kC = 2;
inline constexpr std::uint8_t kD = 3;

/// Kinds: BPF_MAP_TYPE_HASH, _LRU_HASH (keys A, B and C in one bucket), _QUEUE, _STACK.
struct MapLimits {
    std::uint32_t type = 0;
    std::uint32_t entries = 2;
    /// Spares that are left, if that matters; the others wait for a grace period.
    std::uint32_t spares = UINT32_MAX;
};

class TestedMap {
public:
    static constexpr std::uint32_t kSpares = 8;  ///< Of hashes.

    TestedMap(Setup& setup, std::shared_ptr<Core> core, MapLimits limits,
              std::vector<Operation> first);

    /// A thread, or a handler on one, that does these one after the other.
    unsigned thread(unsigned process, const std::string& name, std::vector<Operation> operations);
    void event(unsigned thread, const std::string& name, std::vector<Operation> operations);

    /// At the end: what is in the map. 0: the key is not. Hashes only.
    using Content = taskwork::maps::HashModel::State;
    void also(std::function<void(const Content&)> check) { checks_.push_back(std::move(check)); }
    /// At the end: the result of an operation, by its number in order of declaration.
    [[nodiscard]] std::errc result(unsigned id) const { return history_.result(id); }

    Core& core() { return *core_; }
    void check_end();

private:
    void lay_out_hash();
    void lay_out_sequence();
    void put_first();
    std::function<void()> body(const std::vector<Operation>& operations);
    void run(unsigned id);
    void apply(Operation& operation);
    [[nodiscard]] bool is_sequence() const;

    void check_hash();
    void check_sequence();
    void check_elements(const Content& content);
    void check_room();
    [[nodiscard]] std::uint64_t items_in_use() const;

    std::shared_ptr<Core> core_;
    MapLimits limits_;
    std::vector<Operation> first_;  ///< Done by set-up.
    MapHistory history_;
    taskwork::map::Map* map_ = nullptr;
    std::array<std::uint64_t, taskwork::maps::HashModel::kKeys> keys_{};
    std::vector<void*> objects_;  ///< Elements or items.
    std::vector<std::function<void(const Content&)>> checks_;
};

/// Who does what.
struct Play {
    MapLimits map;
    std::vector<Operation> first;                 ///< Before anybody else.
    std::vector<std::vector<Operation>> threads;  ///< Each one after the other.
    std::vector<Operation> nmi{};                 ///< By an event on the first of them.
    bool first_dies = false;                      ///< At any step, or not.
    unsigned worker_rounds = 0;
};

/// Lays it out over a core of its own, and keeps it for as long as the scenario's functions.
TestedMap& lay_out(Setup& setup, const Play& play);

}  // namespace explore
