// SPDX-License-Identifier: Apache-2.0
#include "deferral/atomics.hpp"

#include <signal.h>
#include <ucontext.h>

#include <atomic>
#include <set>

namespace taskwork::bench {

namespace {

AtomicCounts counts;
greg_t previous = 0;

/// Looks at the instruction that runs next. Prefixes, opcode and the ModRM byte say all we ask.
void note_instruction(const unsigned char* code) {
    bool locked = false;
    for (;; ++code) {
        const bool legacy = *code == 0x66 || *code == 0x67 || *code == 0xf2 || *code == 0xf3 ||
                            *code == 0x2e || *code == 0x36 || *code == 0x3e || *code == 0x26 ||
                            *code == 0x64 || *code == 0x65 || *code == 0xf0;
        if (!legacy) {
            break;
        }
        locked = locked || *code == 0xf0;
    }
    if ((*code & 0xf0) == 0x40) {
        ++code;  // REX
    }
    ++counts.instructions;
    if (code[0] == 0x0f) {
        if (code[1] == 0x31 || (code[1] == 0x01 && code[2] == 0xf9)) {
            ++counts.clock_reads;
        } else if (code[1] == 0x05) {
            ++counts.system_calls;
        } else if (code[1] == 0xae && code[2] == 0xf0) {
            ++counts.others;  // mfence
        } else if (locked && (code[1] == 0xb0 || code[1] == 0xb1 || code[1] == 0xc7)) {
            ++counts.compare_exchanges;
            return;
        }
    }
    const bool exchange = (code[0] == 0x86 || code[0] == 0x87) && (code[1] & 0xc0) != 0xc0;
    if (locked || exchange) {
        ++counts.others;
    }
}

void on_trap(int, siginfo_t*, void* ucontext) {
    const auto* context = static_cast<const ucontext_t*>(ucontext);
    const auto next = context->uc_mcontext.gregs[REG_RIP];
    if (next != previous) {  // A repeated string instruction stops at each of its rounds.
        note_instruction(reinterpret_cast<const unsigned char*>(next));
    }
    previous = next;
}

}  // namespace

std::string AtomicCounts::text() const {
    return std::to_string(instructions) + " instructions, " + std::to_string(compare_exchanges) +
           " compare-exchanges, " + std::to_string(others) + " other atomics, " +
           std::to_string(clock_reads) + " clock reads, " + std::to_string(system_calls) +
           " system calls";
}

AtomicCounts count_atomics(void (*body)(void*), void* argument) {
    struct sigaction action{};
    struct sigaction before{};
    action.sa_sigaction = on_trap;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGTRAP, &action, &before);
    counts = AtomicCounts{};
    asm volatile("pushfq\n\torq $0x100, (%%rsp)\n\tpopfq" : : : "memory", "cc");
    body(argument);
    asm volatile("pushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq" : : : "memory", "cc");
    const AtomicCounts found = counts;
    sigaction(SIGTRAP, &before, nullptr);
    return found;
}

std::string atomics_floor(const AtomicCounts& wanted) {
    static std::set<std::string> registered;
    const std::uint64_t exchanges = wanted.compare_exchanges;
    const std::uint64_t others = wanted.others;
    const std::string name = std::to_string(wanted.total()) + " atomics (" +
                             std::to_string(exchanges) + " compare-exchanges)";
    if (!registered.insert(name).second) {
        return name;
    }
    benchmark::RegisterBenchmark(name.c_str(), [exchanges, others](benchmark::State& state) {
        alignas(64) static std::atomic<std::uint64_t> exchanged;
        alignas(64) static std::atomic<std::uint64_t> added;
        std::uint64_t value = exchanged.load(std::memory_order_relaxed);
        for (auto _ : state) {
            for (std::uint64_t index = 0; index < exchanges; ++index) {
                exchanged.compare_exchange_strong(value, value + 1, std::memory_order_acq_rel);
                ++value;
            }
            for (std::uint64_t index = 0; index < others; ++index) {
                benchmark::DoNotOptimize(added.fetch_add(1, std::memory_order_acq_rel));
            }
        }
    });
    return name;
}

}  // namespace taskwork::bench
