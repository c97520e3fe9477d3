// SPDX-License-Identifier: Apache-2.0
#include "agent/dispositions.hpp"

#include <atomic>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "task/single_step.hpp"

namespace taskwork::agent {
namespace {

void some_handler(int) {}

struct sigaction with(int flags) {
    struct sigaction action{};
    action.sa_handler = some_handler;
    action.sa_flags = flags;
    assign_bits(action.sa_mask, static_cast<unsigned>(flags) * SignalBits{0x100000001});
    return action;
}

TEST(Disposition, is_the_default_until_it_is_set) {
    EXPECT_FALSE(is_function(Disposition{}.read()));
}

TEST(Disposition, resets_once_on_delivery_if_asked_to) {
    Disposition disposition;
    disposition.publish(with(static_cast<int>(SA_RESETHAND)));
    EXPECT_TRUE(is_function(disposition.read()));
    EXPECT_TRUE(is_function(disposition.read_for_delivery()));
    EXPECT_FALSE(is_function(disposition.read()));
    EXPECT_FALSE(is_function(disposition.read_for_delivery()));
    disposition.publish(with(0));
    EXPECT_TRUE(is_function(disposition.read_for_delivery()));
    EXPECT_TRUE(is_function(disposition.read_for_delivery()));
}

TEST(Disposition, is_read_whole_while_it_changes) {
    Disposition disposition;
    disposition.publish(with(1));
    std::atomic<bool> stop{false};
    std::thread writer([&] {
        for (int i = 1; !stop; ++i) {
            disposition.publish(with(i & 0xffffff));
        }
    });
    for (int i = 0; i < 20'000; ++i) {
        const struct sigaction action = disposition.read();
        const struct sigaction whole = with(action.sa_flags);
        if (bits_of(action.sa_mask) != bits_of(whole.sa_mask)) {
            ADD_FAILURE() << "torn after " << i << " reads";
            break;
        }
    }
    stop = true;
    writer.join();
}

void no_signal(int, siginfo_t*, void*) {}

std::atomic<int> refused{0};

/// Sets the action of kSignal, which is in a record.
void set_ours(void* action) {
    if (application_sigaction(kSignal, static_cast<struct sigaction*>(action), nullptr) != 0) {
        ++refused;
    }
}

/// And that of a signal that is the application's.
void set_both(void* action) {
    set_ours(action);
    if (application_sigaction(SIGUSR1, static_cast<struct sigaction*>(action), nullptr) != 0) {
        ++refused;
    }
}

/// The exit status of a child, which may hang with all signals blocked: then it is killed.
int status_of(pid_t child) {
    pollfd ended{static_cast<int>(::syscall(SYS_pidfd_open, child, 0)), POLLIN, 0};
    EXPECT_EQ(::poll(&ended, 1, 20'000), 1) << "the child hangs";
    ::close(ended.fd);
    ::kill(child, SIGKILL);
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return status;
}

TEST(Disposition, may_be_set_by_a_trap_handler_at_every_instruction_of_a_change) {
    if (!task::kCanSingleStep) {
        GTEST_SKIP() << "a sanitizer is at work, under which nothing is single-stepped";
    }
    // In a child: the dispositions of a process are taken over once.
    const pid_t child = ::fork();
    if (child == 0) {
        if (take_over_dispositions({no_signal, no_signal}) != std::errc{}) {
            ::_exit(2);
        }
        struct sigaction outer = with(static_cast<int>(SA_RESTART));
        struct sigaction inner = with(static_cast<int>(SA_NODEFER));
        std::uint64_t steps = 1;
        std::uint64_t at = 0;
        while (++at <= steps) {
            // The traps end with the event; without one they count the instructions.
            steps = task::single_step(set_ours, &outer, set_both, &inner, at, 0, false);
            steps = steps == at ? at + 1 : steps;
            const struct sigaction last = disposition_of(kSignal).read();
            if (bits_of(last.sa_mask) != bits_of(with(last.sa_flags).sa_mask)) {
                ::_exit(3);  // torn
            }
        }
        ::_exit(at > 100 && refused == 0 ? 0 : 4);
    }
    EXPECT_EQ(status_of(child), 0);
}

TEST(Disposition, is_set_by_many_threads_one_at_a_time) {
    const pid_t child = ::fork();
    if (child == 0) {
        if (take_over_dispositions({no_signal, no_signal}) != std::errc{}) {
            ::_exit(2);
        }
        std::thread threads[3];
        for (auto& thread : threads) {
            thread = std::thread([] {
                for (int i = 1; i < 200; ++i) {
                    struct sigaction action = with(i << 3);
                    set_both(&action);
                }
            });
        }
        for (auto& thread : threads) {
            thread.join();
        }
        const struct sigaction last = disposition_of(kSignal).read();
        ::_exit(bits_of(last.sa_mask) == bits_of(with(last.sa_flags).sa_mask) && refused == 0 ? 0
                                                                                              : 3);
    }
    EXPECT_EQ(status_of(child), 0);
}

}  // namespace
}  // namespace taskwork::agent
