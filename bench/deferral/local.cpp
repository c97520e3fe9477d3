// SPDX-License-Identifier: Apache-2.0
//
// What one thread does alone: schedule onto itself, be refused, cancel, allocate, read, look for
// work, be interrupted.
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>

#include "defer/context.hpp"
#include "defer/task_work.hpp"
#include "deferral/atomics.hpp"
#include "deferral/machine.hpp"
#include "report.hpp"
#include "task/run_point.hpp"

namespace taskwork::bench {

namespace {

using task::current;

/// Works of one batch of cancels: fewer than would have the worker compact the list.
constexpr unsigned kBatch = 32;

Job& own_job() {
    static Job job;
    return job;
}
Job* batch_jobs() {
    static Job* const jobs = new Job[kBatch];
    return jobs;
}
const Task& self() {
    static const Task task = this_task();
    return task;
}

/// The slot of a map value, whose callback counts as that of own_job() does.
defer::Slot own_slot;
Runs slot_runs;
void run_slot(task::Task&, const defer::Callback&) noexcept { slot_runs.add(); }

// --- Bodies, which are also counted by the instruction -------------------------------------------

void schedule_and_run(void*) {
    benchmark::DoNotOptimize(own_job().schedule_anywhere(self(), Mode::signal));
}

void schedule_for_safe_point(void*) {
    benchmark::DoNotOptimize(own_job().schedule_safe_point(self(), Mode::resume));
    safe_point();
}

void schedule_slot_and_run(void*) {
    defer::ScheduleRequest request;
    request.target = current();
    request.callback.kind = defer::kCallbackTest;
    benchmark::DoNotOptimize(defer::schedule(own_slot, request));
}

void be_refused(void*) {
    benchmark::DoNotOptimize(own_job().schedule_safe_point(self(), Mode::resume));
}

void cancel_one(void* job) { static_cast<Job*>(job)->work.cancel(); }

void claim_and_release(void*) {
    sync::Pool& pool = defer::WorkTable::get().contexts;
    void* object = pool.claim({current()->process, current()->lane}, defer::kStateAttaching);
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
    be_refused(nullptr);  // This one is taken, and waits for a safe point.
    for (auto _ : state) {
        be_refused(nullptr);
    }
    safe_point();
}

/// Schedules the whole batch; a pool emptied by earlier batches is given its grace period.
void schedule_batch(Job* jobs) {
    for (unsigned index = 0; index < kBatch; ++index) {
        while (jobs[index].schedule_safe_point(self(), Mode::resume) ==
               std::errc::not_enough_memory) {
            safe_point();
            std::this_thread::yield();
        }
    }
}

void cancel_scheduled(benchmark::State& state) {
    Job* const jobs = batch_jobs();
    Samples samples;
    for (auto _ : state) {
        schedule_batch(jobs);
        const std::uint64_t begin = platform::now_ns();
        for (unsigned index = 0; index < kBatch; ++index) {
            cancel_one(&jobs[index]);
        }
        samples.add(state, platform::now_ns() - begin, kBatch);
        safe_point();
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
        safe_point();
        benchmark::ClobberMemory();
    }
}

void load_and_branch(benchmark::State& state) {
    static std::atomic<std::uint64_t> word;
    for (auto _ : state) {
        if (word.load(std::memory_order_relaxed) != 0) {
            std::abort();
        }
        benchmark::ClobberMemory();
    }
}

// --- A whole signal ------------------------------------------------------------------------------

volatile std::sig_atomic_t handled = 0;

void bare_handler(int, siginfo_t*, void*) { handled = handled + 1; }

/// The same, open to the library as users do it.
void scoped_handler(int, siginfo_t*, void* ucontext) {
    const HandlerScope scope(ucontext);
    handled = handled + (scope.entered() ? 1 : 0);
}

/// With a schedule in it, whose callback runs at the handler's end.
void scheduling_handler(int, siginfo_t*, void* ucontext) {
    const HandlerScope scope(ucontext);
    schedule_and_run(nullptr);
}

void signal_to_self(benchmark::State& state, void (*handler)(int, siginfo_t*, void*)) {
    struct sigaction action{};
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigfillset(&action.sa_mask);
    sigaction(SIGUSR2, &action, nullptr);
    const long pid = getpid();
    const long tid = syscall(SYS_gettid);
    for (auto _ : state) {
        syscall(SYS_tgkill, pid, tid, SIGUSR2);
    }
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
    schedule_for_safe_point(nullptr);
    add_counted(report, {"onto oneself, run at a safe point", "", 1.5, 0},
                run_body<schedule_for_safe_point>, count_atomics(schedule_for_safe_point, nullptr));
    defer::set_callback_runner(defer::kCallbackTest, run_slot);
    schedule_slot_and_run(nullptr);
    add_counted(report, {"onto oneself, by a map's slot (BPF)", "", 1.5, 0},
                run_body<schedule_slot_and_run>, count_atomics(schedule_slot_and_run, nullptr));

    be_refused(nullptr);
    report.note("refused: " + count_atomics(be_refused, nullptr).text());
    safe_point();
    const Row refused_row{"schedule, refused (busy)", atomics_floor(one), 1.5, 0};
    benchmark::RegisterBenchmark(refused_row.name.c_str(), refused);
    report.row(refused_row);

    schedule_batch(batch_jobs());
    cancel_one(&batch_jobs()[0]);  // Not the first, which may find the list cold.
    const AtomicCounts cancel_counts = count_atomics(cancel_one, &batch_jobs()[1]);
    for (unsigned index = 2; index < kBatch; ++index) {
        cancel_one(&batch_jobs()[index]);
    }
    safe_point();
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
    const char* const bare = "tgkill to oneself and bare handler";
    benchmark::RegisterBenchmark(bare, signal_to_self, bare_handler);
    benchmark::RegisterBenchmark("tgkill to oneself, HandlerScope", signal_to_self, scoped_handler);
    report.row({"tgkill to oneself, HandlerScope", bare, 1.15, 0});
    benchmark::RegisterBenchmark("the same, with a schedule and its callback", signal_to_self,
                                 scheduling_handler);
    report.row({"the same, with a schedule and its callback", bare, 0, 0});
}

}  // namespace taskwork::bench
