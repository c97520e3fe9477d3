// SPDX-License-Identifier: Apache-2.0
#include "bpf/user_memory.hpp"

#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/raw_system_call.hpp"
#include "sync/arena.hpp"
#include "sync/platform.hpp"

// The copy whose fault is recovered: its one instruction that touches memory lies at
// taskwork_copy_fault and is restartable, so its registers say how far it came. Returns the number
// of bytes not copied.
asm(R"(
    .pushsection .text.taskwork_copy, "ax", @progbits
    .hidden taskwork_copy
    .globl taskwork_copy
    .type taskwork_copy, @function
taskwork_copy:
    .cfi_startproc
    movq %rdx, %rcx
taskwork_copy_fault:
    rep movsb
taskwork_copy_recovered:
    movq %rcx, %rax
    ret
    .cfi_endproc
    .size taskwork_copy, . - taskwork_copy
    .hidden taskwork_copy_fault
    .globl taskwork_copy_fault
    .hidden taskwork_copy_recovered
    .globl taskwork_copy_recovered
    .popsection
)");

extern "C" {
[[gnu::visibility("hidden")]] std::size_t taskwork_copy(void* to, std::uintptr_t from,
                                                        std::size_t size) noexcept;
[[gnu::visibility("hidden")]] extern const char taskwork_copy_fault[];
[[gnu::visibility("hidden")]] extern const char taskwork_copy_recovered[];
}

namespace taskwork::bpf {

namespace {

constexpr std::size_t kPageBytes = 4096;
/// Strings pass through a buffer on the stack, so that nothing behind the NUL is written. Small: it
/// lies on top of whatever stack an event found.
constexpr std::size_t kStringChunkBytes = 256;
/// The upper half of the address space is the kernel's.
constexpr std::uintptr_t kUserEnd = std::uintptr_t{1} << 63;

std::atomic<bool> recovery_enabled{false};

[[gnu::tls_model("initial-exec")]] constinit thread_local bool faults_open = false;

constexpr std::uint64_t bit_of(int signal) { return std::uint64_t{1} << (signal - 1); }
constexpr std::uint64_t kFaultSignals = bit_of(SIGSEGV) | bit_of(SIGBUS);

}  // namespace

void enable_fault_recovery() noexcept { recovery_enabled.store(true, std::memory_order_relaxed); }

bool recover_fault(int signal, const siginfo_t* info, void* ucontext) noexcept {
    // A signal that somebody sent (si_code <= 0) is no fault, wherever it arrives.
    if ((signal != SIGSEGV && signal != SIGBUS) || info->si_code <= 0) {
        return false;
    }
    greg_t& instruction = static_cast<ucontext_t*>(ucontext)->uc_mcontext.gregs[REG_RIP];
    if (instruction != reinterpret_cast<greg_t>(taskwork_copy_fault)) {
        return false;
    }
    instruction = reinterpret_cast<greg_t>(taskwork_copy_recovered);
    return true;
}

FaultWindow::FaultWindow() noexcept : before_(faults_open) { faults_open = true; }

FaultWindow::~FaultWindow() { faults_open = before_; }

void FaultWindow::close() noexcept { faults_open = false; }

UserMemory::Way UserMemory::choose() const noexcept {
    if (!recovery_enabled.load(std::memory_order_relaxed)) {
        return Way::system_call;
    }
    if (faults_open) {
        return Way::recover;
    }
    // The kernel's signal set is the first 8 bytes of libc's.
    std::uint64_t blocked = kFaultSignals;
    if (ucontext_ != nullptr) {
        std::memcpy(&blocked, &static_cast<const ucontext_t*>(ucontext_)->uc_sigmask,
                    sizeof(blocked));
    } else if (raw_system_call(SYS_rt_sigprocmask, SIG_BLOCK, 0, reinterpret_cast<long>(&blocked),
                               sizeof(blocked)) != 0) {
        return Way::system_call;
    }
    return (blocked & kFaultSignals) == 0 ? Way::recover : Way::system_call;
}

long UserMemory::read(void* to, std::uintptr_t from, std::size_t size) noexcept {
    if (size == 0) {
        return 0;
    }
    if (from >= kUserEnd || size > kUserEnd - from) {
        return -EFAULT;
    }
    if (from < sync::kArenaBase + sync::kArenaSizeMax && sync::kArenaBase < from + size) {
        return -EFAULT;
    }
    if (way_ == Way::unknown) {
        way_ = choose();
    }
    if (way_ == Way::recover) {
        return taskwork_copy(to, from, size) == 0 ? 0 : -EFAULT;
    }
    const iovec local{to, size};
    const iovec remote{reinterpret_cast<void*>(from), size};
    const long result =
        raw_system_call(SYS_process_vm_readv, platform::process_id(),
                        reinterpret_cast<long>(&local), 1, reinterpret_cast<long>(&remote), 1, 0);
    return result == static_cast<long>(size) ? 0 : -EFAULT;
}

long UserMemory::read_string(char* to, std::uintptr_t from, std::size_t size) noexcept {
    if (size == 0) {
        return 0;
    }
    char chunk[kStringChunkBytes];
    std::size_t done = 0;
    // The last byte is kept for the NUL, and is not looked at: the page that it would come from may
    // be unmapped.
    const std::size_t text_max = size - 1;
    while (done < text_max) {
        // Never across the end of a page: the string may end right before one that is unmapped.
        const std::size_t in_page = kPageBytes - (from + done) % kPageBytes;
        const std::size_t wanted = std::min({text_max - done, in_page, sizeof(chunk)});
        if (read(chunk, from + done, wanted) != 0) {
            return -EFAULT;
        }
        if (const void* nul = std::memchr(chunk, 0, wanted)) {
            const auto length = static_cast<std::size_t>(static_cast<const char*>(nul) - chunk) + 1;
            std::memcpy(to + done, chunk, length);
            return static_cast<long>(done + length);
        }
        std::memcpy(to + done, chunk, wanted);
        done += wanted;
    }
    to[done] = '\0';
    return static_cast<long>(size);
}

}  // namespace taskwork::bpf
