// SPDX-License-Identifier: Apache-2.0
#include "execution/native.hpp"

#include <linux/bpf.h>
#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "defer/context.hpp"
#include "map/map.hpp"
#include "map/ring_buffer.hpp"
#include "sync/arena.hpp"
#include "sync/platform.hpp"
#include "task/run_point.hpp"
#include "task/worker.hpp"

namespace taskwork::bench {

namespace {

using u32 = std::uint32_t;
using u64 = std::uint64_t;

map::Map* array;
map::Map* counters;
map::Map* hash;
map::Map* lru;
map::Map* small_lru;
map::Map* strings;
map::Map* ring;

/// What a lookup gives to a program's C.
struct Found {
    void* value;
    template <class T>
    operator T*() const {
        return static_cast<T*>(value);
    }
};

// What a helper does beyond its call is compared elsewhere: these do next to nothing.
[[gnu::noinline]] u64 pid_tgid() {
    static volatile u64 number = 1;
    return number;
}
[[gnu::noinline]] u64 current_task() { return reinterpret_cast<u64>(task::current()); }
[[gnu::noinline]] long copy_string(char* to, std::size_t size, const char* from) {
    const auto* const end = static_cast<const char*>(memccpy(to, from, 0, size));
    return end == nullptr ? -1 : end - to;
}
[[gnu::noinline]] void loop(u32 count, long (*function)(u32, u64*), u64* argument) {
    for (u32 i = 0; i < count && function(i, argument) == 0; ++i) {
    }
}

#define LOOKUP(which, key)                                                                         \
    Found { map::lookup(*(which), key) }
#define UPDATE(which, key, value) (map::update(*(which), key, value, BPF_ANY) == no_error ? 0 : -1)
#define DELETE(which, key) (map::remove(*(which), key) == no_error ? 0 : -1)
#define RESERVE(bytes)                                                                             \
    Found { map::ring_reserve(*ring, bytes, 0, task::current()->process) }
#define SUBMIT(record) map::ring_submit(record, BPF_RB_NO_WAKEUP)
#define COPY_STRING(to, size, from) copy_string(to, size, from)
#define LOOP(count, function, argument) loop(count, function, argument)
#define PID_TGID() pid_tgid()
#define UID_GID() pid_tgid()
#define PROCESSOR() static_cast<u64>(sched_getcpu())
#define TASK() current_task()
#define BODY(name, operations) u32 name([[maybe_unused]] const Run* run)

#include "execution/bodies.h"

struct Body {
    const char* program;
    u32 (*body)(const Run* run);
};
constexpr Body kBodies[] = {
    {"independent_arithmetic", independent_arithmetic},
    {"dependent_arithmetic", dependent_arithmetic},
    {"stack_words", stack_words},
    {"helper_calls", helper_calls},
    {"user_ids", user_ids},
    {"processor_ids", processor_ids},
    {"current_tasks", current_tasks},
    {"array_lookup", array_lookup},
    {"array_lookup_outside", array_lookup_outside},
    {"array_update", array_update},
    {"hash_lookup", hash_lookup},
    {"hash_lookup_absent", hash_lookup_absent},
    {"hash_update", hash_update},
    {"hash_insert", hash_insert},
    {"hash_delete", hash_delete},
    {"hash_delete_absent", hash_delete_absent},
    {"lru_lookup", lru_lookup},
    {"lru_lookup_absent", lru_lookup_absent},
    {"lru_update", lru_update},
    {"lru_evict", lru_evict},
    {"ring_submit", ring_submit},
    {"string_copy", string_copy},
    {"loop_rounds", loop_rounds},
    {"function_calls", function_calls},
    {"atomic_add", atomic_add},
    {"atomic_exchange", atomic_exchange},
};

u32 (*body_of(const char* program))(const Run* run) {
    for (const Body& each : kBodies) {
        if (program != nullptr && std::strcmp(each.program, program) == 0) {
            return each.body;
        }
    }
    return nullptr;
}

void need(bool done, const char* what) {
    if (!done) {
        std::fprintf(stderr, "execution_bench: %s failed\n", what);
        std::exit(1);
    }
}

map::Map* make_map(u32 type, u32 key_size, u32 value_size, u32 entries) {
    map::MapSpec spec;
    spec.type = type;
    spec.key_size = key_size;
    spec.value_size = value_size;
    spec.max_entries = entries;
    auto made = map::create(spec);
    need(made.has_value(), "a map");
    return *made;
}

}  // namespace

void start_native() {
    need(sync::Arena::create(std::size_t{256} << 20).has_value(), "the arena");
    need(task::Worker::start(64).has_value(), "the worker");
    need(defer::WorkTable::create(1024) == no_error, "the table of works");
    need(map::MapTable::create() == no_error, "the table of maps");
    // As in programs.bpf.c.
    array = make_map(BPF_MAP_TYPE_ARRAY, 4, 8, KEYS);
    counters = make_map(BPF_MAP_TYPE_ARRAY, 4, 8, KEYS);
    hash = make_map(BPF_MAP_TYPE_HASH, 8, 8, 16384);
    lru = make_map(BPF_MAP_TYPE_LRU_HASH, 8, 8, 16384);
    small_lru = make_map(BPF_MAP_TYPE_LRU_HASH, 8, 8, 1024);
    strings = make_map(BPF_MAP_TYPE_ARRAY, 4, 64, 2);
    ring = make_map(BPF_MAP_TYPE_RINGBUF, 0, 0, 1 << 16);
    const task::ReadSection section(*task::current(), sync::Flavour::sleepable);
    for (u32 key = 0; key < KEYS; ++key) {
        const u64 wide = key;
        need(map::update(*array, &key, &wide, BPF_ANY) == no_error &&
                 map::update(*hash, &wide, &wide, BPF_ANY) == no_error &&
                 map::update(*lru, &wide, &wide, BPF_ANY) == no_error,
             "an update");
    }
    const u32 key = 0;
    char text[64] = {};
    std::memset(text, 'x', 40);
    need(map::update(*strings, &key, text, BPF_ANY) == no_error, "an update");
}

bool has_native(const Subject& row) { return body_of(row.program) != nullptr; }

double measure_native(const Subject& row, unsigned runs, std::string& error) {
    std::vector<u64> all;
    const Run run;
    for (unsigned i = 0; i < runs; ++i) {
        if (auto* const before = body_of(row.before)) {
            const task::ReadSection section(*task::current(), sync::Flavour::sleepable);
            before(&run);
        }
        task::Worker::synchronize();
        map::ring_consume(*ring, [](void*, void*, std::size_t) { return 0L; }, nullptr);
        const task::ReadSection section(*task::current(), sync::Flavour::sleepable);
        const u64 start = platform::now_ns();
        const u32 done = body_of(row.program)(&run);
        all.push_back(platform::now_ns() - start);
        if (done != row.operations) {
            error = std::to_string(done) + " of " + std::to_string(row.operations) + " done";
        }
    }
    std::nth_element(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(runs / 2), all.end());
    return static_cast<double>(all[runs / 2]) / row.operations;
}

}  // namespace taskwork::bench
