// SPDX-License-Identifier: Apache-2.0
//
// One map of each kind under a crowd of threads and events (crowd.hpp), all doing all that the kind
// has. Values are whole, counts are exact, all memory comes back, everybody gets on.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <bit>
#include <string>

#include "map/map_in_map.hpp"
#include "map/program_array.hpp"
#include "map/ring_buffer.hpp"
#include "map/stack_trace.hpp"
#include "map/test_map.hpp"
#include "map/value.hpp"
#include "tests/maps/crowd.hpp"

namespace taskwork::maps {
namespace {

using map::Map;
using test::Random;

constexpr std::uint32_t kEntries = 24;
constexpr std::uint64_t kKeys = 40;
constexpr std::uint32_t kRingBytes = 64U << 10;

struct Subject {
    const char* name;
    std::uint32_t type;
    std::uint32_t key_size;
    std::uint32_t flags = 0;
    /// Elements are replaced, never written in place: no copy of one can be torn.
    bool is_replaced = false;
    /// Elements go without being asked to: results do not say how many there are.
    bool evicts = false;
};

/// What the threads share; handlers find it here.
struct Stage {
    Map* map = nullptr;
    const Subject* subject = nullptr;
    std::array<Map*, 4> inner{};    ///< What a map of maps may hold.
    std::array<int, 4> programs{};  ///< What an array of programs may: they stand for programs.
    std::array<map::EventOutput, 4>
        outputs{};                             ///< What an array of events may, each with its ring.
    std::atomic<std::uint64_t> references{0};  ///< To these, that the array has.
    std::atomic<std::uint64_t> next_number{1};
    std::atomic<std::uint64_t> torn{0};
    /// Elements that came, less those that went, as the results say.
    std::atomic<std::int64_t> balance{0};
    /// Of records that went into rings, less those that came out.
    std::atomic<std::int64_t> records{0};
    std::atomic<std::uint64_t> numbers{0};
};
Stage* stage = nullptr;

constexpr auto expect = Crowd::expect;

void check_whole(const Value& value) noexcept {
    if (stage->subject->is_replaced && !is_whole(value)) {
        stage->torn.fetch_add(1, std::memory_order_relaxed);
    }
}

void act_on_sequence(Map& map, Random& random) noexcept {
    Value value = value_of(stage->next_number.fetch_add(1, std::memory_order_relaxed));
    switch (random.below(5)) {
    case 0:
    case 1: {
        const std::errc result = map::push(map, &value, BPF_ANY);
        stage->balance.fetch_add(result == no_error ? 1 : 0, std::memory_order_relaxed);
        expect(result, {no_error, kFull, kBusy});  // Many of us are interrupted.
        break;
    }
    case 2:
    case 3: {
        const std::errc result = map::pop(map, &value);
        expect(result, {no_error, kNone, std::errc::operation_not_supported, errc_kernel_notsupp});
        if (result == no_error) {
            stage->balance.fetch_sub(1, std::memory_order_relaxed);
            check_whole(value);
        }
        break;
    }
    default:
        if (const std::errc result = map::peek(map, &value); result == no_error) {
            check_whole(value);
        } else {
            expect(result, {kNone});
        }
    }
}

void act_on_elements(Map& map, Random& random) noexcept {
    // A prefix of an LPM trie: all 32 bits.
    struct Key {
        std::uint32_t low;
        std::uint32_t high;
    } key{static_cast<std::uint32_t>(random.below(kKeys)), 0};
    if (map.type == BPF_MAP_TYPE_LPM_TRIE) {
        key = {32, key.low};
    }
    Value value = value_of(stage->next_number.fetch_add(1, std::memory_order_relaxed));
    const auto update = [&](std::uint64_t flags) {
        return map::is_per_cpu(map)
                   ? map::update_slot(map, &key, &value, flags,
                                      static_cast<std::uint32_t>(
                                          random.below(map::MapTable::get().processors.count())))
                   : map::update(map, &key, &value, flags);
    };
    switch (random.below(9)) {
    case 0:
    case 1: {
        const std::errc result = update(BPF_NOEXIST);
        stage->balance.fetch_add(result == no_error ? 1 : 0, std::memory_order_relaxed);
        expect(result, {no_error, std::errc::file_exists, kFull, kNoSpace, kNoMemory});
        break;
    }
    case 2:
        // E2BIG: no index of an array.
        expect(update(BPF_EXIST), {no_error, kNoMemory, map.key_size == 4 ? kFull : kNone});
        break;
    case 3: {
        const std::errc result = map::remove(map, &key);
        stage->balance.fetch_sub(result == no_error ? 1 : 0, std::memory_order_relaxed);
        expect(result, {no_error, kNone, std::errc::invalid_argument});
        break;
    }
    case 4: {
        Key next{};
        expect(map::next_key(map, random.below(2) == 0 ? nullptr : &key, &next), {no_error, kNone});
        break;
    }
    case 5: {
        const long visited = map::for_each(
            map, [](const void*, void*, void*) noexcept -> long { return 0; }, nullptr);
        // Errors are negative; the kinds without it say so.
        expect(visited < 0 ? static_cast<std::errc>(-visited) : no_error,
               {no_error, std::errc::invalid_argument, errc_kernel_notsupp});
        break;
    }
    case 6:
        if (!map::is_per_cpu(map)) {
            const std::errc result = map::lookup_and_remove(map, &key, &value, 0);
            expect(result,
                   {no_error, kNone, std::errc::operation_not_supported, errc_kernel_notsupp});
            if (result == no_error) {
                stage->balance.fetch_sub(1, std::memory_order_relaxed);
                check_whole(value);
            }
        }
        break;
    default:
        if (map::is_per_cpu(map)) {
            (void)map::lookup(map, &key);
        } else if (map::lookup_copy(map, &key, &value, 0) == no_error) {
            check_whole(value);
        }
    }
}

void act_on_stacks(Map& map, Random& random, std::uint16_t owner) noexcept {
    // Few stacks: the same ones come again and again.
    Value stack = value_of(1 + random.below(kKeys));
    auto id = static_cast<std::uint32_t>(random.below(kEntries));
    const std::uint64_t kind = random.below(4);
    if (kind < 2) {
        std::uint64_t* const room = map::stack_claim(map, owner);
        if (room == nullptr) {
            return;  // Many of us are interrupted.
        }
        map::copy_bytes(room, stack.data(), sizeof stack);
        const long result = map::stack_store(map, room, static_cast<std::uint32_t>(stack.size()),
                                             kind == 0 ? std::uint64_t{BPF_F_REUSE_STACKID} : 0);
        expect(result < 0 ? static_cast<std::errc>(-result) : no_error,
               {no_error, std::errc::file_exists});
    } else if (kind == 2) {
        expect(map::remove(map, &id), {no_error, kNone});
    } else if (map::lookup_copy(map, &id, &stack, 0) == no_error) {
        check_whole(stack);
    }
}

/// Outer maps are changed by threads; handlers find what is in them.
void act_on_maps(Map& outer, Random& random, bool is_handler) noexcept {
    const std::uint64_t key = random.below(kKeys);
    const std::uint64_t kind = is_handler ? 4 : random.below(8);
    if (kind < 3) {
        expect(map::put_inner(outer, &key, *stage->inner[random.below(stage->inner.size())],
                              kind == 0 ? BPF_ANY : BPF_NOEXIST),
               {no_error, std::errc::file_exists, kFull, kNoMemory, std::errc::invalid_argument});
    } else if (kind == 3) {
        expect(map::remove(outer, &key), {no_error, kNone, kFull});
    } else if (Map* const inner = map::find_inner(outer, &key); inner != nullptr) {
        const std::uint32_t index = 0;
        Value value{};
        expect(map::lookup_copy(*inner, &index, &value, 0), {no_error});
        check_whole(value);
    }
}

/// Arrays of programs are changed by threads; handlers look up what they would call.
void act_on_programs(Map& map, Random& random, bool is_handler) noexcept {
    const auto index = static_cast<std::uint32_t>(random.below(kEntries));
    const std::uint64_t kind = is_handler ? 4 : random.below(6);
    if (kind < 2) {
        int* const program = &stage->programs[random.below(stage->programs.size())];
        stage->references.fetch_add(1, std::memory_order_relaxed);
        expect(map::put_entry(map, &index,
                              {program,
                               static_cast<std::uint32_t>(program - stage->programs.data()),
                               {BPF_PROG_TYPE_PERF_EVENT},
                               nullptr}),
               {no_error});
    } else if (kind == 2) {
        expect(map::remove(map, &index), {no_error, kNone});
    } else if (kind == 3) {
        std::uint32_t id = 0;
        expect(map::lookup_copy(map, &index, &id, 0), {no_error, kNone});
    } else if (const void* const found = map::program_at(map, index); found != nullptr) {
        const auto* const program = static_cast<const int*>(found);
        const bool is_one = program >= stage->programs.data() &&
                            program < stage->programs.data() + stage->programs.size();
        stage->torn.fetch_add(is_one ? 0 : 1, std::memory_order_relaxed);
    }
}

/// Arrays of events likewise; everybody sends records through them.
void act_on_events(Map& map, Random& random, bool is_handler) noexcept {
    const auto index = static_cast<std::uint32_t>(random.below(kEntries));
    const std::uint64_t kind = is_handler ? 4 : random.below(8);
    if (kind == 0) {
        expect(map::remove(map, &index), {no_error, kNone});
    } else if (kind < 4) {
        map::EventOutput& output = stage->outputs[random.below(stage->outputs.size())];
        stage->references.fetch_add(1, std::memory_order_relaxed);
        expect(map::put_entry(map, &index, {&output, index + 1, {}, &output}), {no_error});
    } else {
        const Value value = value_of(stage->next_number.fetch_add(1, std::memory_order_relaxed));
        const std::errc result =
            map::perf_output(map, index, 0, value.data(), sizeof value, task::current()->process);
        expect(result, {no_error, kNone, kNoSpace});
        if (result == no_error) {
            stage->records.fetch_add(1, std::memory_order_relaxed);
            stage->numbers.fetch_add(value[0], std::memory_order_relaxed);
        }
    }
}
void consume_outputs() {
    const auto take = [](void*, void* data, std::size_t size) {
        Value value{};
        map::copy_bytes(value.data(), data, sizeof value);
        stage->torn.fetch_add(size == sizeof value && is_whole(value) ? 0 : 1);
        stage->records.fetch_sub(1);
        stage->numbers.fetch_sub(value[0]);
        return 0L;
    };
    for (map::EventOutput& output : stage->outputs) {
        if (Map* const ring = output.ring.load(std::memory_order_relaxed)) {
            map::ring_consume(*ring, take, nullptr);
        }
    }
}

/// Context: any.
void act(Random& random, bool is_handler) noexcept {
    if (map::is_outer(*stage->map)) {
        act_on_maps(*stage->map, random, is_handler);
    } else if (stage->map->type == BPF_MAP_TYPE_PROG_ARRAY) {
        act_on_programs(*stage->map, random, is_handler);
    } else if (stage->map->type == BPF_MAP_TYPE_PERF_EVENT_ARRAY) {
        act_on_events(*stage->map, random, is_handler);
    } else if (stage->map->type == BPF_MAP_TYPE_STACK_TRACE) {
        act_on_stacks(*stage->map, random, task::current()->process);
    } else if (map::has_keys(*stage->map)) {
        act_on_elements(*stage->map, random);
    } else {
        act_on_sequence(*stage->map, random);
    }
}

class MapStress : public map::MapTest, public testing::WithParamInterface<Subject> {
protected:
    /// Arrays of one whole value.
    static void make_inner(Stage& shared) {
        for (Map*& inner : shared.inner) {
            inner = &make(array(1, sizeof(Value)));
            const std::uint32_t index = 0;
            const Value value = value_of(7);
            const map::Sections sections;
            ASSERT_EQ(map::update(*inner, &index, &value, BPF_ANY), no_error);
        }
    }
    static Map& make_subject(const Subject& subject, Stage& shared) {
        const bool holds_maps =
            subject.type == BPF_MAP_TYPE_HASH_OF_MAPS || subject.type == BPF_MAP_TYPE_ARRAY_OF_MAPS;
        const bool holds_events = subject.type == BPF_MAP_TYPE_PERF_EVENT_ARRAY;
        const bool holds_ids =
            holds_maps || holds_events || subject.type == BPF_MAP_TYPE_PROG_ARRAY;
        map::MapSpec of =
            spec(subject.type, subject.key_size, holds_ids ? sizeof(std::uint32_t) : sizeof(Value),
                 kEntries, subject.flags);
        if (holds_maps) {
            make_inner(shared);
            of.inner = shared.inner[0];
        }
        for (map::EventOutput& output : shared.outputs) {
            output.takes_records = true;
            output.enabled.store(1, std::memory_order_relaxed);
            output.ring.store(holds_events ? &make(spec(BPF_MAP_TYPE_RINGBUF, 0, 0, kRingBytes))
                                           : nullptr,
                              std::memory_order_relaxed);
        }
        return make(of);
    }
};

TEST_P(MapStress, leaves_values_whole_counts_exact_and_all_memory_free) {
    const Subject& subject = GetParam();
    Stage shared;
    shared.subject = &subject;
    shared.map = &make_subject(subject, shared);
    Map& map = *shared.map;
    stage = &shared;
    const auto release = [](void*) noexcept { stage->references.fetch_sub(1); };
    map::set_program_release(release);
    map::set_event_release(release);
    Crowd(act).run(consume_outputs);
    EXPECT_EQ(shared.torn.load(), 0U);
    if (subject.is_replaced && !subject.evicts) {
        EXPECT_EQ(static_cast<std::int64_t>(map::usage(map).elements), shared.balance.load());
    }
    // Stacks have a bucket each, to the next power of two.
    EXPECT_LE(map::usage(map).elements, subject.type == BPF_MAP_TYPE_STACK_TRACE
                                            ? std::bit_ceil(map.max_entries)
                                            : map.max_entries);
    task::wait_until([&] { return map::usage(map).waiting == 0; });
    EXPECT_EQ(shared.records.load(), 0) << "records are lost, or seen twice";
    EXPECT_EQ(shared.numbers.load(), 0U);
    if (subject.type == BPF_MAP_TYPE_PROG_ARRAY || subject.type == BPF_MAP_TYPE_PERF_EVENT_ARRAY) {
        task::wait_until([&] { return map::usage(map).elements == shared.references.load(); });
        for (std::uint32_t index = 0; index < kEntries; ++index) {
            const map::Sections sections;
            (void)map::remove(map, &index);
        }
        task::wait_until([&] { return shared.references.load() == 0; });
    }
    stage = nullptr;
}

INSTANTIATE_TEST_SUITE_P(
    Of, MapStress,
    testing::Values(Subject{"array", BPF_MAP_TYPE_ARRAY, 4},
                    Subject{"hash", BPF_MAP_TYPE_HASH, 8, 0, true},
                    Subject{"hash_on_demand", BPF_MAP_TYPE_HASH, 8, BPF_F_NO_PREALLOC, true},
                    Subject{"lru_hash", BPF_MAP_TYPE_LRU_HASH, 8, 0, true, true},
                    Subject{"lru_hash_own_lists", BPF_MAP_TYPE_LRU_HASH, 8, BPF_F_NO_COMMON_LRU,
                            true, true},
                    Subject{"lru_percpu_hash", BPF_MAP_TYPE_LRU_PERCPU_HASH, 8, 0, false, true},
                    Subject{"array_of_maps", BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, 0, true, true},
                    Subject{"hash_of_maps", BPF_MAP_TYPE_HASH_OF_MAPS, 8, 0, true, true},
                    Subject{"program_array", BPF_MAP_TYPE_PROG_ARRAY, 4, 0, true, true},
                    Subject{"perf_event_array", BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 0, true, true},
                    Subject{"stack_trace", BPF_MAP_TYPE_STACK_TRACE, 4, 0, true, true},
                    Subject{"percpu_array", BPF_MAP_TYPE_PERCPU_ARRAY, 4},
                    Subject{"percpu_hash", BPF_MAP_TYPE_PERCPU_HASH, 8},
                    Subject{"lpm_trie", BPF_MAP_TYPE_LPM_TRIE, 8, BPF_F_NO_PREALLOC, true},
                    Subject{"queue", BPF_MAP_TYPE_QUEUE, 0, 0, true},
                    Subject{"stack", BPF_MAP_TYPE_STACK, 0, 0, true},
                    Subject{"bloom_filter", BPF_MAP_TYPE_BLOOM_FILTER, 0}),
    [](const auto& instance) { return std::string(instance.param.name); });

}  // namespace
}  // namespace taskwork::maps
