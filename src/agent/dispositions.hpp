// SPDX-License-Identifier: Apache-2.0
//
// Signal dispositions: what the application believes, and what is installed.
//
// Three signals are ours in the kernel, whatever the application sets; what it sets is recorded,
// reported back to it, and obeyed by our handlers (signals.hpp):
//
// | signal          | installed                                | flags and mask installed |
// |-----------------|------------------------------------------|------------------------------------|
// | kSignal         | events and notifications                 | ours, fixed | | SIGSEGV, SIGBUS |
// recovery of our own reads of user memory | the application's, SA_RESETHAND    | | | | apart
// (obeyed when it is chained)  |
//
// Every other signal is the application's; only the bit of kSignal in its sa_mask is decided here:
//
//   - A handler on an alternate stack always blocks kSignal: 8 KiB do not hold two signal frames.
//   - Any other blocks it if the application said so and has a handler of its own for kSignal,
//   which
//     must not cut that one. Without such a handler nobody could tell, and the bit is dropped: a
//     program may spend its life in a handler, or leave it by longjmp.
//
// The application reads back the bit that it wrote. In a child of vfork, which runs in its parent's
// memory, the record is left alone and the kernel gets the application's values.
//
// Limits: an exec'd program finds SIGURG, SIGSEGV and SIGBUS at their defaults where the
// application ignored them; for SIGURG that is the same thing.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <system_error>

#include "agent/kernel_signal.hpp"

namespace taskwork::agent {

/// What the application set for one of the three signals. Writers are serialised by the owner;
/// readers are lock-free, and may be handlers that interrupt a writer: a new value goes to the next
/// of a ring of slots and is then published, so a reader copies a settled one and tries again only
/// if the ring went round meanwhile.
class Disposition {
public:
    /// Context: any. Lock-free.
    [[nodiscard]] struct sigaction read() const noexcept;

    /// read(), and as the kernel does on delivery: SA_RESETHAND makes the default of it, once.
    /// Context: any. Lock-free.
    struct sigaction read_for_delivery() noexcept;

    /// By one thread at a time. `nested`: perhaps in the middle of another publish() on the same
    /// thread, one deep.
    /// Context: task, nmi.
    void publish(const struct sigaction& action, bool nested = false) noexcept;

private:
    static constexpr unsigned kSlots = 8;
    static constexpr std::size_t kWords = sizeof(struct sigaction) / sizeof(std::uint64_t);

    std::uint64_t read_slot(struct sigaction& action) const noexcept;

    std::atomic<std::uint64_t> head_{0};  // times published << 1 | reset to the default since
    std::atomic<std::uint64_t> slots_[kSlots][kWords]{};
};

/// Whether an action is a function, neither SIG_DFL nor SIG_IGN.
/// Context: any.
bool is_function(const struct sigaction& action) noexcept;

/// The record of one of the three signals.
/// Context: any.
Disposition& disposition_of(int owned_signal) noexcept;

/// sigaction(2) for the application. 0, or -1 and errno.
/// Context: any. With `action`: short, with signals blocked, and one thread at a time.
int application_sigaction(int signal, const struct sigaction* action,
                          struct sigaction* old) noexcept;

/// Functions of the three signals, SIG_DFL and flags of our own choice aside.
struct OwnHandlers {
    void (*signal)(int, siginfo_t*, void*);
    void (*fault)(int, siginfo_t*, void*);
};

/// Records what is set now as the application's, and installs ours over it.
/// Errors: as sigaction(2).
/// Context: task. Once, at start.
std::errc take_over_dispositions(const OwnHandlers& handlers) noexcept;

/// Whether take_over_dispositions has been called.
/// Context: any.
bool owns_dispositions() noexcept;

/// Whether the caller is in another process than that which owns this memory: a child of vfork.
/// Context: any. One system call.
bool in_foreign_process() noexcept;

/// Whether some handler of the application may run on an alternate stack.
/// Context: any.
bool uses_alternate_stacks() noexcept;

/// Context: any. In a fork child, before it has other threads.
void reset_dispositions_in_child() noexcept;

/// The mask under which our handler for kSignal runs: everything, glibc's cancellation signal
/// included, but kSignal itself, SIGSETXID and what the processor raises.
inline constexpr SignalBits kHandlerMask =
    ~(bit_of(kSignal) | bit_of(kSetxidSignal) | bit_of(SIGSEGV) | bit_of(SIGBUS) | bit_of(SIGFPE) |
      bit_of(SIGILL) | bit_of(SIGTRAP) | bit_of(SIGSYS));

}  // namespace taskwork::agent
