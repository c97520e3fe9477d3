// SPDX-License-Identifier: Apache-2.0
//
// One thread: each operation on a full map, in task context and in a handler; an LRU map that
// evicts; in a handler, other kinds as well.
#include "maps/batch.hpp"
#include "maps/kinds.hpp"
#include "maps/subjects.hpp"

namespace taskwork::bench {

namespace {

template <class Subject>
struct Full {
    Subject subject;
    std::uint32_t entries;
    Walk walk{0, entries};

    template <class... Arguments>
    explicit Full(std::uint32_t count, Arguments... arguments)
        : subject(arguments...), entries(count) {
        fill(subject, 0, count);
    }
};

Full<Ours>& ours(std::uint32_t entries) {
    if (entries == kLarge) {
        static Full<Ours> large(kLarge, BPF_MAP_TYPE_HASH, kLarge);
        return large;
    }
    static Full<Ours> small(kSmall, BPF_MAP_TYPE_HASH, kSmall);
    return small;
}
Full<Locked>& locked(std::uint32_t entries) {
    if (entries == kLarge) {
        static Full<Locked> large(kLarge);
        return large;
    }
    static Full<Locked> small(kSmall);
    return small;
}
Full<Ours>& lru(std::uint32_t) {
    static Full<Ours> small(kSmall, BPF_MAP_TYPE_LRU_HASH, kSmall);
    return small;
}

template <class Subject>
void lookups(benchmark::State& state, Full<Subject>& full, bool hits, Where where = Where::task) {
    Samples samples;
    Walk walk(hits ? 0 : full.entries, full.entries);
    const auto batch = [&] { return run(full.subject, Operation::lookup, walk, kLongBatch); };
    for (auto _ : state) {
        if (!timed(state, samples, where, kLongBatch, batch, hits)) {
            return;
        }
    }
    samples.finish(state);
}

template <class Subject>
void updates(benchmark::State& state, Full<Subject>& full, Where where = Where::task) {
    Samples samples;
    const auto batch = [&] { return run(full.subject, Operation::update, full.walk, kBatch); };
    for (auto _ : state) {
        full.subject.settle();
        if (!timed(state, samples, where, kBatch, batch)) {
            return;
        }
    }
    samples.finish(state);
}

/// Takes keys out and puts them in again; `measured` is the one that is timed.
template <class Subject>
void erase_and_insert(benchmark::State& state, Full<Subject>& full, Operation measured,
                      Where where = Where::task) {
    Samples samples;
    for (auto _ : state) {
        Walk again = full.walk;
        const auto erase = [&] { return run(full.subject, Operation::erase, full.walk, kBatch); };
        const auto insert = [&] { return run(full.subject, Operation::insert, again, kBatch); };
        full.subject.settle();
        bool done = true;
        if (measured == Operation::insert) {
            erase();
            full.subject.settle();
            done = timed(state, samples, where, kBatch, insert);
        } else {
            done = timed(state, samples, where, kBatch, erase);
            full.subject.settle();
            insert();
        }
        if (!done) {
            return;
        }
    }
    samples.finish(state);
}

template <class Subject>
void erase_misses(benchmark::State& state, Full<Subject>& full, Where where = Where::task) {
    Samples samples;
    Walk walk(full.entries, full.entries);
    const auto batch = [&] { return run(full.subject, Operation::erase, walk, kLongBatch); };
    for (auto _ : state) {
        if (!timed(state, samples, where, kLongBatch, batch, false)) {
            return;
        }
    }
    samples.finish(state);
}

/// Each key is new: an element goes for it.
void evictions(benchmark::State& state, Where where) {
    Full<Ours>& full = lru(kSmall);
    static std::uint64_t next = kSmall;
    Samples samples;
    for (auto _ : state) {
        full.subject.settle();
        Walk walk(next, kSmall);
        next += kSmall;
        const auto batch = [&] { return run(full.subject, Operation::insert, walk, kBatch); };
        if (!timed(state, samples, where, kBatch, batch)) {
            return;
        }
    }
    samples.finish(state);
}

// ---- Rows ---------------------------------------------------------------------------------------

/// Batches that need a wait behind them are as many as was said, not as fill a time.
template <class Measure>
void add(const std::string& name, Measure measure, bool waits) {
    auto* const added = benchmark::RegisterBenchmark(name.c_str(), measure)->UseManualTime();
    if (waits) {
        added->Iterations(rounds());
    }
}

template <class Subject>
void add_all(const char* whose, Full<Subject>& (*full)(std::uint32_t), std::uint32_t entries,
             Where where = Where::task) {
    const auto name = [&](const char* operation) { return name_of(whose, operation, entries); };
    using State = benchmark::State;
    add(
        name("lookup, hit"), [=](State& state) { lookups(state, full(entries), true, where); },
        false);
    add(
        name("lookup, miss"), [=](State& state) { lookups(state, full(entries), false, where); },
        false);
    add(name("update"), [=](State& state) { updates(state, full(entries), where); }, true);
    for (const Operation operation : {Operation::insert, Operation::erase}) {
        add(
            name(operation == Operation::insert ? "insert" : "delete, hit"),
            [=](State& state) { erase_and_insert(state, full(entries), operation, where); }, true);
    }
    add(
        name("delete, miss"), [=](State& state) { erase_misses(state, full(entries), where); },
        false);
}

void add_lru(const char* whose, Where where) {
    using State = benchmark::State;
    add(
        name_of(whose, kLruUpdate, kSmall),
        [=](State& state) { updates(state, lru(kSmall), where); }, true);
    add(name_of(whose, kLruEvict, kSmall), [=](State& state) { evictions(state, where); }, true);
}

struct Goal {
    const char* operation;
    double ns;  ///< At 1,000 keys.
};
constexpr Goal kGoals[] = {{"lookup, hit", 15}, {"lookup, miss", 0}, {"update", 45},
                           {"insert", 0},       {"delete, hit", 45}, {"delete, miss", 0}};

void add_rows(Report& report, std::uint32_t entries) {
    report.heading(std::string("one thread, full map of ") +
                   (entries == kLarge ? "1,000,000" : "1,000") + " entries, beside the kernel's");
    for (const Goal& goal : kGoals) {
        const bool has_goal = goal.ns > 0 && entries == kSmall;
        report.row({.name = name_of(kOurs, goal.operation, entries),
                    .floor = name_of(kKernel, goal.operation, entries),
                    .ratio_max = has_goal ? 1.0 : 0.0,
                    .ns_max = has_goal ? goal.ns : 0.0,
                    .is_rival = true});
    }
    for (const Goal& goal : kGoals) {
        report.row({.name = name_of(kMutex, goal.operation, entries)});
    }
}

}  // namespace

void add_single(Report& report) {
    for (const std::uint32_t entries : {kSmall, kLarge}) {
        if (entries == kLarge && is_short()) {
            report.skipped("a map of 1,000,000 entries", "short run");
            continue;
        }
        add_all(kOurs, ours, entries);
        add_all(kMutex, locked, entries);
        add_rows(report, entries);
    }

    report.heading("LRU hash");
    add_lru(kOurs, Where::task);
    for (const char* const operation : {kLruUpdate, kLruEvict}) {
        const std::string name = name_of(kOurs, operation, kSmall);
        report.row({.name = name, .floor = name_of(kOurs, "update", kSmall), .ratio_max = 2});
        report.row({.name = name, .floor = name_of(kKernel, operation, kSmall), .is_rival = true});
    }

    report.heading("other kinds, one thread, 1,000 elements, beside the kernel's");
    add_kinds(report, Where::task);

    report.heading("in a handler");
    add_all(kOursInHandler, ours, kSmall, Where::nmi);
    add_lru(kOursInHandler, Where::nmi);
    const auto row_in_handler = [&](const char* operation) {
        report.row({.name = name_of(kOursInHandler, operation, kSmall),
                    .floor = name_of(kOurs, operation, kSmall)});
    };
    for (const Goal& goal : kGoals) {
        row_in_handler(goal.operation);
    }
    row_in_handler(kLruUpdate);
    row_in_handler(kLruEvict);
    add_kinds(report, Where::nmi);
    add_ring_in_handler(report);
}

}  // namespace taskwork::bench
