// SPDX-License-Identifier: Apache-2.0
#include "maps/kinds.hpp"

#include "maps/batch.hpp"
#include "maps/subjects.hpp"

namespace taskwork::bench {

namespace {

/// A program has the number of its processor from its first use of one on.
constexpr std::uint32_t kProcessor = 0;

/// As `struct prefix` of kernel.bpf.c.
struct PrefixKey {
    std::uint32_t bits;
    std::uint32_t address;
};
/// Prefixes of 16 to 32 bits, or a whole address that has one.
PrefixKey prefix_of(std::uint64_t number, bool is_whole) {
    const auto low = static_cast<std::uint32_t>(number);
    return {is_whole ? 32 : 16 + low % 17, low * 2654435761U};
}

// An index is the lower half of a key.
bool look_up(map::Map& map, std::uint64_t key) noexcept {
    return map::lookup(map, &key) != nullptr;
}
bool update(map::Map& map, std::uint64_t key) noexcept {
    return map::update(map, &key, &key, BPF_ANY) == no_error;
}
bool look_up_slot(map::Map& map, std::uint64_t key) noexcept {
    void* const value = map::lookup(map, &key);
    return value != nullptr && map::slot_of(map, value, kProcessor) != nullptr;
}
bool update_slot(map::Map& map, std::uint64_t key) noexcept {
    return map::update_slot(map, &key, &key, BPF_ANY, kProcessor) == no_error;
}
bool look_up_prefix(map::Map& map, std::uint64_t number) noexcept {
    const PrefixKey key = prefix_of(number, true);
    return map::lookup(map, &key) != nullptr;
}
bool update_prefix(map::Map& map, std::uint64_t number) noexcept {
    const PrefixKey key = prefix_of(number, false);
    return map::update(map, &key, &number, BPF_ANY) == no_error;
}
bool push_and_pop(map::Map& map, std::uint64_t value) noexcept {
    return map::push(map, &value, BPF_ANY) == no_error && map::pop(map, &value) == no_error;
}
bool push(map::Map& map, std::uint64_t value) noexcept {
    return map::push(map, &value, BPF_ANY) == no_error;
}
bool peek(map::Map& map, std::uint64_t value) noexcept {
    return map::peek(map, &value) == no_error;
}

map::MapSpec spec_of(std::uint32_t type) {
    map::MapSpec spec;
    spec.type = type;
    spec.max_entries = kSmall;
    spec.value_size = 8;
    switch (type) {
    case BPF_MAP_TYPE_ARRAY:
    case BPF_MAP_TYPE_PERCPU_ARRAY:
        spec.key_size = 4;
        break;
    case BPF_MAP_TYPE_LPM_TRIE:
        spec.flags = BPF_F_NO_PREALLOC;
        spec.key_size = sizeof(PrefixKey);
        break;
    case BPF_MAP_TYPE_PERCPU_HASH:
        spec.key_size = 8;
        break;
    default:  // Without keys.
        break;
    }
    return spec;
}

map::Map& map_of(const KindRow& row) {
    static std::map<const KindRow*, map::Map*> made;
    map::Map*& map = made[&row];
    if (map == nullptr) {
        map = &make_map(spec_of(row.type));
        for (std::uint64_t number = 0; row.fill != nullptr && number < kSmall; ++number) {
            const Ours::Section section;
            row.fill(*map, number);
        }
    }
    return *map;
}

void measure(benchmark::State& state, const KindRow& row, Where where) {
    map::Map& map = map_of(row);
    const std::uint64_t times = row.uses_spares ? kBatch : kLongBatch;
    Walk walk(0, kSmall);
    Samples samples;
    for (auto _ : state) {
        if (row.uses_spares) {
            Ours::settle();
        }
        const auto batch = [&] {
            const Ours::Section section;
            std::uint64_t done = 0;
            for (std::uint64_t i = 0; i < times; ++i) {
                done += row.act(map, walk.next()) ? 1U : 0U;
            }
            return done;
        };
        if (!timed(state, samples, where, times, batch)) {
            return;
        }
    }
    samples.finish(state);
}

}  // namespace

const std::vector<KindRow>& kind_rows() {
    static const std::vector<KindRow> rows = {
        {BPF_MAP_TYPE_ARRAY, "array, lookup", look_up, "run_look_up_array"},
        {BPF_MAP_TYPE_ARRAY, "array, update", update, "run_update_array"},
        {BPF_MAP_TYPE_PERCPU_ARRAY, "per-CPU array, lookup", look_up_slot,
         "run_look_up_per_cpu_array"},
        {BPF_MAP_TYPE_PERCPU_ARRAY, "per-CPU array, update", update_slot,
         "run_update_per_cpu_array"},
        {BPF_MAP_TYPE_PERCPU_HASH, "per-CPU hash, lookup", look_up_slot, "run_look_up_per_cpu",
         update_slot, "run_update_per_cpu"},
        {BPF_MAP_TYPE_PERCPU_HASH, "per-CPU hash, update", update_slot, "run_update_per_cpu",
         update_slot, "run_update_per_cpu"},
        {BPF_MAP_TYPE_LPM_TRIE, "LPM trie, lookup", look_up_prefix, "run_look_up_trie",
         update_prefix, "run_update_trie"},
        {BPF_MAP_TYPE_LPM_TRIE, "LPM trie, update", update_prefix, "run_update_trie", update_prefix,
         "run_update_trie", true},
        {BPF_MAP_TYPE_QUEUE, "queue, push and pop", push_and_pop, "run_push_pop_queue"},
        {BPF_MAP_TYPE_STACK, "stack, push and pop", push_and_pop, "run_push_pop_stack"},
        {BPF_MAP_TYPE_BLOOM_FILTER, "bloom filter, push", push, "run_push_bloom"},
        {BPF_MAP_TYPE_BLOOM_FILTER, "bloom filter, peek, hit", peek, "run_peek_bloom", push,
         "run_push_bloom"},
    };
    return rows;
}

void add_kinds(Report& report, Where where) {
    const bool in_task = where == Where::task;
    for (const KindRow& row : kind_rows()) {
        const std::string name = (in_task ? kOurs : kOursInHandler) + std::string(row.name);
        auto* const added =
            benchmark::RegisterBenchmark(name.c_str(), [&row, where](benchmark::State& state) {
                measure(state, row, where);
            })->UseManualTime();
        if (row.uses_spares) {
            added->Iterations(rounds());
        }
        report.row({.name = name,
                    .floor = (in_task ? kKernel : kOurs) + std::string(row.name),
                    .is_rival = in_task});
    }
}

}  // namespace taskwork::bench
