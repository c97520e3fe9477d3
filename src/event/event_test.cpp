// SPDX-License-Identifier: Apache-2.0
#include "event/event.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "event/perf.hpp"
#include "event/test_events.hpp"
#include "event/timer.hpp"
#include "sync/arena.hpp"
#include "sync/deferral.hpp"
#include "task/test_domain.hpp"

namespace taskwork::event {
namespace {

using EventTest = EventFixture;

TEST_F(EventTest, a_computing_thread_runs_the_program_at_each_event) {
    bpf::Program& program = load();
    EventAttributes wanted = kOften;
    probe(wanted, 1, nullptr);
    ASSERT_TRUE(attach(wanted, program, 0).has_value());
    arm_timer(*task::current());
    EXPECT_TRUE(compute_until([&] { return fired(program) >= 20; }));
    EXPECT_EQ(program.runs.load(std::memory_order_relaxed), fired(program));
    EXPECT_NE(task::current()->sampled.load(std::memory_order_relaxed), 0U);
    disarm_timer(*task::current());
}

TEST_F(EventTest, a_cpu_timer_stands_in_where_perf_is_forbidden) {
    bpf::Program& program = load();
    EventTable::get().delivery.store(Delivery::cpu_timer, std::memory_order_relaxed);
    ASSERT_TRUE(attach(kOften, program, 0).has_value());
    arm_timer(*task::current());
    EXPECT_TRUE(compute_until([&] { return fired(program) >= 3; }));
    disarm_timer(*task::current());
}

TEST_F(EventTest, a_thread_born_later_gets_events_and_its_counts_stay_when_it_is_gone) {
    bpf::Program& program = load();
    EventAttributes wanted = kOften;
    probe(wanted, 1, nullptr);
    ASSERT_TRUE(attach(wanted, program, 0).has_value());
    std::atomic<std::uint64_t> own{0};
    task::task_thread([&] {
        task::Task& self = *task::current();
        arm_timer(self);
        EXPECT_TRUE(compute_until([&] { return EventTable::get().of(self, 0).fired.get() >= 5; }));
        disarm_timer(self);
        own.store(EventTable::get().of(self, 0).fired.get());
    }).join();
    task::Worker::synchronize();
    EXPECT_GE(fired(program), own.load());
    EXPECT_GE(own.load(), 5U);
}

TEST_F(EventTest, a_detached_program_no_longer_runs_and_keeps_its_counts) {
    bpf::Program& program = load();
    bpf::Program& other = load();
    EventAttributes wanted = kOften;
    probe(wanted, 1, nullptr);
    const auto spec = attach(wanted, program, 0);
    ASSERT_TRUE(spec.has_value());
    ASSERT_TRUE(attach(wanted, other, 0).has_value());
    arm_timer(*task::current());
    ASSERT_TRUE(compute_until([&] { return fired(program) >= 2; }));
    detach(*spec);
    const std::uint64_t before = fired(program);
    const std::uint64_t runs = program.runs.load(std::memory_order_relaxed);
    EXPECT_GE(before, 2U);
    const std::uint64_t others = fired(other);
    ASSERT_TRUE(compute_until([&] { return fired(other) >= others + 3; }));
    EXPECT_EQ(fired(program), before);
    EXPECT_EQ(program.runs.load(std::memory_order_relaxed), runs);
    disarm_timer(*task::current());
}

TEST_F(EventTest, a_program_attached_later_counts_from_then_on) {
    bpf::Program& early = load();
    bpf::Program& late = load();
    EventAttributes wanted = kOften;
    probe(wanted, 1, nullptr);
    ASSERT_TRUE(attach(wanted, early, 0).has_value());
    arm_timer(*task::current());
    ASSERT_TRUE(compute_until([&] { return fired(early) >= 5; }));
    ASSERT_TRUE(attach(wanted, late, 0).has_value());
    EXPECT_LT(fired(late), fired(early));
    disarm_timer(*task::current());
}

TEST_F(EventTest, stopping_ends_all_events) {
    bpf::Program& program = load();
    EventAttributes wanted = kOften;
    probe(wanted, 1, nullptr);
    ASSERT_TRUE(attach(wanted, program, 0).has_value());
    arm_timer(*task::current());
    ASSERT_TRUE(compute_until([&] { return fired(program) >= 2; }));
    stop_all();
    const std::uint64_t before = fired(program);
    const std::uint64_t end = platform::now_ns() + 30'000'000;
    compute_until([&] { return platform::now_ns() > end; });
    EXPECT_EQ(fired(program), before);
    disarm_timer(*task::current());
}

TEST_F(EventTest, more_events_or_attributes_than_there_is_room_for_are_refused) {
    bpf::Program& program = load();
    std::vector<unsigned> events;
    for (unsigned index = 0; index < EventTable::kCountersMax; ++index) {
        const auto event = attach({.period = 900'000'000 + index}, program, 0);
        ASSERT_TRUE(event.has_value());
        events.push_back(*event);
    }
    const auto different = attach({.period = 800'000'000}, program, 0);
    ASSERT_FALSE(different.has_value());
    EXPECT_EQ(different.error().code, std::errc::argument_list_too_long);
    while (events.size() < EventTable::kEventsMax) {
        const auto event = attach({.period = 900'000'000}, program, 0);
        ASSERT_TRUE(event.has_value());
        events.push_back(*event);
    }
    const auto crowded = attach({.period = 900'000'000}, program, 0);
    ASSERT_FALSE(crowded.has_value());
    EXPECT_EQ(crowded.error().code, std::errc::argument_list_too_long);
    for (const unsigned event : events) {
        detach(event);
    }
    EXPECT_TRUE(attach({.period = 800'000'000}, program, 0).has_value());
}

TEST_F(EventTest, neither_or_both_of_period_and_frequency_is_refused) {
    bpf::Program& program = load();
    EXPECT_EQ(attach({}, program, 0).error().code, std::errc::invalid_argument);
    EXPECT_EQ(attach({.period = 1000, .frequency = 99}, program, 0).error().code,
              std::errc::invalid_argument);
}

TEST_F(EventTest, a_frequency_of_the_clock_is_a_fixed_period) {
    EXPECT_EQ(period_of({.frequency = 1000}), 1'000'000U);
    EXPECT_EQ(period_of({.period = 12345}), 12345U);
    EXPECT_EQ(period_of({.source = Source::cpu_cycles, .frequency = 1000}), 0U);
    EXPECT_EQ(interval_us_of({.frequency = 997}), 1003U);
    EXPECT_EQ(interval_us_of({.period = 10}), 1U);
}

TEST_F(EventTest, a_soft_limit_of_descriptors_is_raised_when_it_is_met) {
    if (!perf_allowed()) {
        GTEST_SKIP() << "perf events are forbidden here";
    }
    bpf::Program& program = load();
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    const int next = ::dup(0);
    ASSERT_GE(next, 0);
    ::close(next);
    rlimit low = before;
    low.rlim_cur = static_cast<rlim_t>(next);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
    ASSERT_TRUE(attach(kOften, program, 0).has_value());
    EXPECT_TRUE(compute_until([&] { return fired(program) >= 1; }));
    EXPECT_EQ(counts(program).threads_refused, 0U);
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
}

TEST_F(EventTest, a_kick_does_not_interrupt_a_blocked_thread_and_reaches_a_computing_one) {
    if (!perf_allowed()) {
        GTEST_SKIP() << "perf events are forbidden here: a kick is a signal";
    }
    std::atomic<task::Task*> target{nullptr};
    std::atomic<bool> release{false};
    std::atomic<int> waited{-1};
    std::thread blocked = task::task_thread([&] {
        target.store(task::current());
        pollfd nothing{-1, 0, 0};
        // poll is never restarted: an interruption shows.
        waited.store(::poll(&nothing, 1, 200) == 0 ? 0 : errno);
        while (!release.load()) {
        }
    });
    task::wait_until([&] { return target.load() != nullptr; });
    while (waited.load() < 0) {
        kick(*target.load());
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    EXPECT_EQ(waited.load(), 0);
    // It computes now; the one-shot event leaves its mark in the count of its descriptor.
    kick(*target.load());
    const std::int32_t descriptor =
        EventTable::get().kick_of(*target.load()).load(std::memory_order_relaxed);
    ASSERT_GE(descriptor, 0);
    task::wait_until([&] { return read_perf(descriptor) > 0; });
    release.store(true);
    blocked.join();
}

TEST_F(EventTest, signals_are_known_as_ours_by_their_looks) {
    siginfo_t info{};
    info.si_code = SI_USER;
    EXPECT_FALSE(is_event_signal(info));
    info.si_code = POLL_IN;
    EXPECT_TRUE(is_event_signal(info));
    info.si_code = SI_TIMER;
    info.si_value.sival_int = 1;
    EXPECT_FALSE(is_event_signal(info)) << "a timer of the application";
}

TEST_F(EventTest, probing_names_what_it_falls_back_to) {
    EventAttributes cycles{.source = Source::cpu_cycles, .period = 0, .frequency = 997};
    std::string note;
    const Delivery delivery = probe(cycles, 1, &note);
    EXPECT_EQ(note.empty(), delivery == Delivery::perf && cycles.source == Source::cpu_cycles);
    EXPECT_GE(tick_frequency(), 24U);
    EXPECT_LE(tick_frequency(), 1200U);
}

TEST(EventTable, says_when_its_host_was_killed) {
    int ready[2];
    ASSERT_EQ(::pipe(ready), 0);
    const pid_t host = ::fork();
    ASSERT_GE(host, 0);
    if (host == 0) {
        struct Message {
            int fd;
            std::uint64_t cookie;
        } message{};
        if (!sync::Arena::create(std::size_t{256} << 20) || !task::Worker::start(64) ||
            EventTable::create() != no_error) {
            ::_exit(1);
        }
        message = {sync::Arena::descriptor(), sync::Arena::header().cookie};
        if (::write(ready[1], &message, sizeof(message)) != sizeof(message)) {
            ::_exit(1);
        }
        for (;;) {
            ::pause();
        }
    }
    struct Message {
        int fd;
        std::uint64_t cookie;
    } message{};
    ::close(ready[1]);
    ASSERT_EQ(::read(ready[0], &message, sizeof(message)), static_cast<ssize_t>(sizeof(message)));
    ::close(ready[0]);
    const std::string path = "/proc/" + std::to_string(host) + "/fd/" + std::to_string(message.fd);
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    ASSERT_EQ(sync::Arena::join(fd, message.cookie), no_error);
    ::close(fd);
    EXPECT_FALSE(EventTable::get().host_is_gone());
    ASSERT_EQ(::kill(host, SIGKILL), 0);
    ASSERT_EQ(::waitpid(host, nullptr, 0), host);
    EXPECT_TRUE(EventTable::get().host_is_gone());
    sync::Arena::destroy();
}

}  // namespace
}  // namespace taskwork::event
