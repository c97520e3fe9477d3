// SPDX-License-Identifier: Apache-2.0
#include "agent/signals.hpp"

#include <cerrno>
#include <cstring>

#include "agent/dispositions.hpp"
#include "agent/libc.hpp"
#include "agent/thread_signals.hpp"
#include "sync/signal.hpp"

namespace taskwork::agent {

namespace {

constinit SignalHooks serving{};

// Calls a handler as the kernel would: it passes all three arguments to every handler, SA_SIGINFO
// or not, and old ones on this architecture rely on it.
void call(const struct sigaction& action, int signal, siginfo_t* info, void* context) {
    action.sa_sigaction(signal, info, context);
}

// Whether the interrupted code runs on the thread's alternate stack.
bool on_alternate_stack(const ucontext_t& context) noexcept {
    const stack_t& stack = context.uc_stack;
    const auto low = reinterpret_cast<std::uintptr_t>(stack.ss_sp);
    const auto sp = static_cast<std::uintptr_t>(context.uc_mcontext.gregs[REG_RSP]);
    return (stack.ss_flags & SS_DISABLE) == 0 && sp >= low && sp - low < stack.ss_size;
}

// Passes a foreign kSignal on. True if a handler of the application has run.
bool deliver(siginfo_t* info, ucontext_t* context) {
    ThreadSignals& mine = thread_signals;
    if (is_serving(*context) || application_blocks(*context)) {
        if (!is_announcement(*info)) {
            keep_pending(*info);
        }
        return false;
    }
    siginfo_t announced;
    if (is_announcement(*info)) {
        if (!take_pending(announced)) {
            return false;
        }
        info = &announced;
    }
    const struct sigaction action = disposition_of(kSignal).read_for_delivery();
    if (!is_function(action)) {
        return false;
    }
    const bool blocked = mine.blocked;
    const std::uintptr_t outer = mine.handler_frame;
    const SignalBits asked = bits_of(action.sa_mask);
    if ((action.sa_flags & SA_NODEFER) == 0 || (asked & bit_of(kSignal)) != 0) {
        mine.handler_frame = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
    }
    const bool small_stack = on_alternate_stack(*context);
    kernel_sigmask(SIG_SETMASK, ((saved_mask(*context) | asked) & ~bit_of(kSignal)) |
                                    (small_stack ? bit_of(kSignal) : 0));
    call(action, kSignal, info, context);
    // What came while the handler ran is resent, blocked, so that it is delivered when this frame
    // has gone, not on top of it.
    kernel_sigmask(SIG_SETMASK, kHandlerMask | bit_of(kSignal));
    mine.handler_frame = outer;
    mine.blocked = blocked;
    mine.wait.delivered = true;
    siginfo_t next;
    if (!mine.resent.full() && !application_blocks(*context) && take_pending(next)) {
        resend(next);
    }
    return true;
}

// Delivers what came while ours was served, or on top of a wait that our handler has interrupted,
// and was kept since the code that it met was neither the application's nor the wait. True if a
// handler of the application has run.
bool deliver_kept(ucontext_t* context) {
    siginfo_t kept;
    return any_pending() && !application_blocks(*context) && take_pending(kept) &&
           deliver(&kept, context);
}

// The end of a handler that the application is not to notice.
void end_unnoticed(ucontext_t* context) {
    if (!in_marked_wait(*context)) {
        deliver_kept(context);
        return;
    }
    if (!serving.is_quiet()) {  // a filter may kill for the calls
        // What comes from here on meets the wait itself.
        kernel_sigmask(SIG_BLOCK, bit_of(kSignal));
    }
    if (!deliver_kept(context)) {
        note_interrupted_wait(context);
    }
}

// Whether the application's handler for kSignal is that of libtaskwork, which looks for its own
// work at each signal, whoever sent it. It is known by flags and mask, which it chooses for that
// and nobody else has reason to (src/library/handler.cpp).
bool is_library_handler(const struct sigaction& action) noexcept {
    constexpr int kFlags = SA_SIGINFO | SA_RESTART | SA_NODEFER | SA_ONSTACK | SA_RESETHAND;
    // Signals that the kernel or libc leaves out of masks by itself.
    constexpr SignalBits kUnknown =
        bit_of(SIGKILL) | bit_of(SIGSTOP) | bit_of(32) | bit_of(33) | bit_of(34);
    constexpr SignalBits kMask =
        ~(bit_of(kSignal) | bit_of(SIGSEGV) | bit_of(SIGBUS) | bit_of(SIGFPE) | bit_of(SIGILL) |
          bit_of(SIGTRAP) | bit_of(SIGSYS));
    return (action.sa_flags & kFlags) == (SA_SIGINFO | SA_RESTART | SA_NODEFER) &&
           (bits_of(action.sa_mask) | kUnknown) == (kMask | kUnknown);
}

// A notification of libtaskwork may have merged into this signal of ours: its handler looks. What
// it does is not noticed by waits, for nothing may have come for it.
void serve_library(ucontext_t* context) {
    const struct sigaction action = disposition_of(kSignal).read();
    if (!is_function(action) || !is_library_handler(action)) {
        return;
    }
    // A notification with the mark of shared domains: "look", and no signal of anybody's.
    siginfo_t look;
    std::memset(&look, 0, sizeof(look));
    look.si_signo = kSignal;
    look.si_code = SI_QUEUE;
    look.si_pid = kernel_pid();
    look.si_value.sival_ptr = reinterpret_cast<void*>(sync::kNotifyMark);
    if (application_blocks(*context)) {
        keep_pending(look);
        return;
    }
    call(action, kSignal, &look, context);
}

void handle_signal(int signal, siginfo_t* info, void* ucontext) {
    const int error = errno;
    auto* context = static_cast<ucontext_t*>(ucontext);
    constexpr SignalBits faults = bit_of(SIGSEGV) | bit_of(SIGBUS);
    if ((saved_mask(*context) & faults) != 0) {
        kernel_sigmask(SIG_UNBLOCK, faults);
    }
    const bool nested = is_serving(*context);
    if (!nested) {
        thread_signals.serving_frame = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
    }
    const bool ours = serving.on_signal(signal, info, ucontext);
    if (!nested) {
        thread_signals.serving_frame = 0;
    }
    // The kernel may have merged the signal by which resend() came here with this one.
    bool noticed = false;
    siginfo_t again;
    if (thread_signals.resent.take(again)) {
        noticed = !serving.on_signal(signal, &again, ucontext) && deliver(&again, context);
    }
    if (!ours && deliver(info, context)) {
        noticed = true;
    }
    if (ours && !nested) {
        serve_library(context);
    }
    if (!nested && !noticed) {
        end_unnoticed(context);
    }
    errno = error;
}

// Dies, or not, as the kernel would have it for SIG_DFL or SIG_IGN.
void take_default(int signal, siginfo_t* info, bool ignored) noexcept {
    const bool sent = info->si_code <= 0;
    const bool told = signal == SIGBUS && info->si_code == BUS_MCEERR_AO;
    if (ignored && (sent || told)) {
        return;
    }
    const KernelSigaction action{};  // SIG_DFL
    kernel_sigaction(signal, &action, nullptr);
    // Sent again, it waits until the kernel has restored the context in which it came, so that a
    // core file shows that. A fault would come again by itself, unless another thread has mapped
    // the page meanwhile; this one comes in any case.
    kernel_sigmask(SIG_BLOCK, bit_of(signal));
    queue_to_self(signal, *info);
}

void handle_fault(int signal, siginfo_t* info, void* ucontext) {
    const int error = errno;
    if (serving.on_fault(signal, info, ucontext)) {
        errno = error;
        return;
    }
    const struct sigaction action = disposition_of(signal).read_for_delivery();
    if (!is_function(action)) {
        take_default(signal, info, action.sa_handler == SIG_IGN);
        errno = error;
        return;
    }
    // Mask and stack are those that the application asked for: ours was installed with its flags.
    errno = error;
    call(action, signal, info, ucontext);
}

// Whether the application has a handler for a signal (not kSignal).
bool has_handler(int signal) noexcept {
    if (signal == SIGSEGV || signal == SIGBUS) {
        return is_function(disposition_of(signal).read());
    }
    KernelSigaction action{};
    kernel_sigaction(signal, nullptr, &action);
    return action.handler != reinterpret_cast<void*>(SIG_DFL) &&
           action.handler != reinterpret_cast<void*>(SIG_IGN);
}

}  // namespace

std::errc install_handlers(const SignalHooks& hooks) noexcept {
    if (owns_dispositions()) {
        return std::errc::connection_already_in_progress;
    }
    libc();
    serving = hooks;
    const SignalBits mask = kernel_sigmask(SIG_BLOCK, bit_of(kSignal));
    thread_signals.blocked = (mask & bit_of(kSignal)) != 0;
    const std::errc error = take_over_dispositions({handle_signal, handle_fault});
    kernel_sigmask(SIG_SETMASK, error == std::errc{} ? mask & ~bit_of(kSignal) : mask);
    return error;
}

bool is_own_signal(const siginfo_t& info) noexcept { return serving.is_ours(info); }

void note_interrupted_wait(const ucontext_t* context) noexcept {
    if (!in_marked_wait(*context)) {
        return;
    }
    // What the mask of the context admits is delivered when we return, and interrupts the wait if
    // its own mask, where it has one, admits it too. What only that one admits interrupts the
    // repeated call.
    WaitMark& mark = thread_signals.wait;
    if (serving.is_quiet()) {
        mark.resume = true;  // a filter may kill for the question
        return;
    }
    SignalBits pending = 0;
    raw_system_call(SYS_rt_sigpending, reinterpret_cast<long>(&pending), sizeof pending);
    pending &= ~(saved_mask(*context) | (mark.has_mask ? mark.mask : 0) | bit_of(kSignal));
    for (int signal = 1; pending != 0 && signal <= kSignalMax; ++signal) {
        if ((pending & bit_of(signal)) != 0 && has_handler(signal)) {
            return;
        }
    }
    mark.resume = true;
}

}  // namespace taskwork::agent
