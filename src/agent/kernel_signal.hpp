// SPDX-License-Identifier: Apache-2.0
//
// The kernel's own signal interface. The interposed functions of this layer stand between the
// application and libc; what they themselves need must pass neither, must not touch errno, and must
// see what libc hides (its signals 32 and 33, which a libc mask never contains).
#pragma once

#include <csignal>
#include <cstdint>
#include <cstring>
#include <sys/syscall.h>
#include <sys/types.h>
#include <ucontext.h>

#include "base/raw_system_call.hpp"
#include "sync/signal.hpp"

namespace taskwork::agent {

using sync::kSignal;

/// A signal set as the kernel has it: bit n-1 is signal n.
using SignalBits = std::uint64_t;

/// glibc's signal by which setuid and its kin reach every thread. It must never wait for us.
inline constexpr int kSetxidSignal = 33;

inline constexpr int kSignalMax = 64;

/// Context: any.
constexpr SignalBits bit_of(int signal) noexcept { return SignalBits{1} << (signal - 1); }

/// Context: any.
inline SignalBits bits_of(const sigset_t& set) noexcept {
    SignalBits bits;
    std::memcpy(&bits, &set, sizeof bits);
    return bits;
}

/// Replaces the bits of the 64 signals and leaves the rest of libc's larger set alone.
/// Context: any.
inline void assign_bits(sigset_t& set, SignalBits bits) noexcept {
    std::memcpy(&set, &bits, sizeof bits);
}

/// struct sigaction as rt_sigaction(2) has it.
struct KernelSigaction {
    void* handler;
    unsigned long flags;
    void* restorer;
    SignalBits mask;
};

/// rt_sigaction(2); nullptr as there. 0 or -errno.
/// Context: any.
inline long kernel_sigaction(int signal, const KernelSigaction* action,
                             KernelSigaction* old) noexcept {
    return raw_system_call(SYS_rt_sigaction, signal, reinterpret_cast<long>(action),
                           reinterpret_cast<long>(old), sizeof(SignalBits));
}

/// Changes the calling thread's mask; returns the mask before.
/// Context: any.
inline SignalBits kernel_sigmask(int how, SignalBits bits) noexcept {
    SignalBits old = 0;
    raw_system_call(SYS_rt_sigprocmask, how, reinterpret_cast<long>(&bits),
                    reinterpret_cast<long>(&old), sizeof bits);
    return old;
}

/// Context: any.
inline pid_t kernel_pid() noexcept { return static_cast<pid_t>(raw_system_call(SYS_getpid)); }
/// Context: any.
inline pid_t kernel_tid() noexcept { return static_cast<pid_t>(raw_system_call(SYS_gettid)); }

/// Sends `signal` with `info` to the calling thread, which may claim any origin for it. Unblocked
/// signals are delivered before this returns.
/// Context: any.
inline void queue_to_self(int signal, const siginfo_t& info) noexcept {
    raw_system_call(SYS_rt_tgsigqueueinfo, kernel_pid(), kernel_tid(), signal,
                    reinterpret_cast<long>(&info));
}

/// The mask that sigreturn will restore. The kernel's set is the first word of libc's.
/// Context: any.
inline SignalBits saved_mask(const ucontext_t& context) noexcept {
    return bits_of(context.uc_sigmask);
}

}  // namespace taskwork::agent
