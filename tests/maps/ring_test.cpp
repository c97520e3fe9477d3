// SPDX-License-Identifier: Apache-2.0
//
// A ring buffer with four producers in handlers (and their threads, interrupted by these) and a
// consumer that is slower than they: every record is consumed once, whole, in order of reservation,
// and every refused reservation is counted. The same of a perf event, whose records go by a ring;
// these are copied, and do not know when they were reserved.
//
//   TASKWORK_SEED           the sequence of random numbers
//   TASKWORK_MAP_SECONDS    how long (1; 60 with TASKWORK_PROVE)
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include "base/sanitizers.hpp"
#include "map/program_array.hpp"
#include "map/test_map.hpp"
#include "task/test_events.hpp"
#include "tests/random.hpp"

namespace taskwork::maps {
namespace {

using map::Map;
using test::choose_seed;
using test::is_long;
using test::Random;

constexpr unsigned kProducers = 4;
constexpr std::uint64_t kEventUs = 100;
constexpr std::uint32_t kRingBytes = 8192;

/// What a record says of itself: its reservation happened between two readings of the clock.
struct Record {
    std::uint64_t number;
    std::uint64_t begin;
    std::uint64_t end;
    std::uint64_t words;  ///< That follow, each number + its index.
    std::uint64_t fill[24];
};
constexpr std::size_t kHeadBytes = offsetof(Record, fill);

/// What producers share; handlers find it here.
struct Stage {
    Map* ring = nullptr;
    Map* events_array = nullptr;  ///< Of perf events; records go through it if there is one.
    std::atomic<std::uint64_t> clock{1};
    std::atomic<std::uint64_t> next_number{0};
    std::atomic<std::uint64_t> submitted{0};
    std::atomic<std::uint64_t> discarded{0};
    std::atomic<std::uint64_t> refused{0};
    std::atomic<std::uint64_t> events{0};
    std::atomic<bool> stop{false};
};
Stage* stage = nullptr;
thread_local constinit Random* own_random = nullptr;

void fill(Record& record, std::uint64_t words) noexcept {
    record.number = stage->next_number.fetch_add(1, std::memory_order_relaxed);
    record.words = words;
    for (std::uint64_t i = 0; i < words; ++i) {
        record.fill[i] = record.number + i;
    }
}

void output_copy(task::Task& self, std::uint64_t words, std::uint64_t size) noexcept {
    Record record{};
    fill(record, words);
    record.end = UINT64_MAX;  // Never too late.
    const std::errc result =
        map::perf_output(*stage->events_array, 0, 0, &record, size, self.process);
    (result == no_error ? stage->submitted : stage->refused)
        .fetch_add(1, std::memory_order_relaxed);
}

/// Reserve, fill, submit or discard; or output of a copy. Context: any.
void produce(Random& random) noexcept {
    task::Task* const self = task::current();
    const task::Section section(self);
    const task::ReadSection keep(*self, sync::Flavour::sleepable);
    const std::uint64_t words = random.below(24);
    const std::uint64_t size = kHeadBytes + words * 8;
    if (stage->events_array != nullptr) {
        output_copy(*self, words, size);
        return;
    }
    const std::uint64_t begin = stage->clock.fetch_add(1, std::memory_order_seq_cst);
    auto* record = static_cast<Record*>(map::ring_reserve(*stage->ring, size, 0, self->process));
    if (record == nullptr) {
        stage->refused.fetch_add(1, std::memory_order_relaxed);
        return;
    }
    record->begin = begin;
    record->end = stage->clock.fetch_add(1, std::memory_order_seq_cst);
    if (random.below(8) == 0) {
        stage->discarded.fetch_add(1, std::memory_order_relaxed);
        map::ring_discard(record, 0);
        return;
    }
    fill(*record, words);
    stage->submitted.fetch_add(1, std::memory_order_relaxed);
    map::ring_submit(record, random.below(2) == 0 ? BPF_RB_NO_WAKEUP : 0);
}

bool on_event(task::Task&, const siginfo_t&, void*, task::Dropped dropped) noexcept {
    if (dropped == task::Dropped::no && own_random != nullptr) {
        stage->events.fetch_add(1, std::memory_order_relaxed);
        produce(*own_random);
    }
    return true;
}

/// What the consumer has seen.
struct Seen {
    std::vector<bool> numbers;
    std::uint64_t count = 0;
    std::uint64_t twice = 0;
    std::uint64_t broken = 0;
    std::uint64_t out_of_order = 0;
    std::uint64_t latest_begin = 0;

