// SPDX-License-Identifier: Apache-2.0
#include <poll.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <vector>

#include "base/sanitizers.hpp"
#include "library/test_library.hpp"

namespace taskwork::library {
namespace {

class SafePointTest : public testing::Test {
protected:
    void SetUp() override {
        ASSERT_EQ(init(), kNoError);
        me_ = this_task();
        safe_point();
    }
    Task me_;
};

bool is_readable(int descriptor) {
    pollfd one{descriptor, POLLIN, 0};
    return ::poll(&one, 1, 0) == 1;
}

TEST_F(SafePointTest, works_run_newest_first_and_what_they_schedule_at_the_next) {
    struct All {
        std::vector<int> order;
        Work works[4];
        Task me;
    } all;
    all.me = me_;
    for (int index = 0; index < 3; ++index) {
        ASSERT_EQ(schedule(all.works[index], me_, at_safe_point([&all, index]() noexcept {
                               all.order.push_back(index);
                               if (index == 1) {
                                   EXPECT_EQ(schedule(all.works[3], all.me,
                                                      at_safe_point([&all]() noexcept {
                                                          all.order.push_back(3);
                                                      })),
                                             kNoError);
                                   safe_point();  // does nothing inside a callback
                               }
                           })),
                  kNoError);
    }
    safe_point();
    EXPECT_EQ(all.order, (std::vector<int>{2, 1, 0}));
    safe_point();
    EXPECT_EQ(all.order, (std::vector<int>{2, 1, 0, 3}));
}

TEST_F(SafePointTest, works_declared_anywhere_run_on_top_of_a_safe_point_callback) {
    std::atomic<int> phase{0};
    Work outer;
    const Target target([] { safe_point(); });
    ASSERT_EQ(schedule(outer, target.task(), at_safe_point([&phase]() noexcept {
                           phase = 1;
                           while (phase != 2) {
                               std::this_thread::yield();
                           }
                       })),
              kNoError);
    wait_until([&] { return phase == 1; });
    Work inner;
    ASSERT_EQ(schedule(inner, target.task(), anywhere([&phase]() noexcept { phase = 2; })),
              kNoError);
    wait_until([&] { return outer.state() == Work::State::idle; });
}

TEST_F(SafePointTest, errno_is_the_callers) {
    Work work;
    errno = 5;
    ASSERT_EQ(schedule(work, me_, anywhere([]() noexcept { errno = 7; })), kNoError);
    EXPECT_EQ(errno, 5);
    ASSERT_EQ(schedule(work, me_, at_safe_point([]() noexcept { errno = 7; })), kNoError);
    safe_point();
    EXPECT_EQ(errno, 5);
}

TEST_F(SafePointTest, the_event_descriptor_is_readable_from_schedule_to_safe_point) {
    int descriptor = -1;
    ASSERT_EQ(event_descriptor(descriptor), kNoError);
    int again = -1;
    ASSERT_EQ(event_descriptor(again), kNoError);
    EXPECT_EQ(again, descriptor);
    for (const Mode mode : {Mode::signal, Mode::resume}) {
        EXPECT_FALSE(is_readable(descriptor));
        Work works[3];
        int runs = 0;
        for (Work& work : works) {
            ASSERT_EQ(schedule(work, me_, at_safe_point([&runs]() noexcept { ++runs; }), mode),
                      kNoError);
            EXPECT_TRUE(is_readable(descriptor));
        }
        safe_point();
        EXPECT_EQ(runs, 3);
        EXPECT_FALSE(is_readable(descriptor));
    }
}

TEST_F(SafePointTest, a_descriptor_made_when_works_are_pending_is_readable_at_once) {
    std::thread([] {
        const Task me = this_task();
        Work work;
        ASSERT_EQ(schedule(work, me, at_safe_point([]() noexcept {})), kNoError);
        int descriptor = -1;
        ASSERT_EQ(event_descriptor(descriptor), kNoError);
        EXPECT_TRUE(is_readable(descriptor));
        safe_point();
        EXPECT_FALSE(is_readable(descriptor));
    }).join();
}

TEST_F(SafePointTest, a_loop_on_the_descriptor_misses_no_work_of_either_mode_and_declaration) {
    std::atomic<int> runs{0};
    std::atomic<int> late{0};
    std::atomic<bool> over{false};
    Task loop;
    std::atomic<bool> ready{false};
    std::thread thread([&] {
        int descriptor = -1;
        ASSERT_EQ(event_descriptor(descriptor), kNoError);
        loop = this_task();
        ready = true;
        while (!over) {
            pollfd one{descriptor, POLLIN, 0};
            // SIGURG interrupts it too; the descriptor alone must do.
            if (::poll(&one, 1, 20'000) == 0) {
                ++late;
            }
            safe_point();
        }
    });
    wait_until([&] { return ready.load(); });
    Work work;
    for (int round = 1; round <= 2000; ++round) {
        const Mode mode = round % 2 == 0 ? Mode::signal : Mode::resume;
        const auto count = [&runs]() noexcept { ++runs; };
        ASSERT_EQ(round % 3 == 0 ? schedule(work, loop, anywhere(count), mode)
                                 : schedule(work, loop, at_safe_point(count), mode),
                  kNoError);
        wait_until([&] { return runs == round && work.state() == Work::State::idle; });
    }
    ASSERT_EQ(schedule(work, loop, at_safe_point([&over]() noexcept { over = true; })), kNoError);
    thread.join();
    EXPECT_EQ(late, 0);
}

TEST_F(SafePointTest, resume_mode_reaches_a_thread_that_computes_and_has_no_safe_point) {
    std::atomic<bool> over{false};
    std::atomic<int> runs{0};
    Task spinning;
    std::atomic<bool> ready{false};
    std::thread thread([&] {
        spinning = this_task();
        ready = true;
        while (!over) {
        }
    });
    wait_until([&] { return ready.load(); });
    Work work;
    ASSERT_EQ(schedule(work, spinning, anywhere([&runs]() noexcept { ++runs; }), Mode::resume),
              kNoError);
    // Where perf events are forbidden its end is its next run point.
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
    while (runs == 0 && std::chrono::steady_clock::now() < end) {
        std::this_thread::yield();
    }
    const bool at_once = runs == 1;
    over = true;
    thread.join();
    EXPECT_EQ(runs, 1);
    RecordProperty("reached_while_computing", at_once ? "yes" : "no");
}

/// What the handler of a timer signal does, from inside malloc and everything else.
struct Storm {
    Work here;
    Work here_safe;
    Work there;
    Task me;
    Task target;
    std::atomic<std::uint64_t> signals{0};
    std::atomic<std::uint64_t> accepted{0};
    std::atomic<std::uint64_t> refused{0};
    std::atomic<std::uint64_t> runs{0};
    std::atomic<std::uint64_t> allocated{0};
};
Storm* storm = nullptr;

void count(std::errc error) {
    if (error == kNoError) {
        ++storm->accepted;
    } else {
        ++storm->refused;
        if (error != std::errc::device_or_resource_busy) {
            std::abort();
        }
    }
}

void on_timer(int, siginfo_t*, void* ucontext) {
    const HandlerScope scope(ucontext);
    if (!scope.entered()) {
        return;
    }
    ++storm->signals;
    count(schedule(storm->here, storm->me, anywhere([]() noexcept { ++storm->runs; })));
    count(schedule(storm->here_safe, storm->me, at_safe_point([]() noexcept {
                       std::vector<char> memory(64 + storm->runs % 4096);
                       storm->allocated += memory.size();
                       ++storm->runs;
                   })));
    count(schedule(storm->there, storm->target, anywhere([]() noexcept { ++storm->runs; }),
                   Mode::signal));
}

TEST_F(SafePointTest, handlers_at_10_khz_over_a_malloc_loop_lose_nothing) {
    const Target target;
    Storm all;
    all.me = me_;
    all.target = target.task();
    storm = &all;
    struct sigaction action{};
    struct sigaction before{};
    action.sa_sigaction = on_timer;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    ::sigaction(SIGRTMIN + 3, &action, &before);
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGRTMIN + 3;
    event._sigev_un._tid = ::gettid();
    timer_t timer{};
    ASSERT_EQ(::timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    const itimerspec every{{0, 100'000}, {0, 100'000}};
    ASSERT_EQ(::timer_settime(timer, 0, &every, nullptr), 0);
    std::vector<std::vector<char>> kept(64);
    std::size_t turn = 0;
    // 10 kHz is what is asked for; what comes depends on the machine.
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(1);
    while (std::chrono::steady_clock::now() < end) {
        for (int allocation = 0; allocation < 100; ++allocation) {
            ++turn;
            kept[turn % kept.size()] = std::vector<char>(turn % 5000);
        }
        safe_point();
    }
    ::timer_delete(timer);
    ::sigaction(SIGRTMIN + 3, &before, nullptr);
    safe_point();
    wait_until([&] {
        safe_point();
        return all.runs == all.accepted;
    });
    EXPECT_GT(all.signals, 100U);
    EXPECT_GT(all.allocated, 0U);
    EXPECT_EQ(all.accepted + all.refused, 3 * all.signals);
    storm = nullptr;
}

TEST_F(SafePointTest, a_handler_scope_puts_callbacks_off_and_forbids_what_needs_task_context) {
    if (kThreadSanitizer) {
        GTEST_SKIP() << "ThreadSanitizer holds back a signal that is raised in a handler";
    }
    struct Seen {
        Work work;
        Task me;
        int runs = 0;
        int runs_inside = -1;
        bool nested = true;
        std::errc registering{};
        std::errc waiting{};
        bool entered = false;
    };
    static Seen* seen = nullptr;
    Seen all;
    all.me = me_;
    seen = &all;
    struct sigaction action{};
    struct sigaction before{};
    action.sa_sigaction = [](int, siginfo_t*, void* ucontext) {
        const HandlerScope scope(ucontext);
        seen->entered = scope.entered();
        EXPECT_EQ(schedule(seen->work, seen->me, anywhere([]() noexcept { ++seen->runs; })),
                  kNoError);
        seen->runs_inside = seen->runs;
        seen->registering = register_this_thread();
        seen->waiting = seen->work.cancel_and_wait();
        ::raise(SIGUSR2);
    };
    struct sigaction inside{};
    inside.sa_sigaction = [](int, siginfo_t*, void* ucontext) {
        const HandlerScope inner(ucontext);
        seen->nested = inner.entered();
    };
    inside.sa_flags = SA_SIGINFO;
    ::sigaction(SIGUSR2, &inside, nullptr);
    action.sa_flags = SA_SIGINFO;
    ::sigaction(SIGUSR1, &action, &before);
    ::raise(SIGUSR1);
    EXPECT_TRUE(all.entered);
    EXPECT_EQ(all.runs_inside, 0);
    EXPECT_EQ(all.runs, 1);
    EXPECT_FALSE(all.nested);
    EXPECT_EQ(all.registering, std::errc::operation_not_permitted);
    EXPECT_EQ(all.waiting, std::errc::operation_not_permitted);
    // On a thread that is not registered, the same, and it stays unregistered.
    std::thread([] {
        struct sigaction other{};
        other.sa_sigaction = [](int, siginfo_t*, void* ucontext) {
            const HandlerScope scope(ucontext);
            seen->entered = scope.entered();
            seen->registering = register_this_thread();
        };
        other.sa_flags = SA_SIGINFO;
        ::sigaction(SIGUSR1, &other, nullptr);
        ::raise(SIGUSR1);
        EXPECT_FALSE(current_task());
        EXPECT_EQ(register_this_thread(), kNoError);
    }).join();
    EXPECT_TRUE(all.entered);
    EXPECT_EQ(all.registering, std::errc::operation_not_permitted);
    ::sigaction(SIGUSR1, &before, nullptr);
}

TEST_F(SafePointTest, an_urgent_signal_of_the_application_reaches_its_handler) {
    if (kThreadSanitizer) {
        GTEST_SKIP() << "ThreadSanitizer allows no threads in a child of a threaded process";
    }
    // init() has been called: the handler of before it is what in_child() checks.
    EXPECT_EQ(in_child([] {
                  static volatile sig_atomic_t foreign = 0;
                  struct sigaction action{};
                  action.sa_handler = [](int) { foreign = foreign + 1; };
                  ::sigaction(SIGURG, &action, nullptr);
                  const Task me = this_task();  // a domain of its own, our handler over its
                  ::raise(SIGURG);
                  if (foreign != 1) {
                      return 1;
                  }
                  Work work;
                  std::atomic<bool> ran{false};
                  std::thread([&] {
                      register_this_thread();
                      if (schedule(work, me, anywhere([&ran]() noexcept { ran = true; })) !=
                          kNoError) {
                          std::abort();
                      }
                  }).join();
                  while (!ran) {
                      std::this_thread::yield();
                  }
                  return foreign == 1 ? 0 : 2;
              }),
              0);
}

}  // namespace
}  // namespace taskwork::library
