// SPDX-License-Identifier: Apache-2.0
//
// One thread: each operation on a full map, in task context and in a handler; an LRU map that
// evicts.
#include <signal.h>

#include "maps/subjects.hpp"
#include "sync/platform.hpp"

namespace taskwork::bench {

namespace {

/// Batches of a repetition that use up spares, each with a wait for a grace period behind it.
constexpr int kRounds = 30;
constexpr std::uint64_t kLookups = 10'000;

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

/// Times one batch; false: an operation did not do what it was to.
template <class Subject>
bool timed(benchmark::State& state, Samples& samples, Subject& subject, Operation operation,
           Walk& walk, std::uint64_t times, bool expected = true) {
    const std::uint64_t begin = platform::now_ns();
    const std::uint64_t done = run(subject, operation, walk, times);
    samples.add(state, platform::now_ns() - begin, times);
    if (done != (expected ? times : 0)) {
        state.SkipWithError("an operation failed");
        return false;
    }
    return true;
}

template <class Subject>
void lookups(benchmark::State& state, Full<Subject>& full, bool hits) {
    Samples samples;
    Walk walk(hits ? 0 : full.entries, full.entries);
    for (auto _ : state) {
        if (!timed(state, samples, full.subject, Operation::lookup, walk, kLookups, hits)) {
            return;
        }
    }
    samples.finish(state);
}

template <class Subject>
void updates(benchmark::State& state, Full<Subject>& full) {
    Samples samples;
    for (auto _ : state) {
        full.subject.settle();
        if (!timed(state, samples, full.subject, Operation::update, full.walk, kBatch)) {
            return;
        }
    }
    samples.finish(state);
}

/// Takes keys out and puts them in again; `measured` is the one that is timed.
template <class Subject>
void erase_and_insert(benchmark::State& state, Full<Subject>& full, Operation measured) {
    Samples samples;
    for (auto _ : state) {
        Walk again = full.walk;
        full.subject.settle();
        if (measured == Operation::insert) {
            run(full.subject, Operation::erase, full.walk, kBatch);
            full.subject.settle();
            if (!timed(state, samples, full.subject, Operation::insert, again, kBatch)) {
                return;
            }
        } else {
            const bool done =
                timed(state, samples, full.subject, Operation::erase, full.walk, kBatch);
            full.subject.settle();
            run(full.subject, Operation::insert, again, kBatch);
            if (!done) {
                return;
            }
        }
    }
    samples.finish(state);
}

template <class Subject>
void erase_misses(benchmark::State& state, Full<Subject>& full) {
    Samples samples;
    Walk walk(full.entries, full.entries);
    for (auto _ : state) {
        if (!timed(state, samples, full.subject, Operation::erase, walk, kLookups, false)) {
            return;
        }
    }
    samples.finish(state);
}

/// Each key is new: an element goes for it.
void evictions(benchmark::State& state) {
    Full<Ours>& full = lru(kSmall);
    static std::uint64_t next = kSmall;
    Samples samples;
    for (auto _ : state) {
        full.subject.settle();
        Walk walk(next, kSmall);
        next += kSmall;
        if (!timed(state, samples, full.subject, Operation::insert, walk, kBatch)) {
            return;
        }
    }
    samples.finish(state);
}

// ---- In a handler -------------------------------------------------------------------------------

struct Handled {
    Operation operation;
    std::uint64_t times;
    std::uint64_t ns;
    bool done;
};
Handled handled;

void on_event(int, siginfo_t*, void* ucontext) {
    task::Task& self = *task::current();
    const task::Interrupted interrupted = task::interrupted_by(self, ucontext);
    const task::NmiScope scope(self, interrupted.stack_pointer, interrupted.on_alternate_stack,
                               interrupted.room);
    Full<Ours>& full = ours(kSmall);
    const std::uint64_t begin = platform::now_ns();
    const std::uint64_t done = run(full.subject, handled.operation, full.walk, handled.times);
    handled.ns = platform::now_ns() - begin;
    handled.done = scope.entered() && done == handled.times;
}

void in_handler(benchmark::State& state, Operation operation) {
    struct sigaction action{};
    action.sa_sigaction = on_event;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigfillset(&action.sa_mask);
    sigaction(SIGUSR2, &action, nullptr);
    handled.operation = operation;
    handled.times = operation == Operation::lookup ? kLookups : kBatch;
    Full<Ours>& full = ours(kSmall);
    Samples samples;
    for (auto _ : state) {
        full.subject.settle();
        raise(SIGUSR2);
        samples.add(state, handled.ns, handled.times);
        if (!handled.done) {
            state.SkipWithError("an operation failed");
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
        added->Iterations(kRounds);
    }
}

template <class Subject>
void add_all(const char* whose, Full<Subject>& (*full)(std::uint32_t), std::uint32_t entries) {
    const auto name = [&](const char* operation) { return name_of(whose, operation, entries); };
    using State = benchmark::State;
    add(name("lookup, hit"), [=](State& state) { lookups(state, full(entries), true); }, false);
    add(name("lookup, miss"), [=](State& state) { lookups(state, full(entries), false); }, false);
    add(name("update"), [=](State& state) { updates(state, full(entries)); }, true);
    add(
        name("insert"),
        [=](State& state) { erase_and_insert(state, full(entries), Operation::insert); }, true);
    add(
        name("delete, hit"),
        [=](State& state) { erase_and_insert(state, full(entries), Operation::erase); }, true);
    add(name("delete, miss"), [=](State& state) { erase_misses(state, full(entries)); }, false);
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

    report.heading("in a handler");
    const auto add_in_handler = [&](const char* operation, Operation which, bool waits) {
        const std::string name = name_of("ours, nmi: ", operation, kSmall);
        add(name, [=](benchmark::State& state) { in_handler(state, which); }, waits);
        report.row({.name = name, .floor = name_of(kOurs, operation, kSmall)});
    };
    add_in_handler("lookup, hit", Operation::lookup, false);
    add_in_handler("update", Operation::update, true);

    report.heading("LRU hash");
    const std::string update = name_of("ours, LRU: ", "update", kSmall);
    const std::string evict = name_of("ours, LRU: ", "insert that evicts", kSmall);
    add(update, [](benchmark::State& state) { updates(state, lru(kSmall)); }, true);
    add(evict, evictions, true);
    report.row({.name = update, .floor = name_of(kOurs, "update", kSmall), .ratio_max = 2});
    report.row({.name = evict, .floor = name_of(kOurs, "update", kSmall), .ratio_max = 2});
    report.row({.name = name_of("kernel, LRU: ", "update", kSmall)});
    report.row({.name = name_of("kernel, LRU: ", "insert that evicts", kSmall)});
}

}  // namespace taskwork::bench
