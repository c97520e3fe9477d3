// SPDX-License-Identifier: Apache-2.0
#include "library/handler.hpp"

#include <poll.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/raw_system_call.hpp"
#include "library/safe_points.hpp"
#include "library/wait_window.hpp"
#include "sync/arena.hpp"
#include "sync/signal.hpp"
#include "task/run_point.hpp"

namespace taskwork::library {

namespace {

constinit thread_local unsigned handler_depth [[gnu::tls_model("initial-exec")]] = 0;

/// The handler that was there before; written once, before ours is installed.
struct sigaction previous{};

/// What a handler of SIGURG is installed with by the library. Nobody else asks for just this, so it
/// is how another copy of the library is known (here, and by the preload library of `taskwork
/// run`), whose notifications the kernel may have merged into ours: signals of one number are
/// pending once.
struct sigaction own_action(void (*handler)(int, siginfo_t*, void*)) noexcept {
    struct sigaction action{};
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER;
    sigfillset(&action.sa_mask);
    for (const int open : {sync::kSignal, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS}) {
        sigdelset(&action.sa_mask, open);
    }
    return action;
}

bool is_function(const struct sigaction& action) noexcept {
    return action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN;
}

bool is_another_copy(const struct sigaction& action) noexcept {
    const struct sigaction own = own_action(nullptr);
    constexpr int kCompared = SA_SIGINFO | SA_RESTART | SA_NODEFER | SA_ONSTACK | SA_RESETHAND;
    if (!is_function(action) || (action.sa_flags & kCompared) != own.sa_flags) {
        return false;
    }
    for (int signal = 1; signal < NSIG; ++signal) {
        if (signal == SIGKILL || signal == SIGSTOP) {
            continue;  // The kernel leaves them out by itself.
        }
        if (sigismember(&action.sa_mask, signal) != sigismember(&own.sa_mask, signal)) {
            return false;
        }
    }
    return true;
}

/// Past libc, and past a preloaded library that keeps the signal open.
void block_signal() noexcept {
    const std::uint64_t bit = std::uint64_t{1} << (sync::kSignal - 1);
    raw_system_call(SYS_rt_sigprocmask, SIG_BLOCK, reinterpret_cast<long>(&bit), 0, sizeof(bit));
}

/// A notification that names no domain of one process: whoever sends it may have taken ours away.
bool is_look(const siginfo_t& info) noexcept {
    return info.si_code == SI_QUEUE &&
           reinterpret_cast<std::uint64_t>(info.si_value.sival_ptr) == sync::kNotifyMark;
}

void handle(int signal, siginfo_t* info, void* ucontext) {
    bool ours = is_look(*info);
    if (task::Task* task = self(); task != nullptr) {
        ours = is_kick(*task, *info) || ours;
        ours = task::on_signal(signal, info, ucontext) || ours;
        leave_wait(*task, ucontext);
    } else {
        ours = task::on_signal(signal, info, ucontext) || ours;  // sent to a task that has ended
    }
    siginfo_t look;
    if (ours) {
        if (!is_another_copy(previous)) {
            return;
        }
        std::memset(&look, 0, sizeof(look));
        look.si_signo = signal;
        look.si_code = SI_QUEUE;
        look.si_value.sival_ptr = reinterpret_cast<void*>(sync::kNotifyMark);
        info = &look;
    }
    if (!is_function(previous)) {
        return;
    }
    if ((previous.sa_flags & SA_SIGINFO) != 0) {
        previous.sa_sigaction(signal, info, ucontext);
    } else {
        previous.sa_handler(signal);
    }
}

}  // namespace

std::errc install_handler() noexcept {
    const struct sigaction action = own_action(handle);
    struct sigaction before{};
    if (::sigaction(sync::kSignal, nullptr, &before) != 0) {
        return last_errc();
    }
    if ((before.sa_flags & SA_SIGINFO) != 0 && before.sa_sigaction == handle) {
        return no_error;
    }
    previous = before;
    if (::sigaction(sync::kSignal, &action, nullptr) != 0) {
        return last_errc();
    }
    return no_error;
}

unsigned& foreign_handler_depth() noexcept { return handler_depth; }

void leave_wait(task::Task& task, void* ucontext) noexcept {
    Thread& thread = thread_of(task);
    if (thread.window == 0) {
        return;
    }
    auto& context = *static_cast<ucontext_t*>(ucontext);
    auto& instruction = context.uc_mcontext.gregs[REG_RIP];
    const auto at = static_cast<std::uintptr_t>(instruction);
    const auto within = [&](const char* begin, const char* end) {
        return at >= reinterpret_cast<std::uintptr_t>(begin) &&
               at < reinterpret_cast<std::uintptr_t>(end);
    };
    if (attention_word(task).load(std::memory_order_relaxed) == 0) {
        return;  // A futex call is begun again by the kernel.
    }
    if (within(taskwork_wait_window_begin, taskwork_wait_window_end)) {
        instruction = reinterpret_cast<greg_t>(taskwork_wait_window_leave);
        return;
    }
    if (within(taskwork_wait_window_end, taskwork_wait_window_last)) {
        return;
    }
    const auto stack = static_cast<std::uintptr_t>(context.uc_mcontext.gregs[REG_RSP]);
    if (stack > thread.window && stack < task.stack_high) {
        thread.window = 0;  // The wait was left by longjmp.
        return;
    }
    // Another handler stands on top of the wait. Sent again and blocked until that one returns (and
    // here, until we do), the signal finds the wait itself.
    block_signal();
    sigaddset(&context.uc_sigmask, sync::kSignal);
    platform::notify_thread(task.pid, task.tid);
}

}  // namespace taskwork::library
