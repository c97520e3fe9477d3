// SPDX-License-Identifier: Apache-2.0
//
// A domain with maps for the tests of this layer, and the few lines that each of them needs.
#pragma once

#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cstdint>
#include <vector>

#include "map/map.hpp"
#include "map/ring_buffer.hpp"
#include "task/test_domain.hpp"

namespace taskwork::map {

/// Of tests that single-step: every so many instructions are tried, for a step costs up to 20 us in
/// a virtual machine. AddressSanitizer makes about six instructions of one.
#if defined(__SANITIZE_ADDRESS__)
inline constexpr std::uint64_t kStepFactor = 11;
#else
inline constexpr std::uint64_t kStepFactor = 1;
#endif

/// The sections that callers of element operations hold.
struct Sections {
    task::Section section{task::current()};
    task::ReadSection sleepable{*task::current(), sync::Flavour::sleepable};
};

class MapTest : public testing::Test {
protected:
    static constexpr std::uint32_t kContexts = 256;

    MapTest() {
        EXPECT_EQ(defer::WorkTable::create(kContexts), no_error);
        EXPECT_EQ(MapTable::create(), no_error);
        defer::set_callback_runner(defer::kCallbackTest,
                                   [](task::Task&, const defer::Callback&) noexcept {
                                       ran.fetch_add(1, std::memory_order_relaxed);
                                   });
        ran.store(0, std::memory_order_relaxed);
    }

    static MapSpec spec(std::uint32_t type, std::uint32_t key_size, std::uint32_t value_size,
                        std::uint32_t max_entries, std::uint32_t flags = 0) {
        MapSpec spec;
        spec.type = type;
        spec.key_size = key_size;
        spec.value_size = value_size;
        spec.max_entries = max_entries;
        spec.flags = flags;
        return spec;
    }
    static MapSpec hash(std::uint32_t max_entries, std::uint32_t value_size = 8) {
        return spec(BPF_MAP_TYPE_HASH, 8, value_size, max_entries);
    }
    static MapSpec array(std::uint32_t max_entries, std::uint32_t value_size = 8) {
        return spec(BPF_MAP_TYPE_ARRAY, 4, value_size, max_entries);
    }

    /// A map that is held by one user.
    static Map& make(const MapSpec& spec) {
        auto made = create(spec);
        EXPECT_TRUE(made.has_value()) << made.error().text;
        get_user(**made);
        put_reference(**made);
        return **made;
    }
    static std::errc refused(const MapSpec& spec) {
        auto made = create(spec);
        if (!made) {
            return made.error().code;
        }
        put_reference(**made);
        return no_error;
    }

    /// The value's first word is `value`, the others are 0.
    static std::errc put(Map& map, std::uint64_t key, std::uint64_t value,
                         std::uint64_t flags = BPF_ANY) {
        std::vector<std::uint64_t> words(map.value_size / 8 + 1, 0);
        words[0] = value;
        const Sections sections;
        return update(map, &key, words.data(), flags);
    }
    static std::errc erase(Map& map, std::uint64_t key) {
        const Sections sections;
        return remove(map, &key);
    }
    /// The first word of the value; UINT64_MAX if the key is not in the map.
    static std::uint64_t get(Map& map, std::uint64_t key) {
        const Sections sections;
        auto* value = static_cast<platform::Atomic<std::uint64_t>*>(lookup(map, &key));
        return value == nullptr ? UINT64_MAX : value->load(std::memory_order_relaxed);
    }

    /// Schedules a work of the value's slot onto the calling thread. Hold Sections to keep it
    /// pending; it runs when they end.
    static std::errc schedule(Map& map, void* value) {
        defer::ScheduleRequest request;
        request.target = task::current();
        request.callback.kind = defer::kCallbackTest;
        request.callback.map = &map;
        request.callback.value = value;
        request.user_count = &map.user_count;
        request.totals = &map.works;
        return defer::schedule(*task_work_slot(map, value), request);
    }

    /// Callbacks run in this process.
    static int runs() { return ran.load(std::memory_order_relaxed); }

    task::TestDomain domain_;
    static inline platform::Atomic<int> ran;
};

}  // namespace taskwork::map
