// SPDX-License-Identifier: Apache-2.0
//
// Reads of the own process's memory that may find nothing there: -EFAULT instead of a signal. A
// page that is mapped but not resident is brought in.
//
// Two ways. process_vm_readv() of the own process asks the kernel (about 0.5 us a call). A plain
// copy whose fault is recovered needs no system call, which matters in event handlers and under
// seccomp filters: when the copy faults, the process's SIGSEGV or SIGBUS handler calls
// recover_fault(), which recognises the copy by its code range and continues behind it. That works
// only where our handler sees the faults first (the preload library says so once by
// enable_fault_recovery()) and where the thread does not block the two signals, for the kernel
// kills a thread that faults while it blocks them.
#pragma once

#include <csignal>
#include <cstddef>
#include <cstdint>

namespace taskwork::bpf {

/// Says that this process's SIGSEGV and SIGBUS handlers call recover_fault().
/// Context: task.
void enable_fault_recovery() noexcept;

/// For the SIGSEGV and SIGBUS handler: true if the fault was one of our copy's; the handler then
/// returns, and the copy reports it.
/// Context: nmi.
bool recover_fault(int signal, const siginfo_t* info, void* ucontext) noexcept;

/// For the preload library's handler: while it runs, SIGSEGV and SIGBUS are open on this thread (it
/// has seen to that), so that the callbacks it runs need not ask the kernel for the mask.
class FaultWindow {
public:
    /// Context: nmi.
    FaultWindow() noexcept;
    ~FaultWindow();
    FaultWindow(const FaultWindow&) = delete;
    FaultWindow& operator=(const FaultWindow&) = delete;

    /// Forgets what a handler that was left by longjmp has set, before works run outside handlers.
    /// Context: task.
    static void close() noexcept;

private:
    bool before_;
};

/// Reads user memory for one execution of a program, in one of the two ways.
class UserMemory {
public:
    /// `ucontext`: registers of the interrupted code, which name the signals that it blocks;
    /// nullptr outside of an event's handler: there the mask is asked for once, at the first read,
    /// if no FaultWindow says what it is.
    /// Context: any.
    explicit UserMemory(const void* ucontext) noexcept : ucontext_(ucontext) {}

    /// Copies `size` bytes. Returns 0, or -EFAULT (something of it cannot be read, or it lies in
    /// the arena, which is not user memory); `to` is then undefined.
    /// Context: any. At most two system calls; none with fault recovery in a handler.
    long read(void* to, std::uintptr_t from, std::size_t size) noexcept;

    /// Copies a string up to and including its NUL, or `size` - 1 bytes and a NUL; nothing behind
    /// the NUL is written. What lies behind the string need not be readable. Returns the bytes
    /// written, or -EFAULT (`to` then holds a part); 0 if `size` is 0.
    /// Context: any.
    long read_string(char* to, std::uintptr_t from, std::size_t size) noexcept;

private:
    enum class Way : std::uint8_t { unknown, recover, system_call };
    Way choose() const noexcept;

    const void* ucontext_;
    Way way_ = Way::unknown;
};

}  // namespace taskwork::bpf
