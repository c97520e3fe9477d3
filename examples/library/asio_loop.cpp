// SPDX-License-Identifier: Apache-2.0
//
// Waking a standalone-Asio loop from a signal handler. asio::post takes a lock and allocates, so a
// handler must not call it; schedule() may be called anywhere, and makes the thread's event
// descriptor readable, which the loop waits for like for a socket.
#include <asio.hpp>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include <taskwork/taskwork.hpp>

namespace {

constexpr int kTicks = 200;

asio::io_context loop;
taskwork::Task loop_thread;
constinit taskwork::Work work;
volatile sig_atomic_t signals = 0;
std::vector<std::string> log_lines;  // the loop's: it allocates

/// On top of whatever the signal has interrupted, the loop's own code included.
void on_signal(int, siginfo_t*, void* ucontext) {
    const taskwork::HandlerScope scope(ucontext);
    const int number = signals;
    signals = number + 1;
    // Busy: the one before it has not run yet, and will see the count.
    [[maybe_unused]] const std::errc error =
        schedule(work, loop_thread, taskwork::at_safe_point([number]() noexcept {
                     log_lines.push_back("signal " + std::to_string(number));
                     if (signals >= kTicks) {
                         loop.stop();
                     }
                 }));
}

/// Has the loop come to the safe point whenever the descriptor says so.
void watch(asio::posix::stream_descriptor& descriptor) {
    descriptor.async_wait(asio::posix::stream_descriptor::wait_read,
                          [&descriptor](const asio::error_code& error) {
                              if (!error) {
                                  taskwork::safe_point();
                                  watch(descriptor);
                              }
                          });
}

}  // namespace

int main() {
    loop_thread = taskwork::this_task();
    int number = -1;
    if (taskwork::event_descriptor(number) != std::errc{}) {
        return EXIT_FAILURE;
    }
    asio::posix::stream_descriptor descriptor(loop, number);
    watch(descriptor);

    struct sigaction action{};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    ::sigaction(SIGUSR1, &action, nullptr);
    sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGUSR1;
    timer_t timer{};
    ::timer_create(CLOCK_MONOTONIC, &event, &timer);
    const itimerspec every{{0, 1'000'000}, {0, 1'000'000}};
    ::timer_settime(timer, 0, &every, nullptr);

    loop.run();

    ::timer_delete(timer);
    descriptor.release();  // it is the library's
    std::printf("%d signals, %zu lines by the loop, the last: %s\n", static_cast<int>(signals),
                log_lines.size(), log_lines.empty() ? "none" : log_lines.back().c_str());
    return !log_lines.empty() && signals >= kTicks ? EXIT_SUCCESS : EXIT_FAILURE;
}
