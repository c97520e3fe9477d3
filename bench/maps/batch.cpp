// SPDX-License-Identifier: Apache-2.0
#include "maps/batch.hpp"

#include <signal.h>

#include "sync/platform.hpp"
#include "task/run_point.hpp"

namespace taskwork::bench {

namespace {

struct Timing {
    std::uint64_t ns = 0;
    std::uint64_t done = 0;
    bool entered = true;
};

/// What the handler is to do.
struct Handled {
    const std::function<std::uint64_t()>* batch;
    Timing timing;
};
Handled handled;

Timing timing_of(const std::function<std::uint64_t()>& batch) {
    Timing timing;
    const std::uint64_t begin = platform::now_ns();
    timing.done = batch();
    timing.ns = platform::now_ns() - begin;
    return timing;
}

void on_event(int, siginfo_t*, void* ucontext) {
    task::Task& self = *task::current();
    const task::Interrupted interrupted = task::interrupted_by(self, ucontext);
    const task::NmiScope scope(self, interrupted.stack_pointer, interrupted.on_alternate_stack,
                               interrupted.room);
    handled.timing = timing_of(*handled.batch);
    handled.timing.entered = scope.entered();
}

Timing in_handler(const std::function<std::uint64_t()>& batch) {
    struct sigaction action{};
    action.sa_sigaction = on_event;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigfillset(&action.sa_mask);
    sigaction(SIGUSR2, &action, nullptr);
    handled.batch = &batch;
    raise(SIGUSR2);
    return handled.timing;
}

}  // namespace

bool timed(benchmark::State& state, Samples& samples, Where where, std::uint64_t times,
           const std::function<std::uint64_t()>& batch, bool expected) {
    const Timing timing = where == Where::nmi ? in_handler(batch) : timing_of(batch);
    samples.add(state, timing.ns, times);
    if (!timing.entered || timing.done != (expected ? times : 0)) {
        state.SkipWithError("an operation failed");
        return false;
    }
    return true;
}

}  // namespace taskwork::bench
