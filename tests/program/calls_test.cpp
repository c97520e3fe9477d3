// SPDX-License-Identifier: Apache-2.0
//
// The event path makes no system call: seen from outside, by ptrace, between the delivery of our
// signal and the rt_sigreturn that ends its handler. The program and the preload library cannot
// tell that they are watched.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <fstream>
#include <set>

#include "tests/program/cli_command.hpp"

namespace taskwork::test {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct Watched {
    unsigned handlers = 0;          ///< Handlers of SIGURG that have begun and ended.
    std::set<std::uint64_t> calls;  ///< Numbers of the system calls made in them.
    unsigned calls_outside = 0;     ///< System calls made elsewhere.
    bool refused = false;           ///< The system does not allow ptrace.
};

/// Watches the thread until it has handled `handlers` SIGURGs, or ends; then lets it go.
Watched watch(pid_t tid, unsigned handlers) {
    Watched watched;
    if (::ptrace(PTRACE_SEIZE, tid, 0, PTRACE_O_TRACESYSGOOD) != 0) {
        watched.refused = errno == EPERM;
        EXPECT_TRUE(watched.refused) << errno;
        return watched;
    }
    EXPECT_EQ(::ptrace(PTRACE_INTERRUPT, tid, 0, 0), 0);
    unsigned depth = 0;
    for (;;) {
        int status = 0;
        if (::waitpid(tid, &status, __WALL) != tid || !WIFSTOPPED(status)) {
            return watched;
        }
        int deliver = 0;
        if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
            __ptrace_syscall_info info{};
            EXPECT_GT(::ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), &info), 0);
            if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
                const bool returns = info.entry.nr == SYS_rt_sigreturn;
                if (depth == 0) {
                    ++watched.calls_outside;
                } else if (!returns) {
                    watched.calls.insert(info.entry.nr);
                } else if (--depth == 0 && ++watched.handlers == handlers) {
                    EXPECT_EQ(::ptrace(PTRACE_DETACH, tid, 0, 0), 0);
                    return watched;
                }
            }
        } else if (status >> 16 == 0) {  // a signal on its way
            deliver = WSTOPSIG(status);
            depth += deliver == SIGURG ? 1 : 0;
        }
        EXPECT_EQ(::ptrace(PTRACE_SYSCALL, tid, 0, deliver), 0);
    }
}

void call_parent(int) { ::syscall(SYS_getppid); }

TEST(Calls, a_call_in_a_handler_is_seen) {
    const pid_t child = ::fork();
    if (child == 0) {
        ::signal(SIGURG, call_parent);
        for (;;) {
            ::raise(SIGURG);
        }
    }
    const Watched watched = watch(child, 3);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    if (watched.refused) {
        GTEST_SKIP() << "ptrace is not allowed";
    }
    EXPECT_EQ(watched.handlers, 3u);
    EXPECT_THAT(watched.calls, ElementsAre(SYS_getppid));
    EXPECT_GT(watched.calls_outside, 0u);
}

class CallsOfEvents : public ::testing::TestWithParam<const char*> {};

TEST_P(CallsOfEvents, none_from_an_event_to_the_end_of_its_works) {
    constexpr unsigned kHandlers = 300;
    const TemporaryFolder folder;
    const std::string file = folder.file("report.json");
    RunningCommand command(taskwork_words({"run", "--json=" + file, object_path(GetParam()), "--",
                                           "sh", "-c", "echo pid $$.; while :; do :; done"}));
    ASSERT_TRUE(command.wait_for_output("."));
    const pid_t shell = std::stoi(command.output().substr(4));
    const Watched watched = watch(shell, kHandlers);
    ::kill(shell, SIGTERM);
    command.wait();
    if (watched.refused) {
        GTEST_SKIP() << "ptrace is not allowed";
    }
    EXPECT_EQ(watched.handlers, kHandlers);
    EXPECT_THAT(watched.calls, IsEmpty());
    std::ifstream stream(file);
    const json report = json::parse(stream);
    EXPECT_GE(report.at("counters").at("fired"), kHandlers);
    EXPECT_GE(report.at("counters").at("ran"), kHandlers);  // on the way out of those handlers
    expect_balance(report);
}

INSTANTIATE_TEST_SUITE_P(Objects, CallsOfEvents,
                         ::testing::Values("hash_resume", "array_signal", "lifecycle"));

}  // namespace
}  // namespace taskwork::test
