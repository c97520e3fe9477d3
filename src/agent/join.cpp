// SPDX-License-Identifier: Apache-2.0
#include "agent/join.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "agent/filters.hpp"
#include "agent/inside.hpp"
#include "agent/kernel_signal.hpp"
#include "agent/launch.hpp"
#include "agent/signals.hpp"
#include "agent/threads.hpp"
#include "bpf/jit/code_region.hpp"
#include "bpf/jit/debugger.hpp"
#include "bpf/program.hpp"
#include "bpf/user_memory.hpp"
#include "defer/task_work.hpp"
#include "event/event.hpp"
#include "map/ring_buffer.hpp"
#include "sync/arena.hpp"
#include "sync/deferral.hpp"
#include "task/run_point.hpp"
#include "task/task.hpp"

namespace taskwork::agent {

namespace {

/// The longest that the start of a program waits for its first thread's events.
constexpr std::uint64_t kAttachWaitNs = 500'000'000;
/// The longest that leave_domain waits for threads inside the runtime.
constexpr unsigned kLeaveWaitMs = 1000;

/// 1 once this process has left its domain for good: its children do not join either.
constinit platform::Atomic<std::uint32_t> left_domain{0};

struct Bounds {
    std::uintptr_t low = 0;
    std::uintptr_t high = 0;
};

/// Of the calling thread's stack; kept for the child of a fork, which lives on a copy of it.
constinit thread_local Bounds stack_bounds __attribute__((tls_model("initial-exec")));

/// The main thread's stack: from the file name that the kernel puts at its very top down to its
/// limit. (pthread_getattr_np reads /proc/self/maps for it.)
Bounds main_stack() noexcept {
    const auto name = static_cast<std::uintptr_t>(::getauxval(AT_EXECFN));
    rlimit limit{};
    if (name == 0 || ::getrlimit(RLIMIT_STACK, &limit) != 0) {
        return {};
    }
    constexpr std::uintptr_t kPage = 4096;
    constexpr std::uintptr_t kUnlimited = std::uintptr_t{1} << 30;
    Bounds bounds;
    bounds.high = (name + std::strlen(reinterpret_cast<const char*>(name)) + kPage) & ~(kPage - 1);
    const std::uintptr_t size = limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur > kUnlimited
                                    ? kUnlimited
                                    : limit.rlim_cur;
    bounds.low = bounds.high - size;
    return bounds;
}

Bounds thread_stack() noexcept {
    pthread_attr_t attributes;
    if (::pthread_getattr_np(::pthread_self(), &attributes) != 0) {
        return {};
    }
    void* low = nullptr;
    std::size_t size = 0;
    Bounds bounds;
    if (::pthread_attr_getstack(&attributes, &low, &size) == 0) {
        bounds.low = reinterpret_cast<std::uintptr_t>(low);
        bounds.high = bounds.low + size;
    }
    ::pthread_attr_destroy(&attributes);
    return bounds;
}

/// Standard error of the application is its own: one line, and only where there is a domain that
/// this process should have joined.
void say(const char* reason) noexcept {
    char line[256];
    const int length =
        std::snprintf(line, sizeof(line), "taskwork: %s[%d] %s; it runs unsampled\n",
                      program_invocation_short_name, static_cast<int>(::getpid()), reason);
    if (length > 0) {
        const auto size = static_cast<std::size_t>(length);
        [[maybe_unused]] const ssize_t written =
            ::write(STDERR_FILENO, line, size < sizeof(line) ? size : sizeof(line) - 1);
    }
}

void say_refusal(std::errc error, const sync::ArenaHeader& theirs) noexcept {
    char reason[192];
    switch (error) {
    case std::errc::wrong_protocol_type:
        std::snprintf(reason, sizeof(reason),
                      "refuses the domain of process %d: version %.31s there, %s here",
                      theirs.host_pid, theirs.version, TASKWORK_VERSION);
        break;
    case std::errc::file_exists:
        std::snprintf(reason, sizeof(reason),
                      "cannot join: the arena's address 0x%llx is taken, by an earlier preloaded "
                      "library perhaps",
                      static_cast<unsigned long long>(sync::kArenaBase));
        break;
    default:
        std::snprintf(reason, sizeof(reason), "cannot join: the arena cannot be mapped: %s",
                      std::strerror(static_cast<int>(error)));
        break;
    }
    say(reason);
}

/// Maps the arena. False: there is no domain for us.
bool map_domain(const DomainAddress& address) noexcept {
    char path[64];
    std::snprintf(path, sizeof(path), "/proc/%d/fd/%d", address.host_pid, address.descriptor);
    const int fd = ::open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    struct stat status{};
    bool joined = false;
    if (::fstat(fd, &status) == 0 && status.st_ino == address.inode) {
        const std::errc error = sync::Arena::join(fd, address.cookie);
        // no_such_device_or_address: another's memfd, whose descriptor has the number of ours.
        if (error != no_error && error != std::errc::no_such_device_or_address) {
            sync::ArenaHeader theirs{};
            if (::pread(fd, static_cast<void*>(&theirs), sizeof(theirs), 0) ==
                static_cast<ssize_t>(sizeof(theirs))) {
                say_refusal(error, theirs);
            }
        }
        joined = error == no_error && sync::Arena::same_pid_namespace() &&
                 map::map_mirrors(fd) == no_error;
        if (error == no_error && !joined) {
            sync::Arena::destroy();
        }
    }
    if (joined) {  // a core dump is the application's
        ::madvise(&sync::Arena::header(), sync::Arena::header().size, MADV_DONTDUMP);
        // Where it may not, programs are interpreted in this process.
        static_cast<void>(bpf::jit::CodeRegion::map(fd));
    }
    ::close(fd);
    return joined;
}

bool domain_is_open() noexcept {
    return sync::Arena::present() &&
           sync::Arena::header().closed.load(std::memory_order_relaxed) == 0 &&
           !event::EventTable::get().host_is_gone();
}

bool register_thread() noexcept {
    // Described before the first event: a program must not see the thread that had the block
    // before.
    if (task::register_current(stack_bounds.low, stack_bounds.high, bpf::describe_task) !=
        no_error) {
        return false;
    }
    task::Task* task = task::current();
    if (task == nullptr) {
        return false;
    }
    event::arm_timer(*task);
    return true;
}

void unregister_thread(bool process_ends) noexcept {
    task::Task* task = task::current();
    if (task == nullptr) {
        return;
    }
    if (!process_ends) {  // timers end with the process, and a filter may forbid more
        event::disarm_timer(*task);
    }
    bpf::FaultWindow::close();
    task::exit_current(process_ends);
}

void thread_started() noexcept {
    const Inside inside;
    // To register takes system calls that a filter may kill for: such threads run unsampled.
    if (!in_domain() || sync::DeferralQueue::is_quiet()) {
        return;
    }
    stack_bounds = thread_stack();
    register_thread();
}

void thread_exiting() noexcept {
    const Inside inside;
    unregister_thread(false);
}

void process_exiting() noexcept {
    const Inside inside;
    unregister_thread(true);
}

void forked_child() noexcept {
    const bool nobody_inside = Inside::reset_in_child();
    if (left_domain.load(std::memory_order_relaxed) != 0 && nobody_inside) {
        sync::Arena::destroy();  // if another thread was just about to, in the parent
    }
    if (left_domain.load(std::memory_order_relaxed) != 0 || sync::DeferralQueue::is_quiet() ||
        !domain_is_open()) {
        return;
    }
    const int errno_before = errno;
    if (sync::Arena::same_pid_namespace() &&
        task::join_process(program_invocation_short_name) == no_error) {
        register_thread();
    }
    errno = errno_before;
}

void wait_until_attached() noexcept {
    task::Process* process = task::current_process();
    const std::uint64_t deadline = platform::now_ns() + kAttachWaitNs;
    while (process->attached.load(std::memory_order_acquire) == 0 && domain_is_open()) {
        const std::uint64_t now = platform::now_ns();
        if (now >= deadline) {
            return;
        }
        platform::futex_wait(process->attached, 0, deadline - now);
    }
}

/// Events that were under way when the thread ceased to be a task (its exit, the domain left) are
/// ours still, if nobody's any more.
bool on_signal(int signal, siginfo_t* info, void* ucontext) noexcept {
    const Inside inside;
    const bpf::FaultWindow window;  // the handler that calls us has opened the two signals
    return task::on_signal(signal, info, ucontext) ||
           (task::current() == nullptr && event::is_event_signal(*info));
}

bool is_ours(const siginfo_t& info) noexcept {
    const Inside inside;
    const task::Task* task = task::current();
    const bool notification =
        info.si_code == SI_QUEUE &&
        reinterpret_cast<std::uint64_t>(info.si_value.sival_ptr) == sync::kNotifyMark;
    return notification ||
           (task != nullptr ? event::is_event_of(*task, info) : event::is_event_signal(info));
}

bool on_fault(int signal, siginfo_t* info, void* ucontext) noexcept {
    return bpf::recover_fault(signal, info, ucontext);
}

/// Reads digits up to `end`; false: none, or too large.
template <class Number>
bool read_number(const char*& text, char end, int base, Number& number) noexcept {
    if (!((*text >= '0' && *text <= '9') || (base == 16 && *text >= 'a' && *text <= 'f'))) {
        return false;
    }
    char* after = nullptr;
    errno = 0;
    const unsigned long value = std::strtoul(text, &after, base);
    number = static_cast<Number>(value);
    if (errno != 0 || *after != end || number < 0 || static_cast<unsigned long>(number) != value) {
        return false;
    }
    text = after + (end == '\0' ? 0 : 1);
    return true;
}

}  // namespace

bool parse_domain(const char* text, DomainAddress& address) noexcept {
    return read_number(text, ':', 10, address.host_pid) &&
           read_number(text, ':', 10, address.descriptor) &&
           read_number(text, ':', 10, address.inode) && read_number(text, '\0', 16, address.cookie);
}

bool in_domain() noexcept { return sync::Arena::present() && task::current_process() != nullptr; }

void start() noexcept {
    const char* name = std::getenv(kDomainVariable);
    DomainAddress address;
    if (name == nullptr || !parse_domain(name, address) || !map_domain(address)) {
        return;
    }
    if (!domain_is_open()) {
        sync::Arena::destroy();
        return;
    }
    look_for_filter();
    defer::WorkTable::join();
    bpf::join();
    event::join();
    stack_bounds = main_stack();
    // The handler stands before the first event can come.
    const SignalHooks signals{on_signal, is_ours, sync::DeferralQueue::is_quiet, on_fault};
    const ThreadHooks threads{thread_started, thread_exiting, forked_child, process_exiting};
    if (install_handlers(signals) != no_error || install_thread_hooks(threads) != no_error) {
        return;
    }
    bpf::enable_fault_recovery();
    if (task::join_process(program_invocation_short_name) == no_error && register_thread()) {
        wait_until_attached();
    }
}

void leave_domain() noexcept {
    task::Process* process = nullptr;
    {
        const Inside inside;
        process = task::current_process();
        // The child of a vfork lives in its parent's memory, and will exec.
        if (!sync::Arena::present() || process == nullptr ||
            process->pid != platform::process_id()) {
            return;
        }
        unregister_thread(false);
        if (left_domain.exchange(1, std::memory_order_relaxed) != 0) {
            return;  // another thread is at it
        }
        // From here on no thread of this process is a task, and none that enters finds a domain.
        task::leave_process();
    }
    if (!Inside::wait_until_none(kLeaveWaitMs)) {
        return;  // swept when the process ends
    }
    task::close_left_process(*process);
    bpf::jit::CodeRegion::unmap();
    bpf::jit::hide_from_debugger();
    sync::Arena::destroy();
}

}  // namespace taskwork::agent
