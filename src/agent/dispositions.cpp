// SPDX-License-Identifier: Apache-2.0
#include "agent/dispositions.hpp"

#include <cerrno>

#include "agent/libc.hpp"

namespace taskwork::agent {

namespace {

static_assert(sizeof(struct sigaction) % sizeof(std::uint64_t) == 0);

constinit Disposition urgent;
constinit Disposition segv;
constinit Disposition bus;

constinit OwnHandlers own{};
constinit std::atomic<bool> owning{false};
constinit std::atomic<pid_t> owner_pid{0};
constinit std::atomic<bool> alternate_stacks{false};
// Signals (but the three) whose sa_mask, as the application wrote it, contains kSignal.
constinit std::atomic<SignalBits> asked{0};
constinit std::atomic<pid_t> writer{0};  // tid of the thread that changes dispositions

// One thread changes dispositions at a time. Waiting for it ends: its change is at most a call to
// the kernel for each signal, and handlers cannot interrupt it, for it has all signals blocked.
// Those who wait soon sleep, so that it gets the processor also if they are of higher priority.
//
// The trap of a program that single-steps itself is not blocked: the program would die of it. A
// handler for it that sets an action in the middle of ours must not wait for us; it goes on inside.
class WriterLock {
public:
    WriterLock() noexcept : mask_(kernel_sigmask(SIG_SETMASK, ~bit_of(SIGTRAP))) {
        const pid_t self = kernel_tid();
        constexpr unsigned kYieldsMax = 16;
        for (unsigned tries = 0;; ++tries) {
            pid_t holder = 0;
            if (writer.compare_exchange_strong(holder, self, std::memory_order_acquire)) {
                return;
            }
            if (holder == self) {
                nested_ = true;
                return;
            }
            if (tries < kYieldsMax) {
                raw_system_call(SYS_sched_yield);
            } else {
                timespec pause{0, 50'000};
                raw_system_call(SYS_nanosleep, reinterpret_cast<long>(&pause));
            }
        }
    }
    ~WriterLock() {
        if (!nested_) {
            writer.store(0, std::memory_order_release);
        }
        kernel_sigmask(SIG_SETMASK, mask_);
    }
    WriterLock(const WriterLock&) = delete;
    WriterLock& operator=(const WriterLock&) = delete;

    [[nodiscard]] bool nested() const noexcept { return nested_; }

private:
    SignalBits mask_;
    bool nested_ = false;
};

bool is_owned(int signal) noexcept {
    return signal == kSignal || signal == SIGSEGV || signal == SIGBUS;
}

void set_member(struct sigaction& action, bool member) noexcept {
    const SignalBits bits = bits_of(action.sa_mask);
    assign_bits(action.sa_mask, member ? bits | bit_of(kSignal) : bits & ~bit_of(kSignal));
}

bool is_member(const struct sigaction& action) noexcept {
    return (bits_of(action.sa_mask) & bit_of(kSignal)) != 0;
}

// Whether a handler that the application wrote so is to run with kSignal blocked.
bool blocks_ours(const struct sigaction& action, bool member) noexcept {
    if (!is_function(action)) {
        return member;
    }
    return (action.sa_flags & SA_ONSTACK) != 0 || (member && is_function(urgent.read()));
}

// What stands in the kernel for SIGSEGV and SIGBUS when the application has set `action`.
int install_fault_handler(int signal, const struct sigaction& action) noexcept {
    struct sigaction installed{};
    if (is_function(action)) {
        installed = action;
        installed.sa_flags &= ~SA_RESETHAND;
        set_member(installed, blocks_ours(action, is_member(action)));
    }
    installed.sa_flags |= SA_SIGINFO;
    installed.sa_sigaction = own.fault;
    return libc().sigaction(signal, &installed, nullptr);
}

std::errc install_signal_handler() noexcept {
    struct sigaction installed{};
    installed.sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER;
    installed.sa_sigaction = own.signal;
    assign_bits(installed.sa_mask, kHandlerMask);
    if (libc().sigaction(kSignal, &installed, nullptr) != 0) {
        return static_cast<std::errc>(errno);
    }
    // libc supplies the return trampoline, which unwinders know; only the mask is ours, in case the
    // libc at hand keeps signals of its own out of it.
    KernelSigaction action{};
    kernel_sigaction(kSignal, nullptr, &action);
    action.mask = kHandlerMask;
    return static_cast<std::errc>(-kernel_sigaction(kSignal, &action, nullptr));
}

// Brings the kSignal bit of every installed handler up to date. Lock held.
void revise_masks() noexcept {
    for (int signal = 1; signal <= kSignalMax; ++signal) {
        if (is_owned(signal)) {
            if (signal != kSignal) {
                install_fault_handler(signal, disposition_of(signal).read());
            }
            continue;
        }
        struct sigaction action{};
        KernelSigaction kernel{};
        if (kernel_sigaction(signal, nullptr, &kernel) != 0) {
            continue;
        }
        std::memcpy(&action.sa_handler, &kernel.handler, sizeof kernel.handler);
        action.sa_flags = static_cast<int>(kernel.flags);
        const bool member = (asked.load(std::memory_order_relaxed) & bit_of(signal)) != 0;
        const SignalBits wanted = blocks_ours(action, member) ? kernel.mask | bit_of(kSignal)
                                                              : kernel.mask & ~bit_of(kSignal);
        if (wanted != kernel.mask) {
            kernel.mask = wanted;
            kernel_sigaction(signal, &kernel, nullptr);
        }
    }
}

int sigaction_of_owned(int signal, const struct sigaction* action, struct sigaction* old) noexcept {
    Disposition& record = disposition_of(signal);
    if (action == nullptr) {
        *old = record.read();
        return 0;
    }
    const WriterLock lock;
    const struct sigaction before = record.read();
    record.publish(*action, lock.nested());
    if (signal != kSignal) {
        install_fault_handler(signal, record.read());
    } else if (is_function(before) != is_function(*action)) {
        revise_masks();
    }
    if (old != nullptr) {
        *old = before;
    }
    return 0;
}

int sigaction_of_other(int signal, const struct sigaction* action, struct sigaction* old) noexcept {
    if (action == nullptr) {
        const int result = libc().sigaction(signal, nullptr, old);
        if (result == 0 && signal <= kSignalMax) {
            set_member(*old, (asked.load(std::memory_order_relaxed) & bit_of(signal)) != 0);
        }
        return result;
    }
    if (signal < 1 || signal > kSignalMax) {
        return libc().sigaction(signal, action, old);  // for its error
    }
    const WriterLock lock;
    const bool member = is_member(*action);
    struct sigaction installed = *action;
    set_member(installed, blocks_ours(*action, member));
    const int result = libc().sigaction(signal, &installed, old);
    if (result == 0) {
        const SignalBits before = member
                                      ? asked.fetch_or(bit_of(signal), std::memory_order_relaxed)
                                      : asked.fetch_and(~bit_of(signal), std::memory_order_relaxed);
        if (old != nullptr) {
            set_member(*old, (before & bit_of(signal)) != 0);
        }
    }
    return result;
}

}  // namespace

struct sigaction Disposition::read() const noexcept {
    struct sigaction action;
    const std::uint64_t head = read_slot(action);
    if ((head & 1) != 0) {
        action.sa_handler = SIG_DFL;
    }
    return action;
}

struct sigaction Disposition::read_for_delivery() noexcept {
    struct sigaction action;
    std::uint64_t head = read_slot(action);
    while ((head & 1) == 0 && (action.sa_flags & SA_RESETHAND) != 0 && is_function(action)) {
        if (head_.compare_exchange_strong(head, head | 1, std::memory_order_acq_rel)) {
            return action;
        }
        head = read_slot(action);
    }
    if ((head & 1) != 0) {
        action.sa_handler = SIG_DFL;
    }
    return action;
}

void Disposition::publish(const struct sigaction& action, bool nested) noexcept {
    std::uint64_t words[kWords];
    std::memcpy(words, &action, sizeof words);
    std::uint64_t head = head_.load(std::memory_order_relaxed);
    // The slot after the next where the code that we interrupt may be writing the next.
    const std::uint64_t next = (head >> 1) + (nested ? 2 : 1);
    for (std::size_t i = 0; i < kWords; ++i) {
        slots_[next % kSlots][i].store(words[i], std::memory_order_relaxed);
    }
    // Release: pairs with the acquire in read_slot. A delivery may set the lowest bit meanwhile,
    // once for each value, and the new value supersedes it; what a nested writer has set is newer
    // still.
    while ((head >> 1) < next &&
           !head_.compare_exchange_strong(head, next << 1, std::memory_order_acq_rel)) {
    }
}

std::uint64_t Disposition::read_slot(struct sigaction& action) const noexcept {
    std::uint64_t words[kWords];
    std::uint64_t head = head_.load(std::memory_order_acquire);
    for (;;) {
        for (std::size_t i = 0; i < kWords; ++i) {
            // Acquire, so that the check below is not made before the words are read.
            words[i] = slots_[(head >> 1) % kSlots][i].load(std::memory_order_acquire);
        }
        const std::uint64_t now = head_.load(std::memory_order_acquire);
        // Two writers at most are ahead of `now`.
        if ((now >> 1) - (head >> 1) < kSlots - 2) {
            std::memcpy(&action, words, sizeof action);
            return (now >> 1) == (head >> 1) ? now : head;
        }
        head = now;
    }
}

bool is_function(const struct sigaction& action) noexcept {
    return action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN;
}

Disposition& disposition_of(int owned_signal) noexcept {
    return owned_signal == kSignal ? urgent : owned_signal == SIGSEGV ? segv : bus;
}

int application_sigaction(int signal, const struct sigaction* action,
                          struct sigaction* old) noexcept {
    if (!owns_dispositions()) {
        return libc().sigaction(signal, action, old);
    }
    if (action == nullptr && old == nullptr) {
        return libc().sigaction(signal, nullptr, nullptr);  // is the signal valid?
    }
    if (action != nullptr && in_foreign_process()) {
        const int result = libc().sigaction(signal, action, old);
        if (result == 0 && old != nullptr && is_owned(signal) &&
            (old->sa_sigaction == own.signal || old->sa_sigaction == own.fault)) {
            *old = disposition_of(signal).read();
        }
        return result;
    }
    if (is_owned(signal)) {
        return sigaction_of_owned(signal, action, old);
    }
    if (action != nullptr && is_function(*action) && (action->sa_flags & SA_ONSTACK) != 0) {
        alternate_stacks.store(true, std::memory_order_relaxed);
    }
    return sigaction_of_other(signal, action, old);
}

std::errc take_over_dispositions(const OwnHandlers& handlers) noexcept {
    const WriterLock lock;
    own = handlers;
    owner_pid.store(kernel_pid(), std::memory_order_relaxed);
    for (int signal : {kSignal, SIGSEGV, SIGBUS}) {
        struct sigaction before{};
        if (libc().sigaction(signal, nullptr, &before) != 0) {
            return static_cast<std::errc>(errno);
        }
        disposition_of(signal).publish(before);
    }
    // Handlers that libraries have installed before our start.
    for (int signal = 1; signal <= kSignalMax; ++signal) {
        KernelSigaction action{};
        if (!is_owned(signal) && kernel_sigaction(signal, nullptr, &action) == 0) {
            if ((action.mask & bit_of(kSignal)) != 0) {
                asked.fetch_or(bit_of(signal), std::memory_order_relaxed);
            }
            if ((action.flags & SA_ONSTACK) != 0) {
                alternate_stacks.store(true, std::memory_order_relaxed);
            }
        }
    }
    owning.store(true, std::memory_order_release);
    revise_masks();
    return install_signal_handler();
}

bool owns_dispositions() noexcept { return owning.load(std::memory_order_acquire); }

bool in_foreign_process() noexcept {
    return kernel_pid() != owner_pid.load(std::memory_order_relaxed);
}

bool uses_alternate_stacks() noexcept { return alternate_stacks.load(std::memory_order_relaxed); }

void reset_dispositions_in_child() noexcept {
    owner_pid.store(kernel_pid(), std::memory_order_relaxed);
    writer.store(0, std::memory_order_relaxed);
}

}  // namespace taskwork::agent