    static long take(void* argument, void* data, std::size_t size) {
        auto& self = *static_cast<Seen*>(argument);
        const auto& record = *static_cast<const Record*>(data);
        bool whole = size == kHeadBytes + record.words * 8;
        for (std::uint64_t i = 0; whole && i < record.words; ++i) {
            whole = record.fill[i] == record.number + i;
        }
        ++self.count;
        self.broken += whole ? 0U : 1U;
        // One that was reserved before an earlier consumed one's reservation began.
        self.out_of_order += record.end < self.latest_begin ? 1U : 0U;
        self.latest_begin = std::max(self.latest_begin, record.begin);
        if (record.number >= self.numbers.size()) {
            self.numbers.resize(record.number * 2 + 1024);
        }
        self.twice += self.numbers[record.number] ? 1U : 0U;
        self.numbers[record.number] = true;
        return 0;
    }
};

struct Producers {
    const char* name;
    bool are_threads_too;
    bool use_perf_event = false;
};

class RingOf : public map::MapTest, public testing::WithParamInterface<Producers> {
protected:
    ~RingOf() override { task::set_event_hook(nullptr, nullptr); }
};

TEST_P(RingOf, four_producers_is_consumed_once_and_in_order_of_reservation) {
    const bool threads_produce = GetParam().are_threads_too;
    const std::uint64_t seed = choose_seed();
    Stage shared;
    shared.ring = &make(spec(BPF_MAP_TYPE_RINGBUF, 0, 0, kRingBytes));
    map::EventOutput event;
    if (GetParam().use_perf_event) {
        event.takes_records = true;
        event.enabled.store(1, std::memory_order_relaxed);
        event.ring.store(shared.ring, std::memory_order_relaxed);
        shared.events_array = &make(spec(BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, 1));
        map::set_event_release([](void*) noexcept {});
        const std::uint32_t index = 0;
        ASSERT_EQ(put_entry(*shared.events_array, &index, {&event, 1, {}, &event}), no_error);
    }
    stage = &shared;
    task::set_event_hook(task::is_timer_event, on_event);
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < kProducers; ++i) {
        threads.push_back(task::task_thread([&, i] {
            Random random(seed + i);
            own_random = &random;
            task::EventTimer events(kEventUs);
            events.start(random.below(UINT32_MAX));
            std::uint64_t work = 0;
            while (!shared.stop.load(std::memory_order_acquire)) {
                if (threads_produce) {
                    produce(random);
                } else {
                    work += random.below(1000);  // What the handlers interrupt.
                }
            }
            events.stop();
            own_random = nullptr;
            EXPECT_TRUE(threads_produce || work != 0);
        }));
    }
    Seen seen;
    const std::uint64_t end =
        platform::now_ns() +
        test::setting("TASKWORK_MAP_SECONDS", is_long() ? 60 : 1) * 1'000'000'000U;
    const std::uint64_t patience = end + 60'000'000'000U;
    const auto is_done = [&] {
        return platform::now_ns() >= end && shared.refused.load() > 10 && seen.count > 1000;
    };
    while (!is_done() && platform::now_ns() < patience) {
        ::usleep(20'000);
        EXPECT_GE(map::ring_consume(*shared.ring, Seen::take, &seen), 0);
    }
    EXPECT_TRUE(is_done()) << "producers or consumer do not get on";
    shared.stop.store(true, std::memory_order_release);
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_GE(map::ring_consume(*shared.ring, Seen::take, &seen), 0);
    std::cout << shared.submitted.load() << " submitted, " << shared.discarded.load()
              << " discarded, " << shared.refused.load() << " refused, " << shared.events.load()
              << " events" << std::endl;
    EXPECT_EQ(seen.count, shared.submitted.load());
    EXPECT_EQ(seen.twice, 0U);
    EXPECT_EQ(seen.broken, 0U);
    EXPECT_EQ(seen.out_of_order, 0U);
    EXPECT_EQ(map::ring_dropped(*shared.ring), shared.refused.load());
    EXPECT_EQ(map::ring_query(*shared.ring, BPF_RB_AVAIL_DATA), 0U);
    stage = nullptr;
}

INSTANTIATE_TEST_SUITE_P(Of, RingOf,
                         testing::Values(Producers{"handlers", false},
                                         Producers{"handlers_and_threads", true},
                                         Producers{"perf_event", true, true}),
                         [](const auto& instance) { return std::string(instance.param.name); });

}  // namespace
}  // namespace taskwork::maps
