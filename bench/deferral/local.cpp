// SPDX-License-Identifier: Apache-2.0
//
// What one thread does alone: schedule onto itself, be refused, cancel, allocate, read, look for
// work, be interrupted.
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>

#include "defer/context.hpp"
#include "deferral/atomics.hpp"
#include "deferral/machine.hpp"
#include "deferral/report.hpp"
#include "event/event.hpp"
#include "sync/signal.hpp"
#include "task/run_point.hpp"
#include "task/worker.hpp"

namespace taskwork::bench {

namespace {

using task::current;

/// Works of one batch of cancels: fewer than would have the worker compact the list.
constexpr unsigned kBatch = 32;

Value& own_value() {
    static Value& value = *new_values(1);
    return value;
}
Value* batch_values() {
    static Value* const values = new_values(kBatch);
    return values;
}

// --- Bodies, which are also counted by the instruction -------------------------------------------

void schedule_and_run(void*) {
    benchmark::DoNotOptimize(
        defer::schedule(own_value().slot, request_for(own_value(), current())));
}

void be_refused(void*) {
    benchmark::DoNotOptimize(
        defer::schedule(own_value().slot, request_for(own_value(), current())));
}

void cancel_one(void* value) { defer::cancel(static_cast<Value*>(value)->slot); }

void claim_and_release(void*) {
    sync::Pool& pool = defer::WorkTable::get().contexts;
    void* object = pool.claim(current()->process, defer::kStateAttaching);
    benchmark::DoNotOptimize(object);
    pool.release(object);
}

void enter_and_leave_nmi(void*) {
    const task::NmiScope scope(*current(), platform::stack_pointer(), false);
    benchmark::DoNotOptimize(scope.entered());
}

// --- Measurements --------------------------------------------------------------------------------

template <void (*body)(void*)>
void run_body(benchmark::State& state) {
    for (auto _ : state) {
        body(nullptr);
    }
}

void refused(benchmark::State& state) {
    const task::Section section(current());
    be_refused(nullptr);  // This one is taken: the section keeps it from running.
    for (auto _ : state) {
        be_refused(nullptr);
    }
}

/// Schedules the whole batch; a pool emptied by earlier batches is given its grace period.
void schedule_batch(Value* values) {
    for (unsigned index = 0; index < kBatch; ++index) {
        while (defer::schedule(values[index].slot, request_for(values[index], current())) ==
               std::errc::not_enough_memory) {
            task::Worker::synchronize();
        }
    }
}

void cancel_scheduled(benchmark::State& state) {
    Value* const values = batch_values();
    Samples samples;
    for (auto _ : state) {
        const task::Section section(current());
        schedule_batch(values);
        const std::uint64_t begin = platform::now_ns();
        for (unsigned index = 0; index < kBatch; ++index) {
            cancel_one(&values[index]);
        }
        samples.add(state, platform::now_ns() - begin, kBatch);
    }
    samples.finish(state);
}

void malloc_and_free(benchmark::State& state) {
    for (auto _ : state) {
        void* memory = std::malloc(sizeof(defer::WorkContext));
        benchmark::DoNotOptimize(memory);
        std::free(memory);
    }
}

template <sync::Flavour flavour>
void read_section(benchmark::State& state) {
    task::Task& self = *current();
    for (auto _ : state) {
        const task::ReadSection section(self, flavour);
        benchmark::ClobberMemory();
    }
}

void idle_safe_point(benchmark::State& state) {
    for (auto _ : state) {
        task::safe_point();
    }
}

void load_and_branch(benchmark::State& state) {
    static std::atomic<std::uint64_t> word;
    for (auto _ : state) {
        if (word.load(std::memory_order_relaxed) != 0) {
            std::abort();
        }
    }
}

// --- A whole signal ------------------------------------------------------------------------------

volatile std::sig_atomic_t handled = 0;

void bare_handler(int, siginfo_t*, void*) { handled = handled + 1; }

void bare_signal_to_self(benchmark::State& state) {
    struct sigaction action{};
    action.sa_sigaction = bare_handler;
    action.sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER;
    sigfillset(&action.sa_mask);
    sigaction(SIGUSR2, &action, nullptr);
    const long pid = getpid();
    const long tid = syscall(SYS_gettid);
    for (auto _ : state) {
        syscall(SYS_tgkill, pid, tid, SIGUSR2);
    }
}

bool is_any_event(const task::Task&, const siginfo_t& info) noexcept {
    return info.si_code == SI_TKILL;
}
bool serve_nothing(task::Task&, const siginfo_t&, void*, task::Dropped) noexcept {
    handled = handled + 1;
    return true;
}

/// The same signal call with our handler behind it, which takes it for an event.
void event_to_self(benchmark::State& state) {
    task::set_event_hook(is_any_event, serve_nothing);
    const long pid = getpid();
    const long tid = syscall(SYS_gettid);
    for (auto _ : state) {
        syscall(SYS_tgkill, pid, tid, sync::kSignal);
    }
    event::join();
}

/// Registers a body with the floor of its own atomics and a line of the table.
void add_counted(Report& report, Row row, void (*measure)(benchmark::State&),
                 const AtomicCounts& counts) {
    row.floor = atomics_floor(counts);
    report.note(row.name + ": " + counts.text());
    benchmark::RegisterBenchmark(row.name.c_str(), measure);
    report.row(row);
}

}  // namespace

void add_local(Report& report) {
    report.heading("one thread alone");
    const AtomicCounts one{.compare_exchanges = 1};

    schedule_and_run(nullptr);  // The first publishes a context.
    add_counted(report, {"schedule onto oneself, and the callback", "", 1.5, 60},
                run_body<schedule_and_run>, count_atomics(schedule_and_run, nullptr));
    {
        const task::Section section(current());
        be_refused(nullptr);
        const AtomicCounts counts = count_atomics(be_refused, nullptr);
        report.note("refused: " + counts.text());
    }
    const Row refused_row{"schedule, refused (busy)", atomics_floor(one), 1.5, 0};
    benchmark::RegisterBenchmark(refused_row.name.c_str(), refused);
    report.row(refused_row);

    AtomicCounts cancel_counts;
    {
        const task::Section section(current());
        schedule_batch(batch_values());
        cancel_one(&batch_values()[0]);  // Not the first, which may find the list cold.
        cancel_counts = count_atomics(cancel_one, &batch_values()[1]);
        for (unsigned index = 2; index < kBatch; ++index) {
            cancel_one(&batch_values()[index]);
        }
    }
    const Row cancel_row{"cancel of a scheduled work", atomics_floor(cancel_counts), 3, 0};
    report.note(cancel_row.name + ": " + cancel_counts.text());
    benchmark::RegisterBenchmark(cancel_row.name.c_str(), cancel_scheduled)->UseManualTime();
    report.row(cancel_row);

    claim_and_release(nullptr);
    add_counted(report, {"allocation: claim and release a context", "", 0, 0},
                run_body<claim_and_release>, count_atomics(claim_and_release, nullptr));
    benchmark::RegisterBenchmark("malloc and free, as large", malloc_and_free);
    report.row({"malloc and free, as large", "", 0, 0});

    benchmark::RegisterBenchmark("load and branch", load_and_branch);
    benchmark::RegisterBenchmark("reader: brief section", read_section<sync::Flavour::brief>);
    report.row({"reader: brief section", "", 0, 3});
    benchmark::RegisterBenchmark("reader: sleepable section",
                                 read_section<sync::Flavour::sleepable>);
    report.row({"reader: sleepable section", "", 0, 0});
    benchmark::RegisterBenchmark("safe point, idle", idle_safe_point);
    report.row({"safe point, idle", "load and branch", 0, 1});

    benchmark::RegisterBenchmark("nmi entry and exit", run_body<enter_and_leave_nmi>);
    report.row({"nmi entry and exit", "", 0, 0});
    benchmark::RegisterBenchmark("bare tgkill to oneself and handler", bare_signal_to_self);
    benchmark::RegisterBenchmark("tgkill to oneself, served as an event", event_to_self);
    report.row(
        {"tgkill to oneself, served as an event", "bare tgkill to oneself and handler", 1.15, 0});
}

}  // namespace taskwork::bench
