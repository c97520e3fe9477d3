// SPDX-License-Identifier: Apache-2.0
//
// For tests that stop after each instruction of an operation of a hash, or of a kind like it: what
// the operations are, and maps that are used in turn.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "map/test_map.hpp"
#include "map/test_steps.hpp"
#include "task/single_step.hpp"

namespace taskwork::map {

inline constexpr std::uint64_t kA = 11;
inline constexpr std::uint64_t kB = 22;
inline constexpr std::uint64_t kC = 33;
inline constexpr std::uint32_t kEntries = 2;
inline constexpr std::uint64_t kAbsent = UINT64_MAX;

struct Operation {
    enum class Kind { put, put_new, put_present, erase, take, get } kind;
    std::uint64_t key;
    std::uint64_t value = 0;  ///< Of puts.
    std::uint64_t outcome = 0;

    /// The element operation itself, on the real map; legal in a handler.
    void run(Map& map) noexcept {
        const task::ReadSection sleepable(*task::current(), sync::Flavour::sleepable);
        switch (kind) {
        case Kind::put:
        case Kind::put_new:
        case Kind::put_present:
            outcome = static_cast<std::uint64_t>(is_per_cpu(map)
                                                     ? update_slot(map, &key, &value, flags(), 0)
                                                     : update(map, &key, &value, flags()));
            break;
        case Kind::erase:
            outcome = static_cast<std::uint64_t>(remove(map, &key));
            break;
        case Kind::take: {
            const std::errc error = lookup_and_remove(map, &key, taken.data(), 0);
            outcome = error == no_error ? taken[0] : static_cast<std::uint64_t>(error);
            break;
        }
        case Kind::get: {
            auto* found = static_cast<platform::Atomic<std::uint64_t>*>(lookup(map, &key));
            outcome = found == nullptr ? kAbsent : found->load(std::memory_order_relaxed);
        }
        }
    }
    /// What a user gets, the slots of all processors if there are such. Users are no handlers.
    static inline std::vector<std::uint64_t> taken;

    std::uint64_t flags() const noexcept {
        return kind == Kind::put_new       ? BPF_NOEXIST
               : kind == Kind::put_present ? BPF_EXIST
                                           : BPF_ANY;
    }
};

using Content = std::map<std::uint64_t, std::uint64_t>;

class SteppedHash : public MapTest {
protected:
    void SetUp() override {
        if (!task::kCanSingleStep) {
            GTEST_SKIP() << "no single step under this sanitizer";
        }
    }
    void make_maps(const MapSpec& spec) {
        for (Map*& map : maps_) {
            map = &make(spec);
        }
        map_ = maps_[0];
        Operation::taken.assign(user_value_bytes(*map_) / sizeof(std::uint64_t), 0);
    }
    void fill(const Content& content) {
        map_ = maps_[turn_++ % maps_.size()];
        for (std::uint64_t key : {kA, kB, kC}) {
            erase(*map_, key);
        }
        if (usage(*map_).waiting > 32) {
            task::wait_until([&] { return usage(*map_).waiting == 0; });
        }
        for (const auto& [key, value] : content) {
            Operation put{Operation::Kind::put, key, value};
            put.run(*map_);
            ASSERT_EQ(put.outcome, 0U);
        }
    }
    Content content() {
        Content found;
        for (std::uint64_t key : {kA, kB, kC}) {
            if (const std::uint64_t value = get(*map_, key); value != kAbsent) {
                found[key] = value;
            }
        }
        return found;
    }
    /// What the map says of itself agrees with what is in it.
    void expect_whole() {
        const Content found = content();
        EXPECT_EQ(usage(*map_).elements, found.size());
        const Sections sections;
        std::size_t visited = 0;
        std::uint64_t key = 0;
        const void* from = nullptr;
        while (next_key(*map_, from, &key) == no_error && visited < 10) {
            EXPECT_EQ(found.count(key), 1U);
            from = &key;
            ++visited;
        }
        EXPECT_EQ(visited, found.size());
    }
    /// Taken in turn: spares of one come back while the others are tried.
    std::vector<Map*> maps_{16, nullptr};
    Map* map_ = nullptr;
    std::size_t turn_ = 0;
};

struct Stepped {
    Map* map;
    Operation* operation;
};

inline void run_stepped(void* argument) {
    auto* stepped = static_cast<Stepped*>(argument);
    stepped->operation->run(*stepped->map);
}

}  // namespace taskwork::map
