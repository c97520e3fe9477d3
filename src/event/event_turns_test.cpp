// SPDX-License-Identifier: Apache-2.0
//
// Events of equal attributes: one counter, whose overflows go to them in turn.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "base/sanitizers.hpp"
#include "event/event.hpp"
#include "event/perf.hpp"
#include "event/test_events.hpp"

namespace taskwork::event {
namespace {

constexpr std::uint64_t kFrequency = 997;
constexpr std::uint64_t kPeriodNs = 1'000'000'000 / kFrequency;

std::uint64_t cpu_ns() {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(time.tv_nsec);
}

double user_seconds() {
    rusage usage{};
    ::getrusage(RUSAGE_THREAD, &usage);
    return static_cast<double>(usage.ru_utime.tv_sec) +
           static_cast<double>(usage.ru_utime.tv_usec) / 1e6;
}

/// Two looks at the clock that are farther apart than this had something else between them: a
/// signal, another thread, another machine.
constexpr std::uint64_t kComputingNs = 5'000;

/// What a computing thread has seen of its events.
struct Seen {
    struct Moment {
        std::size_t event;
        std::uint64_t cpu_ns;
    };
    std::vector<Moment> moments;
    std::vector<double> turns;  ///< By event: fired, or dropped because a program was running.
    unsigned together = 0;      ///< Looks that found more than one had fired.
    /// Seconds of the thread in user mode, at least. What the kernel says of that is a count of its
    /// ticks, some per cent too high or too low; and it counts what a host takes from the machine,
    /// when no counter advances.
    double user = 0;
    double cpu = 0;  ///< Seconds of the thread.
};

class EventTurnsTest : public EventFixture {
protected:
    /// Computes for so much CPU time, with an eye on the events' counts of this thread.
    static Seen compute(const std::vector<unsigned>& events, double seconds) {
        Seen seen;
        const task::Task& self = *task::current();
        const auto turns_of = [&](std::size_t index) {
            const TaskEvent& own = EventTable::get().of(self, events[index]);
            return own.fired.get() + own.dropped_nested.get() + own.dropped_stack.get();
        };
        // Of one moment: again if an event came between two of them.
        const auto turns_now = [&] {
            std::vector<std::uint64_t> turns(events.size());
            bool changed = true;
            while (changed) {
                changed = false;
                for (std::size_t index = 0; index < events.size(); ++index) {
                    const std::uint64_t now = turns_of(index);
                    changed = changed || now != turns[index];
                    turns[index] = now;
                }
            }
            return turns;
        };
        const std::vector<std::uint64_t> before = turns_now();
        std::vector<std::uint64_t> last = before;
        seen.moments.reserve(100'000);
        const double user = user_seconds();
        const std::uint64_t start = cpu_ns();
        std::uint64_t now = start;
        std::uint64_t computed_ns = 0;
        std::uint64_t looked_ns = platform::now_ns();
        for (unsigned round = 0; static_cast<double>(now - start) < seconds * 1e9; ++round) {
            const std::uint64_t since = platform::now_ns() - looked_ns;
            looked_ns += since;
            computed_ns += since < kComputingNs ? since : 0;
            // All are read before anything is done that takes long enough for another to come.
            std::size_t changed = 0;
            std::size_t which = 0;
            for (std::size_t index = 0; index < events.size(); ++index) {
                const std::uint64_t turns = turns_of(index);
                if (turns != last[index]) {
                    last[index] = turns;
                    ++changed;
                    which = index;
                }
            }
            if (changed != 0) {
                seen.together += changed > 1 ? 1 : 0;
                seen.moments.push_back({which, cpu_ns()});
            }
            // A system call in each round would keep the thread out of user mode.
            if (round % 16384 == 0) {
                now = cpu_ns();
            }
        }
        seen.cpu = static_cast<double>(now - start) / 1e9;
        // The clock too may be a system call, where the kernel offers no other.
        seen.user = std::min(static_cast<double>(computed_ns) / 1e9, user_seconds() - user);
        EXPECT_GT(seen.user, seconds / 10) << "too little to say anything";
        last = turns_now();
        for (std::size_t index = 0; index < events.size(); ++index) {
            seen.turns.push_back(static_cast<double>(last[index] - before[index]));
        }
        return seen;
    }

    static void expect_rate(double turns, double rate, const Seen& seen) {
        EXPECT_GE(turns, 0.95 * rate * seen.user - 2) << seen.user << " s of user time";
        EXPECT_LE(turns, 1.05 * rate * seen.cpu + 2) << seen.cpu << " s of CPU time";
    }

    static std::vector<unsigned> attach_programs(const EventAttributes& attributes,
                                                 std::size_t number) {
        std::vector<unsigned> events;
        for (std::size_t index = 0; index < number; ++index) {
            events.push_back(attach(attributes, load(), index).value());
        }
        return events;
    }

    /// A tenth of the kernel's tick, which CPU timers expire on: on a busy machine a thread runs
    /// between ticks too, and what has expired twice at the next one is signalled once.
    static std::uint64_t timer_rate() { return tick_frequency() / 10; }

    /// Delivery by CPU timers; what the turns of counters do not need.
    static void use_timers() {
        EventTable::get().delivery.store(Delivery::cpu_timer, std::memory_order_relaxed);
    }
};

class EventRates : public EventTurnsTest, public ::testing::WithParamInterface<std::size_t> {};

TEST_P(EventRates, each_program_gets_the_rate_asked_for) {
    if (!perf_allowed()) {
        GTEST_SKIP() << "perf events are forbidden here";
    }
    const std::vector<unsigned> events = attach_programs({.frequency = kFrequency}, GetParam());
    const Seen seen = compute(events, 1.0);
    for (const double turns : seen.turns) {
        expect_rate(turns, kFrequency, seen);
        EXPECT_NEAR(turns, seen.turns[0], 1) << "the turns are not equal";
    }
}

TEST_P(EventRates, each_program_gets_the_rate_asked_for_by_cpu_timers) {
    if (kThreadSanitizer && GetParam() > 1) {
        GTEST_SKIP() << "ThreadSanitizer keeps one signal of a number, and timers expire together";
    }
    use_timers();
    const std::vector<unsigned> events = attach_programs({.frequency = timer_rate()}, GetParam());
    arm_timer(*task::current());
    const Seen seen = compute(events, 1.0);
    for (const double turns : seen.turns) {
        expect_rate(turns, static_cast<double>(timer_rate()), seen);
    }
    disarm_timer(*task::current());
}

INSTANTIATE_TEST_SUITE_P(Programs, EventRates, ::testing::Values(1, 2, 3));

TEST_F(EventTurnsTest, events_of_equal_attributes_come_in_turn_and_apart) {
    if (!perf_allowed()) {
        GTEST_SKIP() << "perf events are forbidden here";
    }
    constexpr std::size_t kPrograms = 3;
    const Seen seen = compute(attach_programs({.frequency = kFrequency}, kPrograms), 0.5);
    ASSERT_GT(seen.moments.size(), 100U);
    EXPECT_EQ(seen.together, 0U) << "two programs in one signal";
    std::vector<std::uint64_t> distances;
    for (std::size_t at = 1; at < seen.moments.size(); ++at) {
        EXPECT_EQ(seen.moments[at].event, (seen.moments[at - 1].event + 1) % kPrograms);
        distances.push_back(seen.moments[at].cpu_ns - seen.moments[at - 1].cpu_ns);
    }
    std::nth_element(distances.begin(), distances.begin() + std::ssize(distances) / 2,
                     distances.end());
    const auto median = static_cast<double>(distances[distances.size() / 2]);
    EXPECT_NEAR(median, static_cast<double>(kPeriodNs) / kPrograms, 0.1 * kPeriodNs);
}

TEST_F(EventTurnsTest, an_event_attached_or_detached_later_leaves_the_rate_of_the_others) {
    if (!perf_allowed()) {
        GTEST_SKIP() << "perf events are forbidden here";
    }
    const EventAttributes attributes{.frequency = kFrequency};
    const unsigned first = attach(attributes, load(), 1).value();
    std::atomic<int> phase{0};
    std::atomic<unsigned> second{0};
    const auto next_phase = [&](int done) {
        phase.store(done);
        while (phase.load() == done) {
        }
    };
    std::thread computing = task::task_thread([&] {
        const Seen alone = compute({first}, 0.5);
        expect_rate(alone.turns[0], kFrequency, alone);
        next_phase(1);
        const Seen both = compute({first, second.load()}, 0.5);
        expect_rate(both.turns[0], kFrequency, both);
        expect_rate(both.turns[1], kFrequency, both);
        EXPECT_EQ(both.together, 0U);
        next_phase(3);
        const Seen other = compute({first, second.load()}, 0.5);
        EXPECT_EQ(other.turns[0], 0) << "it was detached";
        expect_rate(other.turns[1], kFrequency, other);
    });
    task::wait_until([&] { return phase.load() == 1; });
    second.store(attach(attributes, load(), 2).value());
    phase.store(2);
    task::wait_until([&] { return phase.load() == 3; });
    detach(first);
    phase.store(4);
    computing.join();
}

TEST_F(EventTurnsTest, a_timer_armed_or_ended_later_leaves_the_rate_of_the_others) {
    use_timers();
    const EventAttributes attributes{.frequency = timer_rate()};
    const auto rate = static_cast<double>(timer_rate());
    task::Task& self = *task::current();
    const unsigned first = attach(attributes, load(), 1).value();
    arm_timer(self);
    const Seen alone = compute({first}, 0.5);
    expect_rate(alone.turns[0], rate, alone);
    const unsigned second = attach(attributes, load(), 2).value();
    arm_timer(self);
    const Seen both = compute({first, second}, 0.5);
    expect_rate(both.turns[0], rate, both);
    expect_rate(both.turns[1], rate, both);
    detach(first);
    const Seen other = compute({first, second}, 0.5);
    EXPECT_EQ(other.turns[0], 0);
    expect_rate(other.turns[1], rate, other);
    disarm_timer(self);
}

TEST_F(EventTurnsTest, a_timer_of_an_ended_event_does_not_fire_one_of_another_period_in_its_place) {
    use_timers();
    task::Task& self = *task::current();
    bpf::Program& often = load();
    bpf::Program& seldom = load();
    const unsigned event = attach({.frequency = timer_rate()}, often, 0).value();
    arm_timer(self);
    ASSERT_TRUE(compute_until([&] { return fired(often) >= 2; }));
    detach(event);
    ASSERT_EQ(attach({.period = 100'000'000'000}, seldom, 0).value(), event);
    const std::uint64_t before = fired(often);
    compute({event}, 0.1);
    EXPECT_EQ(fired(seldom), 0U);
    EXPECT_EQ(fired(often), before);
    // One of the same period is fired by it at once.
    detach(event);
    bpf::Program& again = load();
    ASSERT_EQ(attach({.frequency = timer_rate()}, again, 0).value(), event);
    EXPECT_TRUE(compute_until([&] { return fired(again) >= 2; }));
    disarm_timer(self);
}

TEST_F(EventTurnsTest, an_event_in_the_place_of_an_ended_one_counts_from_nothing) {
    EventAttributes wanted = kOften;
    probe(wanted, 1, nullptr);
    bpf::Program& first = load();
    bpf::Program& second = load();
    const unsigned event = attach(wanted, first, 0).value();
    arm_timer(*task::current());
    ASSERT_TRUE(compute_until([&] { return fired(first) >= 5; }));
    detach(event);
    const std::uint64_t before = fired(first);
    ASSERT_EQ(attach(wanted, second, 0).value(), event);
    EXPECT_LT(fired(second), 5U);
    ASSERT_TRUE(compute_until([&] { return fired(second) >= 5; }));
    EXPECT_EQ(fired(second), second.runs.load(std::memory_order_relaxed));
    EXPECT_EQ(fired(first), before);
    EXPECT_EQ(counts().fired, before + fired(second));
    disarm_timer(*task::current());
}

TEST_F(EventTurnsTest, the_task_layer_is_told_the_interval_of_the_counter) {
    if (!perf_allowed()) {
        GTEST_SKIP() << "perf events are forbidden here";
    }
    const auto sampled = [] { return task::current()->sampled.load(std::memory_order_relaxed); };
    const std::vector<unsigned> events = attach_programs({.period = 8'000'000}, 4);
    EXPECT_EQ(sampled(), 2'000U);
    detach(events[1]);
    detach(events[3]);
    EXPECT_EQ(sampled(), 4'000U);
    detach(events[0]);
    detach(events[2]);
    EXPECT_EQ(sampled(), 0U);
}

TEST_F(EventTurnsTest, a_signal_of_a_counter_that_was_closed_is_still_known_as_ours) {
    if (!perf_allowed()) {
        GTEST_SKIP() << "perf events are forbidden here";
    }
    const task::Task& self = *task::current();
    siginfo_t info{};
    info.si_code = POLL_IN;
    for (unsigned round = 0; round < EventTable::kCountersMax; ++round) {
        const unsigned event = attach({.period = 900'000'000 + round}, load(), 0).value();
        const unsigned counter = EventTable::get().events[event].counter.load({});
        const int number = EventTable::get().counter_of(self, counter).descriptor.load({});
        ASSERT_GE(number, 0);
        info.si_fd = number;
        EXPECT_TRUE(is_event_of(self, info));
        detach(event);
        EXPECT_LT(EventTable::get().counter_of(self, counter).descriptor.load({}), 0);
        EXPECT_TRUE(is_event_of(self, info));
    }
    info.si_fd = 12345;
    EXPECT_FALSE(is_event_of(self, info));
}

TEST_F(EventTurnsTest, events_that_come_and_go_under_running_handlers_are_never_mixed) {
    if (!perf_allowed()) {
        GTEST_SKIP() << "perf events are forbidden here";
    }
    // Each program faults if it is given the cookie of another: it loops for longer than it may.
    constexpr int kPrograms = 4;
    std::vector<bpf::Program*> programs;
    for (int cookie = 0; cookie < kPrograms; ++cookie) {
        const bpf_insn code[] = {{BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_get_attach_cookie},
                                 {BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 6, cookie},
                                 {BPF_ALU64 | BPF_MOV | BPF_K, 1, 0, 0, 8 << 20},
                                 {BPF_LD | BPF_IMM | BPF_DW, 2, BPF_PSEUDO_FUNC, 0, 6},
                                 {},
                                 {BPF_ALU64 | BPF_MOV | BPF_K, 3, 0, 0, 0},
                                 {BPF_ALU64 | BPF_MOV | BPF_K, 4, 0, 0, 0},
                                 {BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_loop},
                                 {BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0},
                                 {BPF_JMP | BPF_EXIT, 0, 0, 0, 0},
                                 // A round.
                                 {BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0},
                                 {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
        programs.push_back(&load(code));
    }
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 2; ++thread) {
        threads.push_back(task::task_thread([&] {
            while (!stop.load(std::memory_order_relaxed)) {
            }
        }));
    }
    std::uint32_t random = 20251122;
    std::vector<unsigned> events(kPrograms, EventTable::kEventsMax);
    for (int round = 0; round < 2'000; ++round) {
        random = random * 1664525U + 1013904223U;
        const unsigned which = (random >> 16) % kPrograms;
        if (events[which] == EventTable::kEventsMax) {
            const std::uint64_t period = (random >> 30) != 0 ? 1'000'000 : 2'000'000;
            events[which] = attach({.period = period}, *programs[which], which).value();
        } else {
            detach(std::exchange(events[which], EventTable::kEventsMax));
        }
    }
    const std::uint64_t before = counts().fired;
    for (unsigned which = 0; which < kPrograms; ++which) {
        if (events[which] == EventTable::kEventsMax) {
            events[which] = attach({.period = 1'000'000}, *programs[which], which).value();
        }
    }
    task::wait_until([&] { return counts().fired > before + 100; });
    stop.store(true);
    for (std::thread& thread : threads) {
        thread.join();
    }
    for (const unsigned event : events) {
        detach(event);  // This thread has them too, and would count on between the sums.
    }
    std::uint64_t fired_in_all = 0;
    std::uint64_t runs = 0;
    for (const bpf::Program* program : programs) {
        EXPECT_EQ(program->faults.load(std::memory_order_relaxed), 0U);
        fired_in_all += fired(*program);
        runs += program->runs.load(std::memory_order_relaxed);
    }
    EXPECT_EQ(counts().fired, fired_in_all);
    // An event that is detached under a running handler may end one short on each thread.
    EXPECT_GE(runs, fired_in_all);
    EXPECT_LE(runs, fired_in_all + 2 * 1'000);
}

TEST(EventShare, a_counter_counts_as_often_as_all_its_events_and_no_faster_than_it_can) {
    constexpr std::uint64_t kMax = 100'000;
    EXPECT_EQ(shared_by({.frequency = 1'000}, 4, kMax).period, 250'000U);
    EXPECT_EQ(shared_by({.frequency = 1'000}, 4, kMax).frequency, 0U);
    EXPECT_EQ(shared_by({.period = 40'000}, 8, kMax).period, 10'000U);
    EXPECT_EQ(shared_by({.source = Source::cpu_cycles, .period = 9}, 3, kMax).period, 3U);
    EXPECT_EQ(shared_by({.source = Source::cpu_cycles, .period = 2}, 3, kMax).period, 1U);
    EXPECT_EQ(shared_by({.source = Source::cpu_cycles, .frequency = 9'000}, 3, kMax).frequency,
              27'000U);
    EXPECT_EQ(shared_by({.source = Source::cpu_cycles, .frequency = 60'000}, 3, kMax).frequency,
              kMax);
}

TEST_F(EventTurnsTest, a_rate_that_so_many_programs_cannot_have_is_lowered_and_named) {
    if (!perf_allowed()) {
        GTEST_SKIP() << "perf events are forbidden here";
    }
    const std::uint64_t limit = overflow_rate_max();
    EventAttributes wanted{.frequency = limit / 20};
    std::string note;
    probe(wanted, 20, &note);
    EXPECT_EQ(note, "");
    probe(wanted, 25, &note);
    EXPECT_EQ(wanted.frequency, limit / 25);
    EXPECT_NE(note.find("25 programs at " + std::to_string(limit / 20)), std::string::npos) << note;
    EXPECT_NE(note.find("each program reaches " + std::to_string(limit / 25)), std::string::npos)
        << note;
    wanted = {.period = 1'000};
    probe(wanted, 2, &note);
    EXPECT_EQ(wanted.period, 2'000'000'000 / limit);
    EXPECT_NE(note.find("2 programs at 1000000 events"), std::string::npos) << note;
}

}  // namespace
}  // namespace taskwork::event
