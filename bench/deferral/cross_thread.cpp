// SPDX-License-Identifier: Apache-2.0
//
// From one thread to another and back: the poster waits until it sees that the callback has run.
#include <fcntl.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "deferral/machine.hpp"
#include "event/perf.hpp"
#include "report.hpp"
#include "sync/signal.hpp"

namespace taskwork::bench {

namespace {

/// Round trips of a batch where one is shorter than a clock is good for.
constexpr unsigned kBatch = 64;

struct alignas(64) Line {
    std::atomic<std::uint64_t> word{0};
};

Job& shared_job() {
    static Job job;
    return job;
}

// --- Bodies of targets ---------------------------------------------------------------------------

void poll_safe_points(const std::atomic<bool>& stop) {
    while (!stop.load(std::memory_order_relaxed)) {
        safe_point();
    }
}

/// Computes, and makes no call that a signal could interrupt.
void spin(const std::atomic<bool>& stop) {
    while (!stop.load(std::memory_order_relaxed)) {
    }
}

/// A thread in epoll_wait: `entries` counts how often it has gone there, `served` how often its
/// eventfd was read.
struct Sleeper {
    int doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    Line entries;
    Line served;
    Sleeper() {
        epoll_event event{};
        event.events = EPOLLIN;
        epoll_ctl(epoll, EPOLL_CTL_ADD, doorbell, &event);
    }
    ~Sleeper() {
        close(epoll);
        close(doorbell);
    }
    Sleeper(const Sleeper&) = delete;
    Sleeper& operator=(const Sleeper&) = delete;
    void ring() {
        const std::uint64_t one = 1;
        [[maybe_unused]] const ssize_t written = write(doorbell, &one, sizeof(one));
    }
    void run(const std::atomic<bool>& stop) {
        while (!stop.load()) {
            entries.word.fetch_add(1);
            epoll_event event{};
            std::uint64_t count = 0;
            if (epoll_wait(epoll, &event, 1, -1) == 1 &&
                read(doorbell, &count, sizeof(count)) == sizeof(count)) {
                served.word.fetch_add(1, std::memory_order_release);
            }
        }
    }
    /// Until it has gone to sleep once more than `before` says.
    void await_sleep(std::uint64_t before) {
        spin_until([&] { return entries.word.load() > before; });
        spin_for(kSettleNs);
    }
};

// --- Ways to tell it, and to see that it was told ------------------------------------------------

Line told;
void on_told(int, siginfo_t*, void*) { told.word.fetch_add(1, std::memory_order_release); }

void install_told(int signal) {
    struct sigaction action{};
    action.sa_sigaction = on_told;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigfillset(&action.sa_mask);
    sigaction(signal, &action, nullptr);
}

void tgkill_and_wait(pid_t tid) {
    const std::uint64_t before = told.word.load();
    syscall(SYS_tgkill, getpid(), tid, SIGUSR1);
    spin_until([&] { return told.word.load(std::memory_order_acquire) != before; });
}

/// Schedules, again while the last one's end is not yet seen here, and waits for the callback.
bool schedule_and_wait(const Task& target, Where where, Mode mode) {
    Job& job = shared_job();
    const std::uint64_t before = job.runs.count.load(std::memory_order_relaxed);
    std::errc result;
    do {
        result = where == Where::anywhere ? job.schedule_anywhere(target, mode)
                                          : job.schedule_safe_point(target, mode);
    } while (result == std::errc::device_or_resource_busy);
    if (result != std::errc{}) {
        return false;
    }
    spin_until([&] { return job.runs.count.load(std::memory_order_acquire) != before; });
    return true;
}

// --- Polling -------------------------------------------------------------------------------------

void ping_pong(benchmark::State& state) {
    const Poster poster;
    Line ping;
    Line pong;
    const Target target([&](const std::atomic<bool>& stop) {
        std::uint64_t seen = 0;
        while (!stop.load(std::memory_order_relaxed)) {
            const std::uint64_t now = ping.word.load(std::memory_order_acquire);
            if (now != seen) {
                seen = now;
                pong.word.store(now, std::memory_order_release);
            }
        }
    });
    Samples samples;
    std::uint64_t count = 0;
    for (auto _ : state) {
        const std::uint64_t begin = platform::now_ns();
        for (unsigned trip = 0; trip < kBatch; ++trip) {
            ping.word.store(++count, std::memory_order_release);
            spin_until([&] { return pong.word.load(std::memory_order_acquire) == count; });
        }
        samples.add(state, platform::now_ns() - begin, kBatch);
    }
    samples.finish(state);
}

void onto_polling(benchmark::State& state, Mode mode, unsigned batch) {
    const Poster poster;
    const Target target(poll_safe_points);
    Samples samples;
    for (auto _ : state) {
        const std::uint64_t begin = platform::now_ns();
        for (unsigned trip = 0; trip < batch; ++trip) {
            if (!schedule_and_wait(target.task(), Where::safe_point, mode)) {
                state.SkipWithError("schedule failed");
                return;
            }
        }
        samples.add(state, platform::now_ns() - begin, batch);
    }
    samples.finish(state);
}

// --- By signal -----------------------------------------------------------------------------------

void signal_spinning_bare(benchmark::State& state) {
    install_told(SIGUSR1);
    const Poster poster;
    const Target target(spin);
    Samples samples;
    for (auto _ : state) {
        const std::uint64_t begin = platform::now_ns();
        tgkill_and_wait(target.tid());
        samples.add(state, platform::now_ns() - begin);
        spin_for(kSettleNs / 4);  // Back in its loop.
    }
    samples.finish(state);
}

void onto_spinning(benchmark::State& state, Mode mode) {
    const Poster poster;
    const Target target(spin);
    Samples samples;
    // A thread's first kick has the worker open the event for it; the bare one is open, too.
    schedule_and_wait(target.task(), Where::anywhere, mode);
    spin_for(kSettleNs / 4);
    for (auto _ : state) {
        const std::uint64_t begin = platform::now_ns();
        if (!schedule_and_wait(target.task(), Where::anywhere, mode)) {
            state.SkipWithError("schedule failed");
            return;
        }
        samples.add(state, platform::now_ns() - begin);
        spin_for(kSettleNs / 4);
    }
    samples.finish(state);
}

/// Each sample: the target sleeps, `tell` returns when it has been told.
template <class Tell>
void with_sleeper(benchmark::State& state, Tell tell) {
    install_told(SIGUSR1);
    const Poster poster;
    Sleeper sleeper;
    const Target target([&](const std::atomic<bool>& stop) { sleeper.run(stop); },
                        [&] { sleeper.ring(); });
    sleeper.await_sleep(0);
    Samples samples;
    for (auto _ : state) {
        const std::uint64_t before = sleeper.entries.word.load();
        const std::uint64_t begin = platform::now_ns();
        tell(sleeper, target);
        samples.add(state, platform::now_ns() - begin);
        sleeper.await_sleep(before);
    }
    samples.finish(state);
}

void wake_by_tgkill(benchmark::State& state) {
    with_sleeper(state, [](Sleeper&, const Target& target) { tgkill_and_wait(target.tid()); });
}

void wake_by_eventfd(benchmark::State& state) {
    with_sleeper(state, [](Sleeper& sleeper, const Target&) {
        const std::uint64_t before = sleeper.served.word.load();
        sleeper.ring();
        spin_until([&] { return sleeper.served.word.load(std::memory_order_acquire) != before; });
    });
}

void onto_sleeping(benchmark::State& state) {
    with_sleeper(state, [](Sleeper&, const Target& target) {
        schedule_and_wait(target.task(), Where::anywhere, Mode::signal);
    });
}

/// A loop that watches the thread's event descriptor, as an event loop would.
void onto_loop(benchmark::State& state) {
    const Poster poster;
    Sleeper sleeper;
    const Target target(
        [&](const std::atomic<bool>& stop) {
            int descriptor = -1;
            if (event_descriptor(descriptor) != std::errc{}) {
                return;
            }
            epoll_event event{};
            event.events = EPOLLIN;
            epoll_ctl(sleeper.epoll, EPOLL_CTL_ADD, descriptor, &event);
            while (!stop.load()) {
                sleeper.entries.word.fetch_add(1);
                epoll_wait(sleeper.epoll, &event, 1, -1);
                safe_point();
            }
        },
        [&] { sleeper.ring(); });
    sleeper.await_sleep(0);
    Samples samples;
    for (auto _ : state) {
        const std::uint64_t before = sleeper.entries.word.load();
        const std::uint64_t begin = platform::now_ns();
        schedule_and_wait(target.task(), Where::safe_point, Mode::resume);
        samples.add(state, platform::now_ns() - begin);
        sleeper.await_sleep(before);
    }
    samples.finish(state);
}

// --- Resume: a one-shot perf event, which a blocked thread does not feel -------------------------

void kick_spinning_bare(benchmark::State& state) {
    const Poster poster;
    const Target target(spin);
    install_told(SIGUSR1);
    event::EventAttributes soon;
    soon.period = 10'000;  // As the library's kick has it.
    const int fd = event::open_perf(soon, target.tid());
    if (fd < 0) {
        state.SkipWithError("perf_event_open is forbidden");
        return;
    }
    fcntl(fd, F_SETSIG, SIGUSR1);
    Samples samples;
    for (auto _ : state) {
        const std::uint64_t seen = told.word.load();
        const std::uint64_t begin = platform::now_ns();
        event::start_perf_once(fd);
        spin_until([&] { return told.word.load(std::memory_order_acquire) != seen; });
        samples.add(state, platform::now_ns() - begin);
        spin_for(kSettleNs / 4);
    }
    samples.finish(state);
    close(fd);
}

bool perf_allowed() {
    event::EventAttributes soon;
    soon.period = 10'000;
    const int fd = event::open_perf(soon, 0);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

}  // namespace

void add_cross_thread(Report& report) {
    report.heading("onto another thread, until the poster sees that the callback has run");
    int poster = 0;
    int target = 0;
    if (!two_processors(poster, target)) {
        report.skipped("onto another thread", "only one processor may be used");
        return;
    }
    const auto add = [&](const char* name, auto measure) {
        benchmark::RegisterBenchmark(name, measure)->UseManualTime();
    };
    add("cache-line ping-pong", ping_pong);
    add("onto a polling thread",
        [](benchmark::State& state) { onto_polling(state, Mode::resume, kBatch); });
    report.row({"onto a polling thread", "cache-line ping-pong", 1.5, 0});

    add("tgkill and handler, spinning", signal_spinning_bare);
    add("onto a spinning thread, signal mode",
        [](benchmark::State& state) { onto_spinning(state, Mode::signal); });
    report.row({"onto a spinning thread, signal mode", "tgkill and handler, spinning", 1.15, 0});

    add("tgkill and handler, in epoll", wake_by_tgkill);
    add("eventfd write, in epoll", wake_by_eventfd);
    add("onto a thread in epoll, signal mode", onto_sleeping);
    report.row({"onto a thread in epoll, signal mode", "tgkill and handler, in epoll", 1.15, 0});

    add("onto a loop that watches the event descriptor", onto_loop);
    report.row(
        {"onto a loop that watches the event descriptor", "eventfd write, in epoll", 1.15, 0});

    if (!perf_allowed()) {
        report.skipped("onto a spinning thread, resume mode", "perf_event_open is forbidden");
        return;
    }
    add("one-shot perf event and handler, spinning", kick_spinning_bare);
    add("onto a spinning thread, resume mode",
        [](benchmark::State& state) { onto_spinning(state, Mode::resume); });
    report.row({"onto a spinning thread, resume mode", "one-shot perf event and handler, spinning",
                1.15, 0});
}

}  // namespace taskwork::bench
