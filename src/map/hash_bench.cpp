// SPDX-License-Identifier: Apache-2.0
//
// What does an element operation of the hash cost beside std::unordered_map under a mutex, which no
// handler could use? A guess beforehand: a lookup is a hash of 8 bytes and two cache lines, some 20
// ns; an update claims, fills, links and retires an element, a dozen locked instructions, some 200.
// An LRU's insertion does that for one element and deletes another: twice an update at most.
#include <benchmark/benchmark.h>
#include <linux/bpf.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <unordered_map>

#include "map/map.hpp"
#include "sync/arena.hpp"
#include "task/run_point.hpp"
#include "task/worker.hpp"

namespace {

using namespace taskwork;

constexpr std::uint64_t kKeys = 1000;

void need(bool done, const char* what) {
    if (!done) {
        std::fprintf(stderr, "hash_bench: %s failed\n", what);
        std::exit(1);
    }
}

map::Map& make_map(std::uint32_t type, std::uint32_t entries, std::uint32_t flags = 0) {
    map::MapSpec spec;
    spec.type = type;
    spec.key_size = 8;
    spec.value_size = 8;
    spec.max_entries = entries;
    spec.flags = flags;
    auto made = map::create(spec);
    need(made.has_value(), "map");
    return **made;
}

/// One domain for all benchmarks of the process.
map::Map& shared_map() {
    static map::Map* const map = [] {
        need(sync::Arena::create(std::size_t{256} << 20).has_value(), "arena");
        need(task::Worker::start(64).has_value(), "worker");
        need(defer::WorkTable::create(1024) == no_error, "works");
        need(map::MapTable::create() == no_error, "maps");
        // Room for the spares that the churn of updates needs between grace periods.
        map::Map* const made = &make_map(BPF_MAP_TYPE_HASH, 1U << 16);
        for (std::uint64_t key = 0; key < kKeys; ++key) {
            need(map::update(*made, &key, &key, BPF_ANY) == no_error, "update");
        }
        return made;
    }();
    return *map;
}

constexpr std::uint64_t kFull = 8192;

/// Full maps, in which every element is as likely to be cached as in another.
map::Map& full_map(std::uint32_t type, std::uint32_t flags = 0) {
    shared_map();  // the domain
    map::Map& map = make_map(type, kFull, flags);
    for (std::uint64_t key = 0; key < kFull; ++key) {
        need(map::update(map, &key, &key, BPF_ANY) == no_error, "update");
    }
    return map;
}
map::Map& full_hash() {
    static map::Map& map = full_map(BPF_MAP_TYPE_HASH);
    return map;
}
map::Map& full_lru() {
    static map::Map& map = full_map(BPF_MAP_TYPE_LRU_HASH);
    return map;
}
map::Map& full_lru_own_lists() {
    static map::Map& map = full_map(BPF_MAP_TYPE_LRU_HASH, BPF_F_NO_COMMON_LRU);
    return map;
}

/// Threads of the benchmark library are tasks while they run one.
struct Member {
    Member() { registered = task::register_current(0, 0) == no_error; }
    bool registered;
};

struct Locked {
    std::mutex lock;
    std::unordered_map<std::uint64_t, std::uint64_t> map;
    Locked() {
        for (std::uint64_t key = 0; key < kKeys; ++key) {
            map[key] = key;
        }
    }
    static Locked& shared() {
        static Locked instance;
        return instance;
    }
};

void map_lookup(benchmark::State& state) {
    map::Map& map = shared_map();
    const Member member;
    const task::ReadSection section(*task::current(), sync::Flavour::sleepable);
    std::uint64_t key = 0;
    std::uint64_t sum = 0;
    for (auto _ : state) {
        key = (key + 7) % kKeys;
        sum += *static_cast<std::uint64_t*>(map::lookup(map, &key));
    }
    benchmark::DoNotOptimize(sum);
}

void map_update(benchmark::State& state) {
    map::Map& map = shared_map();
    const Member member;
    std::uint64_t key = 0;
    std::uint64_t refused = 0;
    for (auto _ : state) {
        const task::ReadSection section(*task::current(), sync::Flavour::sleepable);
        key = (key + 7) % kKeys;
        refused += map::update(map, &key, &key, BPF_ANY) == no_error ? 0U : 1U;
    }
    // Replacements faster than grace periods release: the fraction that found no spare.
    state.counters["refused"] =
        benchmark::Counter(static_cast<double>(refused), benchmark::Counter::kAvgIterations);
}

template <map::Map& (*map_of)()>
void full_lookup(benchmark::State& state) {
    map::Map& map = map_of();
    const Member member;
    const task::ReadSection section(*task::current(), sync::Flavour::sleepable);
    std::uint64_t key = 0;
    std::uint64_t found = 0;
    for (auto _ : state) {
        key = (key + 7) % kFull;
        found += map::lookup(map, &key) != nullptr ? 1U : 0U;
    }
    benchmark::DoNotOptimize(found);
}

/// `is_new`: every update is of another key, which evicts an element; else it replaces one. What is
/// refused for want of spares waits for a grace period, outside the measurement.
template <map::Map& (*map_of)(), bool is_new>
void full_update(benchmark::State& state) {
    map::Map& map = map_of();
    const Member member;
    static std::atomic<std::uint64_t> runs{1};
    const std::uint64_t run = runs.fetch_add(1);
    std::uint64_t count = 0;
    for (auto _ : state) {
        ++count;
        const std::uint64_t key = is_new ? run << 32 | count : count * 7 % kFull;
        std::errc result = no_error;
        {
            const task::ReadSection section(*task::current(), sync::Flavour::sleepable);
            result = map::update(map, &key, &key, BPF_ANY);
        }
        if (result != no_error) {
            state.PauseTiming();
            task::Worker::synchronize();
            state.ResumeTiming();
        }
    }
}

void map_delete_insert(benchmark::State& state) {
    map::Map& map = shared_map();
    const Member member;
    std::uint64_t key = 0;
    const std::uint64_t own = kKeys * static_cast<std::uint64_t>(state.thread_index() + 1);
    std::uint64_t refused = 0;
    for (auto _ : state) {
        const task::ReadSection section(*task::current(), sync::Flavour::sleepable);
        key = own + (key + 7) % kKeys;
        refused += map::update(map, &key, &key, BPF_ANY) == no_error ? 0U : 1U;
        map::remove(map, &key);
    }
    state.counters["refused"] =
        benchmark::Counter(static_cast<double>(refused), benchmark::Counter::kAvgIterations);
}

void mutex_lookup(benchmark::State& state) {
    Locked& locked = Locked::shared();
    std::uint64_t key = 0;
    std::uint64_t sum = 0;
    for (auto _ : state) {
        key = (key + 7) % kKeys;
        const std::scoped_lock guard(locked.lock);
        sum += locked.map.find(key)->second;
    }
    benchmark::DoNotOptimize(sum);
}

void mutex_update(benchmark::State& state) {
    Locked& locked = Locked::shared();
    std::uint64_t key = 0;
    for (auto _ : state) {
        key = (key + 7) % kKeys;
        const std::scoped_lock guard(locked.lock);
        locked.map[key] = key;
    }
}

void mutex_delete_insert(benchmark::State& state) {
    Locked& locked = Locked::shared();
    std::uint64_t key = 0;
    const std::uint64_t own = kKeys * static_cast<std::uint64_t>(state.thread_index() + 1);
    for (auto _ : state) {
        key = own + (key + 7) % kKeys;
        const std::scoped_lock guard(locked.lock);
        locked.map[key] = key;
        locked.map.erase(key);
    }
}

BENCHMARK(map_lookup)->ThreadRange(1, 2)->UseRealTime();
BENCHMARK(full_lookup<full_hash>)->UseRealTime();
BENCHMARK(full_lookup<full_lru>)->UseRealTime();
BENCHMARK(mutex_lookup)->ThreadRange(1, 2)->UseRealTime();
BENCHMARK(map_update)->ThreadRange(1, 2)->UseRealTime();
BENCHMARK(full_update<full_hash, false>)->UseRealTime();
BENCHMARK(full_update<full_lru, false>)->UseRealTime();
BENCHMARK(full_update<full_lru, true>)->UseRealTime();
BENCHMARK(full_update<full_lru_own_lists, true>)->UseRealTime();
BENCHMARK(mutex_update)->ThreadRange(1, 2)->UseRealTime();
BENCHMARK(map_delete_insert)->ThreadRange(1, 2)->UseRealTime();
BENCHMARK(mutex_delete_insert)->ThreadRange(1, 2)->UseRealTime();

}  // namespace
