// SPDX-License-Identifier: Apache-2.0
//
// The handler's side of events: whose signal is this, and run the programs. Everything here is nmi
// code: no system call, no lock, no allocation.
#include <poll.h>
#include <ucontext.h>

#include <csignal>
#include <cstdint>

#include "event/event.hpp"
#include "event/timer.hpp"
#include "sync/arena.hpp"
#include "task/run_point.hpp"

namespace taskwork::event {

namespace {

/// struct bpf_perf_event_data of the BPF ABI on x86-64: the registers in pt_regs order, then these.
struct PerfEventData {
    std::uint64_t r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di;
    std::uint64_t orig_ax, ip, cs, flags, sp, ss;
    std::uint64_t sample_period;
    std::uint64_t addr;
};
static_assert(sizeof(PerfEventData) == 23 * 8);

PerfEventData describe(const ucontext_t& context, std::uint64_t sample_period) noexcept {
    const auto reg = [&](int index) {
        return static_cast<std::uint64_t>(context.uc_mcontext.gregs[index]);
    };
    const std::uint64_t selectors = reg(REG_CSGSFS);  // cs, gs, fs, ss from low to high
    return PerfEventData{
        .r15 = reg(REG_R15),
        .r14 = reg(REG_R14),
        .r13 = reg(REG_R13),
        .r12 = reg(REG_R12),
        .bp = reg(REG_RBP),
        .bx = reg(REG_RBX),
        .r11 = reg(REG_R11),
        .r10 = reg(REG_R10),
        .r9 = reg(REG_R9),
        .r8 = reg(REG_R8),
        .ax = reg(REG_RAX),
        .cx = reg(REG_RCX),
        .dx = reg(REG_RDX),
        .si = reg(REG_RSI),
        .di = reg(REG_RDI),
        .orig_ax = UINT64_MAX,  // not inside a system call
        .ip = reg(REG_RIP),
        .cs = selectors & 0xffff,
        .flags = reg(REG_EFL),
        .sp = reg(REG_RSP),
        .ss = selectors >> 48,
        .sample_period = sample_period,
        .addr = 0,
    };
}

void run_programs(task::Task& task, EventSpec& spec, TaskEvent& event, void* ucontext) noexcept {
    PerfEventData data = describe(*static_cast<const ucontext_t*>(ucontext), spec.sample_period);
    // The section keeps a program that is detached between here and its execution.
    task::ReadSection section(task, sync::Flavour::sleepable);
    const std::uint64_t before = platform::now_ns();
    for (Attachment& attachment : spec.attachments) {
        // Acquire: pairs with the release in attach(); the cookie was written before.
        bpf::Program* program = attachment.program.load(std::memory_order_acquire);
        if (program == nullptr) {
            continue;
        }
        bpf::Execution execution;
        execution.task = &task;
        execution.program = program;
        execution.context = &data;
        execution.context_size = sizeof(data);
        execution.ucontext = ucontext;
        execution.cookie = attachment.cookie;
        bpf::run(execution);
    }
    event.program_ns.add(platform::now_ns() - before);
}

/// The one-shot event of task::Notify::resume: it brings the thread to a run point, no more.
constexpr unsigned kKick = UINT32_MAX - 1;
constexpr unsigned kNone = UINT32_MAX;

/// The spec that the signal is an event of; kKick, kNone.
unsigned spec_of(EventTable& table, const task::Task& task, const siginfo_t& info) noexcept {
    if (info.si_code == SI_TIMER) {
        return spec_of_timer_signal(info);
    }
    if (info.si_code != POLL_IN && info.si_code != POLL_HUP) {
        return kNone;
    }
    const auto names = [&](const platform::Atomic<std::int32_t>& field) {
        const std::int32_t descriptor = field.load(std::memory_order_relaxed);
        return info.si_fd >= 0 &&
               (descriptor == info.si_fd || descriptor == closed_descriptor(info.si_fd));
    };
    // Acquire: pairs with the release in attach().
    const unsigned count = table.spec_count.load(std::memory_order_acquire);
    for (unsigned spec = 0; spec < count; ++spec) {
        if (names(table.of(task, spec).descriptor)) {
            return spec;
        }
    }
    return names(table.kick_of(task)) ? kKick : kNone;
}

bool on_event(task::Task& task, const siginfo_t& info, void* ucontext,
              task::Dropped dropped) noexcept {
    EventTable& table = EventTable::get();
    const unsigned index = spec_of(table, task, info);
    if (index == kNone) {
        return false;
    }
    if (index == kKick) {
        return true;
    }
    EventSpec& spec = table.specs[index];
    TaskEvent& event = table.of(task, index);
    if (spec.enabled.load(std::memory_order_acquire) == 0) {
        return true;  // under way when sampling ended
    }
    if (info.si_code == POLL_HUP) {
        return true;  // the counter's end, not an overflow
    }
    if (info.si_code == SI_TIMER && (table.host_is_gone() || sync::Arena::header().closed.load(
                                                                 std::memory_order_relaxed) != 0)) {
        return true;  // perf events end with the host; timers have to be told
    }
    if (dropped != task::Dropped::no) {
        (dropped == task::Dropped::nested ? event.dropped_nested : event.dropped_stack).increment();
        return true;
    }
    event.fired.increment();
    run_programs(task, spec, event, ucontext);
    return true;
}

}  // namespace

static_assert(kNotATimer == kNone);

bool is_event_signal(const siginfo_t& info) noexcept {
    return info.si_code == POLL_IN || info.si_code == POLL_HUP ||
           spec_of_timer_signal(info) != kNotATimer;
}

bool is_event_of(const task::Task& task, const siginfo_t& info) noexcept {
    return spec_of(EventTable::get(), task, info) != kNone;
}

void join() noexcept { task::set_event_hook(is_event_of, on_event); }

}  // namespace taskwork::event
