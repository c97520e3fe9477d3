// SPDX-License-Identifier: Apache-2.0
#include "task/run_point.hpp"

#include <signal.h>
#include <ucontext.h>

#include <cerrno>

#include "base/assert.hpp"
#include "sync/arena.hpp"
#include "sync/deferral.hpp"
#include "sync/signal.hpp"
#include "task/lists.hpp"

namespace taskwork::task {

namespace {

WorkOps ops{};
EventDescriptorHooks descriptor_hooks{};
EventTest event_test = nullptr;
EventHook event_hook = nullptr;

/// Told by resume, told by signal: values of Task::pending.
constexpr std::uint32_t kToldNothing = 0;
constexpr std::uint32_t kToldResume = 1;
constexpr std::uint32_t kToldSignal = 2;

/// A thread that is sampled at least this often looks soon enough without a kick.
constexpr std::uint32_t kSampledOftenUs = 20'000;

WorkNode* node_at(std::uint32_t index) noexcept { return sync::arena_object<WorkNode>(index); }

/// Marks the node as ours. False: the other of drainer and worker has it. The link no longer
/// changes afterwards; `link` is what it is.
bool claim(WorkNode& node, Link& link) noexcept {
    link = Link{node.next.load(std::memory_order_acquire)};
    while (!link.claimed()) {
        // Fails when the worker unlinks the successor at this moment, at most once a husk.
        if (node.next.compare_exchange(link.bits, link.as_claimed().bits,
                                       std::memory_order_acq_rel)) {
            return true;
        }
    }
    return false;
}

/// Takes the list, leaving `left` (empty or closed), and claims every node. Returns the nodes that
/// are ours, newest first, linked by run_next. `draining` is open: an event that nests here takes
/// nothing, so the sequence is odd all the time.
WorkNode* take_list(Task& task, std::uint64_t left, List list) noexcept {
    const ReadSection brief(task, sync::Flavour::brief);
    // Written by this thread alone. Release: whoever finds the list taken, or a node claimed, finds
    // the sequence odd or later; whoever finds it even again finds every node claimed.
    const std::uint32_t sequence = task.take_sequence.load(std::memory_order_relaxed);
    task.take_sequence.store(sequence + 1, std::memory_order_release);
    const std::uint64_t head = task.head(list).exchange(left, std::memory_order_acq_rel);
    WorkNode* first = nullptr;
    WorkNode* last = nullptr;
    for (auto index = head == kListClosed ? 0 : static_cast<std::uint32_t>(head); index != 0;) {
        WorkNode* node = node_at(index);
        Link link{};
        if (claim(*node, link)) {
            if (last == nullptr) {
                first = node;
            } else {
                last->run_next.set(node);
            }
            last = node;
            // What it is to run stands in the next line, and is read when its turn comes.
            __builtin_prefetch(reinterpret_cast<const std::byte*>(node) + sync::kArenaUnit);
        }
        index = link.next();
    }
    if (last != nullptr) {
        last->run_next.set(nullptr);
    }
    task.take_sequence.store(sequence + 2, std::memory_order_release);
    return first;
}

void run_nodes(Task& task, WorkNode* node) noexcept {
    while (node != nullptr) {
        WorkNode* next = node->run_next.get();  // The work may be scheduled again while it runs.
        ops.run(task, *node);
        node = next;
    }
}

bool on_own_stack(const Task& task, std::uintptr_t address) noexcept {
    return address >= task.stack_low && address < task.stack_high;
}

/// How far above its stamp the code of a live scope may stand: the stamp is taken at a call, for
/// which arguments may have been pushed, and the caller's own frame may end there.
constexpr std::uintptr_t kStampSlack = 256;

/// An entry made by a frame deeper than the code now running is no longer there.
bool is_stale(const Task& task, const Depth& depth, std::uintptr_t stack_pointer) noexcept {
    return depth.is_open() && depth.stamp() + kStampSlack < stack_pointer &&
           on_own_stack(task, depth.stamp()) && on_own_stack(task, stack_pointer);
}

/// Brings a thread to a run point without disturbing it in a wait. One that is sampled comes to one
/// with its next event.
void kick_if_needed(Task& task) noexcept {
    const std::uint32_t period_us = task.sampled.load(std::memory_order_relaxed);
    if (period_us != 0 && period_us <= kSampledOftenUs) {
        return;
    }
    if (descriptor_hooks.kick == nullptr || !descriptor_hooks.kick(task)) {
        sync::DeferralQueue::get().queue(task.kick_item);
    }
}

/// Works stay on the list for want of stack. Nobody has looked, so the flag must not keep the next
/// scheduler silent.
void put_off(Task& task) noexcept {
    task.pending.store(kToldNothing, std::memory_order_seq_cst);
    task.attention.fetch_or(kAttentionLook, std::memory_order_relaxed);
}

/// Bytes left below `stack_pointer`. On a stack that is neither the thread's own nor the alternate
/// one (makecontext, fibers) nothing is known: none, for such stacks can be a few KiB and a handler
/// that overruns one kills the program. A thread registered without bounds is taken to have room.
std::size_t stack_left(const Task& task, std::uintptr_t stack_pointer,
                       const stack_t* alternate) noexcept {
    if (alternate != nullptr) {
        const auto low = reinterpret_cast<std::uintptr_t>(alternate->ss_sp);
        if (stack_pointer >= low && stack_pointer - low < alternate->ss_size) {
            return stack_pointer - low;
        }
    }
    if (on_own_stack(task, stack_pointer)) {
        return stack_pointer - task.stack_low;
    }
    return task.stack_high == 0 ? SIZE_MAX : 0;
}

/// A closed list holds nothing, and must never be taken: that would open it again.
bool has_works(const Task& task, List list = List::anywhere) noexcept {
    const std::uint64_t head = task.head(list).load(std::memory_order_acquire);
    return head != 0 && head != kListClosed;
}

/// The flag is to be looked at, too: it may be set by a pusher whose node an earlier drain has run
/// already, and left set it would silence the next pusher.
bool was_told(const Task& task) noexcept {
    return task.pending.load(std::memory_order_relaxed) != kToldNothing;
}

void drain_here(Task& task, std::uintptr_t stack_pointer) noexcept {
    const std::uint32_t events_before = task.events_in_drains.get();
    for (unsigned pass = 0; pass < kDrainPasses; ++pass) {
        const bool told = was_told(task);
        if (!told && !has_works(task)) {
            return;
        }
        // What events have scheduled on top of the callbacks gets one pass of its own: with slow
        // callbacks each pass would bring more than the last, and the program would stand still.
        if (pass >= 2 && task.events_in_drains.get() != events_before) {
            break;
        }
        // Clear first, then take: a pusher that finds the flag clear notifies, one that finds it
        // set pushed before this take. Onto oneself nothing was told, and a store that every other
        // processor must see before the next load is what a locked instruction costs.
        if (told) {
            task.pending.store(kToldNothing, std::memory_order_seq_cst);
            if (!has_works(task)) {
                continue;
            }
        }
        task.draining.enter(stack_pointer);
        WorkNode* nodes = take_list(task, 0, List::anywhere);
        if (nodes != nullptr) {
            task.statistics.drains.increment();
            run_nodes(task, nodes);
        }
        task.draining.exit();
        // The loop looks again after exit(): an event that nested before it has left its works to
        // us, one that nests after it drains by itself.
    }
    if (has_works(task)) {
        // Budget used up. The program goes on; its next run point must come without its help. A
        // signal that came meanwhile has done nothing: the worker sends it again, from outside.
        task.statistics.drains_cut.increment();
        task.attention.fetch_or(kAttentionLook, std::memory_order_relaxed);
        if (told_by_signal(task)) {
            sync::DeferralQueue::get().queue(task.kick_item);
        } else {
            kick_if_needed(task);
        }
    }
}

}  // namespace

bool told_by_signal(const Task& task) noexcept {
    return task.pending.load(std::memory_order_seq_cst) == kToldSignal;
}

const WorkOps& work_ops() noexcept { return ops; }

void set_work_ops(const WorkOps& given) noexcept { ops = given; }

void set_event_hook(EventTest test, EventHook hook) noexcept {
    event_test = test;
    event_hook = hook;
}

void detail::recover_open(Task& task, std::uintptr_t stack_pointer) noexcept {
    bool any = false;
    for (Depth* depth : {&task.nmi, &task.draining, &task.section, &task.safe_draining}) {
        if (is_stale(task, *depth, stack_pointer)) {
            depth->reset();
            any = true;
        }
    }
    if (any) {
        task.statistics.resets.increment();
        if (!task.is_inside()) {
            for (auto& slot : task.readers) {
                slot.reset();
            }
        }
    }
}

NmiScope::NmiScope(Task& task, std::uintptr_t interrupted_sp, bool on_alternate_stack,
                   bool room) noexcept
    : task_(task), entered_(enter(task, {interrupted_sp, on_alternate_stack, room},
                                  platform::caller_stack_pointer())),
      room_(room) {}

NmiScope::~NmiScope() {
    if (entered_) {
        exit(task_, room_);
    }
}

bool NmiScope::enter(Task& task, const Interrupted& interrupted, std::uintptr_t stamp) noexcept {
    if (!interrupted.on_alternate_stack) {
        recover(task, interrupted.stack_pointer);
    }
    if (task.draining.is_open()) {
        task.events_in_drains.increment();
    }
    if (task.nmi.is_open()) {
        task.statistics.events_nested.increment();
        return false;
    }
    task.nmi.enter(stamp);
    return true;
}

void NmiScope::exit(Task& task, bool room) noexcept {
    task.nmi.exit();
    if (room) {
        drain(task);
    } else {
        put_off(task);
    }
}

Interrupted interrupted_by(const Task& task, const void* ucontext) noexcept {
    const auto* context = static_cast<const ucontext_t*>(ucontext);
    const bool alternate = (context->uc_stack.ss_flags & SS_ONSTACK) != 0;
    return {static_cast<std::uintptr_t>(context->uc_mcontext.gregs[REG_RSP]), alternate,
            stack_left(task, platform::stack_pointer(), alternate ? &context->uc_stack : nullptr) >=
                kHandlerStackMin};
}

Level current_level(const Task& task) noexcept {
    if (task.nmi.is_open()) {
        return Level::nmi;
    }
    return task.draining.is_open() ? Level::task_work : Level::task;
}

void detail::drain_pending(Task& task) noexcept {
    if (task.may_drain()) {
        const std::uintptr_t here = platform::stack_pointer();
        if (stack_left(task, here, nullptr) >= kHandlerStackMin) {
            drain_here(task, here);
        } else {
            put_off(task);
        }
    }
}

void drain_safe(Task& task) noexcept {
    if (task.attention.load(std::memory_order_relaxed) == 0 || !task.may_drain() ||
        task.safe_draining.is_open()) {
        return;
    }
    // Clear first, then take, as in drain_here. The descriptor is lowered before the last clearing:
    // to lower it may take back what a pusher raised since, and if that one's bits stayed set, the
    // next would raise nothing. One raised after the last clearing brings the thread here again.
    bool lowered = false;
    while ((task.attention.exchange(0, std::memory_order_seq_cst) & kAttentionReadable) != 0) {
        descriptor_hooks.lower(task);
        lowered = true;
    }
    if (lowered) {
        drain(task);  // It may have been raised for a work of the other list.
    }
    if (has_works(task)) {
        // A drain that its budget has cut said so in what was cleared above.
        task.attention.fetch_or(kAttentionLook, std::memory_order_relaxed);
    }
    if (!has_works(task, List::safe_point)) {
        return;
    }
    task.draining.enter(platform::stack_pointer());
    WorkNode* nodes = take_list(task, 0, List::safe_point);
    task.draining.exit();
    if (nodes != nullptr) {
        task.statistics.drains.increment();
        task.safe_draining.enter(platform::stack_pointer());
        run_nodes(task, nodes);
        task.safe_draining.exit();
    }
    // What an event has left to the take above.
    drain(task);
}

void safe_point() noexcept {
    if (Task* task = current(); task != nullptr) {
        drain(*task);
        drain_safe(*task);
    }
}

void close_and_run(Task& task) noexcept {
    task.pending.store(kToldNothing, std::memory_order_seq_cst);
    task.draining.enter(platform::stack_pointer());
    run_nodes(task, take_list(task, kListClosed, List::anywhere));
    WorkNode* nodes = take_list(task, kListClosed, List::safe_point);
    task.draining.exit();
    task.safe_draining.enter(platform::stack_pointer());
    run_nodes(task, nodes);
    task.safe_draining.exit();
}

void close_dead(Task& task) noexcept {
    task.works.store(kListClosed, std::memory_order_seq_cst);
    task.safe_works.store(kListClosed, std::memory_order_seq_cst);
    for (Depth* depth : {&task.nmi, &task.draining, &task.section, &task.safe_draining}) {
        depth->reset();
    }
    for (auto& slot : task.readers) {
        slot.reset();
    }
}

bool push(Task& target, WorkNode& node, std::uint32_t round, List list) noexcept {
    platform::Atomic<std::uint64_t>& works = target.head(list);
    std::uint64_t head = works.load(std::memory_order_acquire);
    std::uint64_t link = node.next.load(std::memory_order_acquire);
    const std::uint32_t index = sync::arena_index(&node);
    do {
        // A sweep may have ended our round, and another scheduler begun the next and pushed it
        // elsewhere: its link is not ours to write.
        if (head == kListClosed || is_later(Link{link}.round(), round)) {
            return false;
        }
        const std::uint64_t mine = Link::make(round, static_cast<std::uint32_t>(head)).bits;
        if (!node.next.compare_exchange(link, mine, std::memory_order_acquire)) {
            return false;  // Only a later round writes it meanwhile.
        }
        link = mine;
        // Release: pairs with the acquire exchange in take_list. The link is right even if `head`
        // was taken and pushed again meanwhile: a list is what its head names.
    } while (!works.compare_exchange(head, index, std::memory_order_acq_rel));
    return true;
}

void set_event_descriptor_hooks(const EventDescriptorHooks& hooks) noexcept {
    descriptor_hooks = hooks;
}

void raise_event_descriptor(Task& task) noexcept {
    if (descriptor_hooks.raise != nullptr && descriptor_hooks.raise(task)) {
        // After it: whoever lowers it has seen this, so it does not stay readable.
        task.attention.fetch_or(kAttentionReadable, std::memory_order_seq_cst);
    }
}

void free_hook(Task& task) noexcept {
    if (descriptor_hooks.freed != nullptr) {
        descriptor_hooks.freed(task);
    }
}

namespace {

/// Sends the signal, for `self` if it is a task.
bool send_signal(Task* self, Task& target) noexcept {
    if (self != nullptr) {
        self->statistics.notifications.increment();
    }
    return platform::notify_thread(target.pid, target.tid) == 0;
}

void notify_safe_point(Task* self, Task& target, Notify mode) noexcept {
    const std::uint32_t told = mode == Notify::signal ? kAttentionSignal : kAttentionResume;
    const std::uint32_t before = target.attention.fetch_or(told, std::memory_order_seq_cst);
    if ((before & (kAttentionSignal | kAttentionResume)) == 0) {
        raise_event_descriptor(target);
    }
    if (mode == Notify::signal && (before & kAttentionSignal) == 0 && self != &target &&
        !send_signal(self, target)) {
        target.attention.fetch_and(~kAttentionSignal, std::memory_order_seq_cst);
    }
}

}  // namespace

void notify(Task& target, Notify mode, List list) noexcept {
    notify(current(), target, mode, list);
}

void detail::notify_other(Task* self, Task& target, Notify mode, List list) noexcept {
    if (list == List::safe_point) {
        notify_safe_point(self, target, mode);
        return;
    }
    const std::uint32_t told = mode == Notify::signal ? kToldSignal : kToldResume;
    std::uint32_t before = target.pending.load(std::memory_order_seq_cst);
    do {
        if (before >= told) {
            return;  // Somebody has, at least as loudly, and the target has not looked since.
        }
    } while (!target.pending.compare_exchange(before, told, std::memory_order_seq_cst));
    if (mode == Notify::resume) {
        kick_if_needed(target);
        if (before == kToldNothing) {
            raise_event_descriptor(target);
        }
        return;
    }
    if (sync::DeferralQueue::is_quiet()) {
        sync::DeferralQueue::get().queue(target.kick_item);  // The worker sends it for us.
        return;
    }
    if (!send_signal(self, target)) {
        // Not told after all; the next pusher tries again (a flag left set would silence it).
        std::uint32_t mine = told;
        target.pending.compare_exchange(mine, kToldNothing, std::memory_order_seq_cst);
    }
}

bool on_signal(int, siginfo_t* info, void* ucontext) noexcept {
    const bool notification =
        info->si_code == SI_QUEUE &&
        reinterpret_cast<std::uint64_t>(info->si_value.sival_ptr) == sync::notify_mark;
    Task* task = sync::Arena::present() ? current() : nullptr;
    if (task == nullptr) {
        return notification;
    }
    const int saved_errno = errno;
    const Interrupted interrupted = interrupted_by(*task, ucontext);
    const bool event = event_test != nullptr && event_test(*task, *info);
    if (event) {
        const NmiScope scope(*task, interrupted.stack_pointer, interrupted.on_alternate_stack,
                             interrupted.room);
        if (scope.entered() && !interrupted.room) {
            task->statistics.events_no_stack.increment();
        }
        event_hook(*task, *info, ucontext,
                   !scope.entered()   ? Dropped::nested
                   : interrupted.room ? Dropped::no
                                      : Dropped::no_stack);
    } else {
        if (!interrupted.on_alternate_stack) {
            recover(*task, interrupted.stack_pointer);
        }
        if (interrupted.room) {
            drain(*task);
        } else {
            put_off(*task);
        }
    }
    errno = saved_errno;
    return event || notification;
}

namespace {

/// True: there may be more.
bool compact_list(Task& task, List list) noexcept {
    constexpr unsigned kBatch = 256;
    // Nodes that are taken and pushed again meanwhile may lead the walk onto other lists, and from
    // there on and on. The next canceller asks again.
    constexpr unsigned kStepsMax = 1U << 20;
    WorkNode* gone[kBatch];
    unsigned count = 0;
    Task* worker = current();
    TW_ASSERT(worker != nullptr, "the worker is a task of the host");
    {
        const ReadSection brief(*worker, sync::Flavour::brief);
        const std::uint64_t head = task.head(list).load(std::memory_order_acquire);
        WorkNode* before =
            head == kListClosed ? nullptr : node_at(static_cast<std::uint32_t>(head));
        for (unsigned step = 0; before != nullptr && count < kBatch && step < kStepsMax; ++step) {
            Link link{before->next.load(std::memory_order_acquire)};
            WorkNode* node = node_at(link.next());
            if (node == nullptr || link.claimed()) {
                break;  // The end, or the target is taking the list.
            }
            Link husk{node->next.load(std::memory_order_acquire)};
            if (!ops.is_husk(*node)) {
                before = node;
                continue;
            }
            // A link never returns to an old value within a round: that of `before` unchanged, the
            // node was its successor all the time, and `husk` is of this push. Else the node may
            // be on another list by now.
            if (husk.claimed() || before->next.load(std::memory_order_acquire) != link.bits ||
                !node->next.compare_exchange(husk.bits, husk.as_claimed().bits,
                                             std::memory_order_acq_rel)) {
                break;
            }
            // Fails only if the target is claiming `before` now; its pass then meets our claim and
            // leaves the node to us.
            const bool unlinked = before->next.compare_exchange(
                link.bits, link.with_next(husk.next()).bits, std::memory_order_acq_rel);
            gone[count++] = node;
            if (!unlinked) {
                break;
            }
        }
    }
    for (unsigned index = 0; index < count; ++index) {
        ops.drop(*gone[index]);
    }
    return count == kBatch;
}

}  // namespace

void compact(Task& task) noexcept {
    bool more = false;
    for (const List list : {List::anywhere, List::safe_point}) {
        more = compact_list(task, list) || more;
    }
    if (more) {
        sync::DeferralQueue::get().queue(task.compact_item);
    }
}

}  // namespace taskwork::task
