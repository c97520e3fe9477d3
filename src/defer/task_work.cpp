// SPDX-License-Identifier: Apache-2.0
#include "defer/task_work.hpp"

#include <array>
#include <cstring>
#include <new>

#include "base/assert.hpp"
#include "defer/context.hpp"
#include "defer/transition.hpp"
#include "sync/arena.hpp"
#include "sync/deferral.hpp"
#include "task/worker.hpp"

namespace taskwork::defer {

namespace {

using sync::Pool;
using sync::Word;
using task::Task;

/// Cancelled nodes that a sleeping target's list may carry before the worker unlinks them.
constexpr std::int32_t kHusksMax = 64;

std::array<CallbackRunner, kCallbackKinds> runners{};
CallableRunner callable_runner = nullptr;

constexpr std::uint8_t raw(WorkState state) { return static_cast<std::uint8_t>(state); }

/// A round that never came to a list ends: back to standby, or, if it was cancelled meanwhile, the
/// promised node is let go. `refused` counts it out of the scheduled ones.
void undo(WorkContext& context, std::uint32_t round) noexcept {
    Word word = Pool::load(&context);
    context.refused.raise(round);
    note(context, round, Transition::refused);
    while (word.round() == round &&
           (state_of(word) == WorkState::pending || state_of(word) == WorkState::scheduling)) {
        if (Pool::transition(&context, word,
                             word.with_state(raw(WorkState::standby)).with_flags(kFlagSlot))) {
            return;
        }
    }
    if (word.round() == round && state_of(word) == WorkState::freed) {
        put_node(context, round);
    }
}

/// Finds or publishes the context of a slot. On success its slot flag is set.
WorkContext* acquire(Slot& slot, WorkTotals* totals, sync::Claimant by, std::errc& error) noexcept {
    std::uint64_t seen = slot.word.load(std::memory_order_acquire);
    if (seen == 0) {
        auto* fresh =
            static_cast<WorkContext*>(WorkTable::get().contexts.claim(by, kStateAttaching));
        if (fresh == nullptr) {
            error = std::errc::not_enough_memory;
            return nullptr;
        }
        fresh->slot.store(&slot, std::memory_order_relaxed);
        fresh->totals.store(totals, std::memory_order_relaxed);
        begin_life(*fresh, Pool::load(fresh).round());
        // Release: pairs with the acquire load above; the loser takes its own back (R1). seq_cst,
        // as the look at the user count that follows: pairs with the load in take_from(), which
        // follows the drop of the count. One of the two sees the other (R13).
        if (slot.word.compare_exchange(seen, reinterpret_cast<std::uint64_t>(fresh),
                                       std::memory_order_seq_cst)) {
            seen = reinterpret_cast<std::uint64_t>(fresh);
        } else {
            begin_life(*fresh, Pool::load(fresh).round() + 1);
            WorkTable::get().contexts.release(fresh);
        }
    }
    if (seen == kSlotDead) {
        error = std::errc::no_such_file_or_directory;
        return nullptr;
    }
    if (seen == 0) {
        error = std::errc::device_or_resource_busy;  // Published and detached under our eyes.
        return nullptr;
    }
    auto* context = reinterpret_cast<WorkContext*>(seen);
    Word word = Pool::load(context);
    if (word.state() == kStateAttaching) {
        Pool::transition(context, word,
                         word.with_state(raw(WorkState::standby)).with_flags(kFlagSlot));
    }
    return context;
}

/// standby -> pending: the one step that decides who schedules (T1). `again`: the caller is in the
/// callback of that round, running -> pending of the next. `begun` is the word that it left.
[[gnu::always_inline]] inline bool begin(WorkContext& context, std::uint16_t owner, Word& begun,
                                         std::uint32_t again = 0) noexcept {
    Word word = Pool::load(&context);
    if (again != 0 && state_of(word) == WorkState::running && word.round() == again) {
        // The state is ours while the callback runs. Repeated by run() if a canceller is faster.
        context.ran.raise(word.round());
    } else if (state_of(word) != WorkState::standby) {
        return false;
    }
    begun = Word::make(word.round() + 1, owner, kFlagSlot | kFlagNode, raw(WorkState::pending));
    if (!Pool::transition(&context, word, begun)) {
        return false;
    }
    note(context, begun.round(), Transition::pending);
    return true;
}

/// Why a round was lost to a canceller.
std::errc lost(const Slot& slot) noexcept {
    return slot.word.load(std::memory_order_acquire) == kSlotDead
               ? std::errc::no_such_file_or_directory
               : std::errc::device_or_resource_busy;
}

/// The list was closed: scheduled -> scheduling -> standby. If a canceller or a sweep was faster,
/// the round ended as cancelled or dropped after it had been scheduled, and the caller is told 0.
[[gnu::cold]] std::errc take_back(WorkContext& context, Word scheduled) noexcept {
    const std::uint32_t round = scheduled.round();
    Word word = scheduled;
    if (Pool::transition(&context, word, scheduled.with_state(raw(WorkState::scheduling)))) {
        undo(context, round);
        return std::errc::no_such_process;
    }
    if (word.round() == round && state_of(word) == WorkState::freed) {
        put_node(context, round);
    }
    return no_error;
}

void write_payload(WorkContext& context, const Callback& callback) noexcept {
    context.program.store(callback.program, std::memory_order_relaxed);
    context.map.store(callback.map, std::memory_order_relaxed);
    context.value.set(callback.value);
    context.kind.set(callback.kind);
    context.entry.set(callback.entry);
}

[[gnu::always_inline]] inline void write_payload(WorkContext& context,
                                                 const Callable& callable) noexcept {
    context.program.store(callable.function, std::memory_order_relaxed);
    context.kind.set(kCallbackCallable);
    if (callable.size == sizeof(void*)) {  // Most are a pointer.
        std::memcpy(context.callable, callable.bytes, sizeof(void*));
    } else {
        std::memcpy(context.callable, callable.bytes, callable.size);
    }
}

/// What follows the claim, which left the word `begun`: payload, pending -> scheduled, push,
/// notify. `cancelled`: a canceller was faster.
template <class What>
[[gnu::always_inline]] inline std::errc deliver(Task& self, WorkContext& context, Word begun,
                                                const Delivery& delivery, const What& what,
                                                bool& cancelled) noexcept {
    const std::uint32_t round = begun.round();
    context.target.store(delivery.target, std::memory_order_relaxed);
    write_payload(context, what);
    context.mode.set(delivery.mode);
    context.list.set(delivery.list);
    context.scheduled_ns.set(delivery.timed ? platform::now_ns() : 0);
    // Noted while it is still ours: after the step a canceller or the target may be faster.
    note(context, round, Transition::scheduled);
    const Word scheduled = begun.with_state(raw(WorkState::scheduled));
    if (!Pool::transition(&context, begun, scheduled)) {
        undo(context, round);
        cancelled = true;
        return std::errc::device_or_resource_busy;
    }
    // From here on the context belongs to its target or its canceller.
    if (!task::push(*delivery.target, context, round, delivery.list)) {
        return take_back(context, scheduled);
    }
    task::notify(&self, *delivery.target, delivery.mode, delivery.list);
    return no_error;
}

std::errc schedule_in_section(Task& self, Slot& slot, const ScheduleRequest& request) noexcept {
    const task::ReadSection brief(self, sync::Flavour::brief);
    std::errc error = no_error;
    WorkContext* context = acquire(slot, request.totals, {self.process, self.lane}, error);
    if (context == nullptr) {
        return error;
    }
    Word begun;
    if (!begin(*context, self.process, begun)) {
        return lost(slot);
    }
    // Asked after the claim: a last user reference dropped earlier is seen here, one dropped later
    // sees the published context (K11, R13, R14). seq_cst pairs with the drop.
    if (request.user_count != nullptr && request.user_count->load(std::memory_order_seq_cst) == 0) {
        undo(*context, begun.round());
        cancel(slot);
        return std::errc::device_or_resource_busy;
    }
    bool cancelled = false;
    error = deliver(self, *context, begun, request, request.callback, cancelled);
    return cancelled ? lost(slot) : error;
}

/// Lets go of a context whose last reference went; inside a brief section, so that nobody can have
/// it released and claimed again before this has returned.
void retire_if_unreferenced(WorkContext& context, Word now) noexcept {
    if (state_of(now) == WorkState::freed && (now.flags() & (kFlagSlot | kFlagNode)) == 0) {
        WorkTable::get().contexts.retire(&context);
    }
}

[[gnu::always_inline]] inline void run_callback(Task& self, const WorkContext& context) noexcept {
    if (context.kind.get() == kCallbackCallable) {
        callable_runner(self, context);
        return;
    }
    const Callback callback{context.kind.get(), context.entry.get(),
                            context.program.load(std::memory_order_relaxed),
                            context.map.load(std::memory_order_relaxed), context.value.get()};
    if (callback.kind < runners.size() && runners[callback.kind] != nullptr) {
        runners[callback.kind](self, callback);
    }
}

[[gnu::always_inline]] inline void run_context(Task& self, WorkContext& context) noexcept {
    Word word = Pool::load(&context);
    const std::uint32_t round = word.round();
    if (state_of(word) == WorkState::scheduled) {
        const Word running = word.with_state(raw(WorkState::running)).with_owner(self.process);
        if (Pool::transition(&context, word, running)) {
            if (const std::uint64_t scheduled = context.scheduled_ns.get(); scheduled != 0) {
                const std::uint64_t now = platform::now_ns();
                if (now > scheduled) {
                    self.latency.record(now - scheduled);
                }
            }
            note(context, round, Transition::running);
            run_callback(self, context);
            note(context, round, Transition::ran);
            if (Pool::load(&context).round() != round) {
                return;  // It has scheduled itself again: the context is no longer ours.
            }
            context.ran.raise(round);
            word = running;
            if (Pool::transition(&context, word,
                                 word.with_state(raw(WorkState::standby)).with_flags(kFlagSlot))) {
                return;
            }
            // Detached while it ran: the reference of the list is the last (K36).
            const task::ReadSection brief(self, sync::Flavour::brief);
            put_node(context, round);
            return;
        }
    }
    // A husk.
    const task::ReadSection brief(self, sync::Flavour::brief);
    self.husks.fetch_sub(1, std::memory_order_relaxed);
    put_node(context, round);
}

/// The drainer has claimed the node.
void run(Task& self, task::WorkNode& node) noexcept {
    WorkContext& context = context_of(node);
    if (context.kind.get() == kCallbackCallable) {
        run_context(self, context);  // It lies in the context, and may block for ever.
        return;
    }
    // Opened before `running` is set: a canceller either finds the work not running, or a grace
    // period that it starts waits for the callback and what its value lies in (K51, K99).
    const task::ReadSection sleepable(self, sync::Flavour::sleepable);
    run_context(self, context);
}

bool is_husk(const task::WorkNode& node) noexcept {
    const Word word = Pool::load(&context_of(node));
    return state_of(word) == WorkState::freed;
}

void drop(task::WorkNode& node) noexcept {
    WorkContext& context = context_of(node);
    Task* self = task::current();
    const task::ReadSection brief(*self, sync::Flavour::brief);
    if (Task* target = context.target.load(std::memory_order_relaxed); target != nullptr) {
        target->husks.fetch_sub(1, std::memory_order_relaxed);
    }
    put_node(context, Pool::load(&context).round());
}

/// The worker has waited out the grace period.
TW_NOT_NMI void finish(sync::Pool&, void* object) noexcept {
    fold_and_release(*static_cast<WorkContext*>(object));
}

/// Empties the slot, leaving `left` in it, and detaches what was there. A slot marked dead stays
/// so.
void take_from(Slot& slot, std::uint64_t left) noexcept {
    std::uint64_t seen = slot.word.load(std::memory_order_seq_cst);
    if (seen == left || seen == kSlotDead ||
        (seen == 0 && slot.word.compare_exchange(seen, left, std::memory_order_acq_rel))) {
        return;
    }
    Task* self = task::current();
    if (self == nullptr) {
        // The process is leaving the domain under us: the sweep that follows detaches whatever its
        // slot no longer names.
        while (seen != left && seen != kSlotDead &&
               !slot.word.compare_exchange(seen, left, std::memory_order_acq_rel)) {
        }
        return;
    }
    const task::Section section(self);
    // Opened before the exchange: from then on a sweep may finish our work and retire the context.
    const task::ReadSection brief(*self, sync::Flavour::brief);
    // Each retry is the success of another, who has published or taken.
    while (seen != left && seen != kSlotDead) {
        if (slot.word.compare_exchange(seen, left, std::memory_order_acq_rel)) {
            if (seen != 0) {
                detach(*reinterpret_cast<WorkContext*>(seen));
            }
            return;
        }
    }
}

}  // namespace

void put_node(WorkContext& context, std::uint32_t round) noexcept {
    Word word = Pool::load(&context);
    while (word.round() == round && state_of(word) == WorkState::freed &&
           (word.flags() & kFlagNode) != 0) {
        const Word without = word.with_flags(static_cast<std::uint8_t>(word.flags() & ~kFlagNode));
        if (Pool::transition(&context, word, without)) {
            retire_if_unreferenced(context, without);
            return;
        }
    }
}

WorkState detach(WorkContext& context, bool unless_running, std::uint32_t* round) noexcept {
    Word word = Pool::load(&context);
    for (;;) {
        const bool attached = word.state() == kStateAttaching || (word.flags() & kFlagSlot) != 0;
        if (word.state() < sync::kStateUser || state_of(word) == WorkState::freed || !attached) {
            return WorkState::freed;
        }
        if (unless_running && state_of(word) == WorkState::running) {
            return WorkState::running;
        }
        std::uint8_t flags = word.flags() & kFlagNode;
        Task* target = nullptr;
        if (state_of(word) == WorkState::scheduled) {
            flags |= kFlagFromScheduled;
            target = context.target.load(std::memory_order_relaxed);
        } else if (state_of(word) == WorkState::running) {
            flags |= kFlagFromRunning;
        }
        // The owner stays: in pending and scheduling the scheduler still holds the node's
        // reference.
        const Word freed = word.with_state(raw(WorkState::freed)).with_flags(flags);
        if (!Pool::transition(&context, word, freed)) {
            continue;
        }
        if (target != nullptr &&
            // Signed: a canceller that died before it counted leaves it one lower.
            static_cast<std::int32_t>(target->husks.fetch_add(1, std::memory_order_relaxed) + 1) >=
                kHusksMax) {
            sync::DeferralQueue::get().queue(target->compact_item);
        }
        if (target != nullptr) {
            note(context, word.round(), Transition::cancelled);
        }
        const auto found = word.state() == kStateAttaching ? WorkState::standby : state_of(word);
        if (round != nullptr) {
            *round = word.round();
        }
        retire_if_unreferenced(context, freed);
        return found;
    }
}

bool runs_detached(const WorkContext& context, std::uint32_t round) noexcept {
    constexpr std::uint8_t kUnended = kFlagFromRunning | kFlagNode;
    const Word word = Pool::load(&context);
    return word.round() == round && state_of(word) == WorkState::freed &&
           (word.flags() & kUnended) == kUnended;
}

WorkContext* claim_context(sync::Claimant by) noexcept {
    auto* context = static_cast<WorkContext*>(WorkTable::get().contexts.claim(by, kStateAttaching));
    if (context == nullptr) {
        return nullptr;
    }
    context->slot.store(nullptr, std::memory_order_relaxed);
    context->totals.store(nullptr, std::memory_order_relaxed);
    context->map.store(nullptr, std::memory_order_relaxed);  // A callable has none.
    Word word = Pool::load(context);
    begin_life(*context, word.round());
    // Nobody else moves it: the process that claimed it is the only one there is.
    Pool::transition(context, word, word.with_state(raw(WorkState::standby)).with_flags(kFlagSlot));
    return context;
}

void unclaim_context(WorkContext& context) noexcept {
    begin_life(context, Pool::load(&context).round() + 1);
    WorkTable::get().contexts.release(&context);
}

namespace {

template <class What>
[[gnu::always_inline]] inline std::errc schedule_handle(Task& self, WorkContext& context,
                                                        const Delivery& delivery, const What& what,
                                                        std::uint32_t again) noexcept {
    if (sync::Arena::header().closed.load(std::memory_order_relaxed) != 0) {
        return std::errc::no_such_process;
    }
    Word begun;
    if (!begin(context, self.process, begun, again)) {
        return std::errc::device_or_resource_busy;
    }
    bool cancelled = false;
    return deliver(self, context, begun, delivery, what, cancelled);
}

}  // namespace

std::errc schedule(Task& self, WorkContext& context, const ScheduleRequest& request,
                   std::uint32_t again) noexcept {
    return schedule_handle(self, context, request, request.callback, again);
}

std::errc schedule(Task& self, WorkContext& context, const Delivery& delivery,
                   const Callable& callable, std::uint32_t again) noexcept {
    return schedule_handle(self, context, delivery, callable, again);
}

std::size_t WorkTable::bytes(std::uint32_t contexts_max) noexcept {
    return sizeof(WorkTable) + Pool::bytes(contexts_max, sizeof(WorkContext));
}

std::errc WorkTable::create(std::uint32_t contexts_max) noexcept {
    std::errc why{};
    void* memory = sync::Arena::allocate(sizeof(WorkTable), 64, &why);
    void* contexts =
        sync::Arena::allocate(Pool::bytes(contexts_max, sizeof(WorkContext)), 64, &why);
    if (memory == nullptr || contexts == nullptr) {
        return why;
    }
    auto* table = new (memory) WorkTable;
    table->contexts.init(contexts, contexts_max, sizeof(WorkContext),
                         task::Worker::adopt_pool(table->contexts, finish, true));
    for (std::uint32_t index = 0; index < contexts_max; ++index) {
        begin_life(*static_cast<WorkContext*>(table->contexts.at(index)), 1);
    }
    sync::Arena::set_root(sync::Root::works, table);
    task::Worker::add_sweeper(sweep);
    join();
    return no_error;
}

void WorkTable::join() noexcept { task::set_work_ops({run, is_husk, drop}); }

WorkTable& WorkTable::get() noexcept { return *sync::Arena::root<WorkTable>(sync::Root::works); }

void set_callback_runner(std::uint32_t kind, CallbackRunner runner) noexcept {
    TW_ASSERT(kind < runners.size(), "a callback kind is one of kCallbackKinds");
    runners[kind] = runner;
}

void set_callable_runner(CallableRunner runner) noexcept { callable_runner = runner; }

std::errc schedule(Slot& slot, const ScheduleRequest& request) noexcept {
    Task* self = task::current();
    if (self == nullptr || request.target == nullptr ||
        sync::Arena::header().closed.load(std::memory_order_relaxed) != 0) {
        return std::errc::no_such_process;
    }
    const task::Section section(self);
    return schedule_in_section(*self, slot, request);
}

void cancel(Slot& slot) noexcept { take_from(slot, 0); }

void cancel_dead(Slot& slot) noexcept { take_from(slot, kSlotDead); }

void reset(Slot& slot) noexcept {
    take_from(slot, 0);
    slot.word.store(0, std::memory_order_release);
}

}  // namespace taskwork::defer
