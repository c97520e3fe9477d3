// SPDX-License-Identifier: Apache-2.0
//
// The preload library's interposition with nothing behind it: its hooks know our signal by a mark
// and count. What the programs beside this file assert is true of the real one too; they can send
// "ours" at will only to this one.
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <unistd.h>

#include "agent/signals.hpp"
#include "agent/threads.hpp"

#pragma GCC visibility push(default)
extern "C" {
std::atomic<long> test_agent_served{0};
std::atomic<long> test_agent_threads_started{0};
std::atomic<long> test_agent_threads_exiting{0};
std::atomic<long> test_agent_forked_children{0};
std::atomic<long> test_agent_faults_recovered{0};
// What the hook is to read when it serves one of ours, as a program in nmi reads user memory.
std::atomic<const char*> test_agent_reads{nullptr};
// What the hook is to call then.
std::atomic<void (*)()> test_agent_calls{nullptr};
// Reads a byte: 0, or -1 if that faulted.
int test_agent_probe(const char* address);
}
#pragma GCC visibility pop

extern "C" void test_agent_probe_failed();

// The access is the first instruction, by which the fault is known.
asm(R"(
    .pushsection .text
    .globl test_agent_probe
    .type test_agent_probe, @function
test_agent_probe:
    movb (%rdi), %al
    xorl %eax, %eax
    ret
    .size test_agent_probe, . - test_agent_probe
    .globl test_agent_probe_failed
    .hidden test_agent_probe_failed
    .type test_agent_probe_failed, @function
test_agent_probe_failed:
    movl $-1, %eax
    ret
    .size test_agent_probe_failed, . - test_agent_probe_failed
    .popsection
)");

namespace {

constexpr int kOurMark = 0x6f757273;

bool is_ours(const siginfo_t& info) noexcept {
    return info.si_code == SI_QUEUE && info.si_value.sival_int == kOurMark;
}

bool is_quiet() noexcept { return false; }

bool on_signal(int, siginfo_t* info, void*) noexcept {
    if (!is_ours(*info)) {
        return false;
    }
    ++test_agent_served;
    if (const char* address = test_agent_reads; address != nullptr) {
        test_agent_probe(address);
    }
    if (void (*function)() = test_agent_calls; function != nullptr) {
        function();
    }
    return true;
}

bool on_fault(int, siginfo_t* info, void* ucontext) noexcept {
    greg_t& next = static_cast<ucontext_t*>(ucontext)->uc_mcontext.gregs[REG_RIP];
    if (info->si_code <= 0 || next != reinterpret_cast<greg_t>(&test_agent_probe)) {
        return false;
    }
    ++test_agent_faults_recovered;
    next = reinterpret_cast<greg_t>(&test_agent_probe_failed);
    return true;
}

void started() noexcept { ++test_agent_threads_started; }
void exiting() noexcept { ++test_agent_threads_exiting; }
void forked_child() noexcept { ++test_agent_forked_children; }

void process_exiting() noexcept {
    if (std::getenv("TEST_AGENT_TELLS_EXIT") != nullptr) {
        static constexpr char kText[] = "process exiting\n";
        if (write(STDOUT_FILENO, kText, sizeof kText - 1) < 0) {
            std::abort();
        }
    }
}

__attribute__((constructor)) void start() {
    using namespace taskwork::agent;
    if (install_thread_hooks({started, exiting, forked_child, process_exiting}) != std::errc{} ||
        install_handlers({on_signal, is_ours, is_quiet, on_fault}) != std::errc{}) {
        std::abort();
    }
}

}  // namespace
