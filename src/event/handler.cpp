// SPDX-License-Identifier: Apache-2.0
//
// The handler's side of events: whose signal is this, whose turn, and run the program. Everything
// here is nmi code: no system call, no lock, no allocation.
#include <poll.h>
#include <ucontext.h>

#include <bit>
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

/// What the handler needs of an event, all of one attachment.
struct Attached {
    unsigned index = 0;
    std::uint32_t round = 0;
    std::uint32_t counter = 0;
    bpf::Program* program = nullptr;
    std::uint64_t cookie = 0;
    std::uint64_t sample_period = 0;
};

/// False: nothing is attached there, or that is just changing.
bool read_event(const Event& event, unsigned index, Attached& attached) noexcept {
    // Acquire: the round pairs with the release in attach(); the others keep the second look at it
    // behind them.
    attached.index = index;
    attached.round = event.round.load(std::memory_order_acquire);
    attached.counter = event.counter.load(std::memory_order_acquire);
    attached.program = event.program.load(std::memory_order_acquire);
    attached.cookie = event.cookie.load(std::memory_order_acquire);
    attached.sample_period = event.sample_period.load(std::memory_order_acquire);
    return Event::is_attached_in(attached.round) &&
           event.round.load(std::memory_order_relaxed) == attached.round;
}

/// Whose turn it is among the events of a counter: the next one in the table after the one that
/// had the turn before, passing over what is being detached. False: there is none.
bool take_turn(EventTable& table, const task::Task& task, unsigned counter,
               Attached& attached) noexcept {
    platform::Atomic<std::uint32_t>& turn = table.counter_of(task, counter).turn;
    // Acquire: pairs with the release in attach().
    std::uint32_t events = table.counters[counter].events.load(std::memory_order_acquire);
    while (events != 0) {  // less by one each time
        const std::uint32_t up_to_last =
            (std::uint32_t{2} << turn.load(std::memory_order_relaxed)) - 1;
        const std::uint32_t later = events & ~up_to_last;
        const int next = std::countr_zero(later != 0 ? later : events);
        turn.store(static_cast<std::uint32_t>(next), std::memory_order_relaxed);
        if (read_event(table.events[next], static_cast<unsigned>(next), attached) &&
            attached.counter == counter) {
            return true;
        }
        events &= ~(std::uint32_t{1} << next);
    }
    return false;
}

/// Begins the thread's counts of an event if those it has are of one that was there before.
void begin_round(TaskEvent& own, std::uint32_t round) noexcept {
    if (own.round.load(std::memory_order_relaxed) != round) {
        own.fired.set(0);
        own.dropped_nested.set(0);
        own.dropped_stack.set(0);
        own.program_ns.set(0);
        // Release: pairs with the acquire in read_counts().
        own.round.store(round, std::memory_order_release);
    }
}

void run_program(task::Task& task, const Attached& event, TaskEvent& own, void* ucontext) noexcept {
    PerfEventData data = describe(*static_cast<const ucontext_t*>(ucontext), event.sample_period);
    const std::uint64_t before = platform::now_ns();
    bpf::Execution execution;
    execution.task = &task;
    execution.program = event.program;
    execution.context = &data;
    execution.context_size = sizeof(data);
    execution.ucontext = ucontext;
    execution.cookie = event.cookie;
    bpf::run(execution);
    own.program_ns.add(platform::now_ns() - before);
}

/// Where a signal comes from.
struct Origin {
    enum {
        not_ours,
        counter,
        timer,
        nothing_to_run,  ///< A counter that was closed; a kick, which is for the run point alone.
    } kind = not_ours;
    unsigned index = 0;  ///< Of the counter; of the timer's event.
};

Origin origin_of(EventTable& table, const task::Task& task, const siginfo_t& info) noexcept {
    if (info.si_code == SI_TIMER) {
        const unsigned event = event_of_timer_signal(info);
        return event == kNotATimer ? Origin{} : Origin{Origin::timer, event};
    }
    if ((info.si_code != POLL_IN && info.si_code != POLL_HUP) || info.si_fd < 0) {
        return {};
    }
    // Open ones first: the kernel gives the number of a closed one to another. And close_counter()
    // notes a number as closed before it takes it away.
    for (unsigned index = 0; index < EventTable::kCountersMax; ++index) {
        if (table.counter_of(task, index).descriptor.load(std::memory_order_acquire) ==
            info.si_fd) {
            return {Origin::counter, index};
        }
    }
    bool known = table.kick_of(task).load(std::memory_order_relaxed) == info.si_fd;
    for (unsigned index = 0; index < EventTable::kCountersMax && !known; ++index) {
        known = table.counter_of(task, index).closed.load(std::memory_order_relaxed) == info.si_fd;
    }
    return known ? Origin{Origin::nothing_to_run, 0} : Origin{};
}

bool on_event(task::Task& task, const siginfo_t& info, void* ucontext,
              task::Dropped dropped) noexcept {
    EventTable& table = EventTable::get();
    const Origin origin = origin_of(table, task, info);
    if (origin.kind == Origin::not_ours) {
        return false;
    }
    if (origin.kind == Origin::nothing_to_run ||
        table.stopped.load(std::memory_order_acquire) != 0) {
        return true;  // the latter: under way when sampling ended
    }
    if (info.si_code == POLL_HUP) {
        return true;  // the counter's end, not an overflow
    }
    // The section keeps a program that is detached between here and its execution.
    const task::ReadSection section(task, sync::Flavour::sleepable);
    Attached event;
    if (origin.kind == Origin::timer) {
        // Perf events end with the host, and with their attachment; timers have to be told.
        const bool ended = table.host_is_gone() ||
                           sync::Arena::header().closed.load(std::memory_order_relaxed) != 0 ||
                           !is_timed(table.of(task, origin.index), table.events[origin.index]);
        if (ended || !read_event(table.events[origin.index], origin.index, event)) {
            return true;
        }
    } else if (!take_turn(table, task, origin.index, event)) {
        return true;
    }
    TaskEvent& own = table.of(task, event.index);
    begin_round(own, event.round);
    if (dropped != task::Dropped::no) {
        (dropped == task::Dropped::nested ? own.dropped_nested : own.dropped_stack).increment();
        return true;
    }
    own.fired.increment();
    run_program(task, event, own, ucontext);
    return true;
}

}  // namespace

bool is_event_signal(const siginfo_t& info) noexcept {
    return info.si_code == POLL_IN || info.si_code == POLL_HUP ||
           event_of_timer_signal(info) != kNotATimer;
}

bool is_event_of(const task::Task& task, const siginfo_t& info) noexcept {
    return origin_of(EventTable::get(), task, info).kind != Origin::not_ours;
}

void join() noexcept { task::set_event_hook(is_event_of, on_event); }

}  // namespace taskwork::event
