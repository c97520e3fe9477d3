// SPDX-License-Identifier: Apache-2.0
//
// What a death leaves of works, and what works hold on to. Everything is read off the words of the
// contexts; every step may be repeated (DESIGN.md, section 4).
#include "base/assert.hpp"
#include "defer/context.hpp"
#include "defer/transition.hpp"
#include "sync/arena.hpp"
#include "task/lists.hpp"
#include "task/worker.hpp"

namespace taskwork::defer {

namespace {

using sync::Pool;
using sync::Word;
using task::Task;

template <class Function>
void for_each_context(Function function) noexcept {
    Pool& pool = WorkTable::get().contexts;
    for (std::uint32_t index = 0; index < pool.count(); ++index) {
        auto& context = *static_cast<WorkContext*>(pool.at(index));
        const Word word = Pool::load(&context);
        if (word.state() != sync::kStateFree) {
            function(context, word);
        }
    }
}

bool is_dead(const Task& target) noexcept {
    return target.works.load(std::memory_order_acquire) == task::kListClosed &&
           Pool::load(&target).state() != task::kTaskAlive;
}

enum class Pushed { yes, no, undecided };

/// Whether the scheduled work of a dead scheduler ever came onto its target's list (DESIGN.md,
/// section 6).
Pushed was_pushed(const WorkContext& context, std::uint32_t round) noexcept {
    const Task& target = *context.target.load(std::memory_order_relaxed);
    const std::uint32_t before = target.take_sequence.load(std::memory_order_seq_cst);
    if (before % 2 != 0) {
        return Pushed::undecided;
    }
    const auto taken = [&] {
        const task::Link link{context.next.load(std::memory_order_acquire)};
        return link.claimed() && link.round() == (round & 0x7fffffffU);
    };
    const std::uint32_t wanted = sync::arena_index(&context);
    const std::uint64_t head = target.head(context.list.get()).load(std::memory_order_seq_cst);
    // The walk may wander onto other lists when nodes move meanwhile; then the sequence has
    // changed. The bound is the number of contexts there are.
    std::uint32_t steps = WorkTable::get().contexts.count();
    for (auto index = head == task::kListClosed ? 0 : static_cast<std::uint32_t>(head);
         index != 0 && steps != 0; --steps) {
        if (index == wanted) {
            return Pushed::yes;
        }
        const auto* node = sync::arena_object<task::WorkNode>(index);
        index = task::Link{node->next.load(std::memory_order_acquire)}.next();
    }
    if (taken()) {
        return Pushed::yes;
    }
    return target.take_sequence.load(std::memory_order_seq_cst) == before ? Pushed::no
                                                                          : Pushed::undecided;
}

/// Ends the round of a context whose target will never run it.
void drop_round(WorkContext& context, Word word) noexcept {
    const std::uint32_t round = word.round();
    while (word.round() == round &&
           (state_of(word) == WorkState::scheduled || state_of(word) == WorkState::running)) {
        // Taken first, so that the count is ours alone to raise.
        if (state_of(word) == WorkState::scheduled) {
            const Word mine = word.with_state(static_cast<std::uint8_t>(WorkState::running));
            if (!Pool::transition(&context, word, mine)) {
                continue;
            }
            word = mine;
        }
        if (!context.ran.raised_in(round)) {
            context.dropped.raise(round);
            note(context, round, Transition::dropped);
        }
        if (Pool::transition(&context, word,
                             word.with_state(static_cast<std::uint8_t>(WorkState::standby))
                                 .with_flags(kFlagSlot))) {
            return;
        }
    }
    if (word.round() == round && state_of(word) == WorkState::freed) {
        if ((word.flags() & kFlagFromRunning) != 0 && !context.ran.raised_in(round)) {
            context.dropped.raise(round);
        }
        put_node(context, round);
    }
}

/// Ends the round of a scheduler that died before its work came to a list.
void undo_round(WorkContext& context, Word word) noexcept {
    const std::uint32_t round = word.round();
    while (word.round() == round && is_in_flight(word) && state_of(word) != WorkState::running) {
        if (state_of(word) == WorkState::scheduled) {
            // Out of the canceller's "scheduled" first, as a live scheduler would.
            Pool::transition(&context, word,
                             word.with_state(static_cast<std::uint8_t>(WorkState::scheduling)));
            word = Pool::load(&context);
            continue;
        }
        context.refused.raise(round);
        if (Pool::transition(&context, word,
                             word.with_state(static_cast<std::uint8_t>(WorkState::standby))
                                 .with_flags(kFlagSlot))) {
            return;
        }
    }
    if (word.round() == round && state_of(word) == WorkState::freed) {
        if ((word.flags() & (kFlagFromScheduled | kFlagFromRunning)) == 0) {
            context.refused.raise(round);
        }
        put_node(context, round);
    }
}

/// A publication in progress by a dead scheduler: it is in its slot, or nobody knows it.
void finish_attaching(WorkContext& context, Word word) noexcept {
    Slot* slot = context.slot.load(std::memory_order_acquire);
    if (slot != nullptr &&
        slot->word.load(std::memory_order_acquire) == reinterpret_cast<std::uint64_t>(&context)) {
        Pool::transition(
            &context, word,
            word.with_state(static_cast<std::uint8_t>(WorkState::standby)).with_flags(kFlagSlot));
    } else {
        WorkTable::get().contexts.retire(&context);
    }
}

/// Returns false where the answer must wait for another thread's bounded step.
bool sweep_context(WorkContext& context, Word word, std::uint16_t owner) noexcept {
    if (word.state() == kStateAttaching) {
        if (word.owner() == owner) {
            finish_attaching(context, word);
        }
        return true;
    }
    // Detached from its slot by a canceller that died in between (or by one that is about to come
    // to it: the step is idempotent).
    if ((word.flags() & kFlagSlot) != 0) {
        const Slot* slot = context.slot.load(std::memory_order_acquire);
        if (slot != nullptr && slot->word.load(std::memory_order_acquire) !=
                                   reinterpret_cast<std::uint64_t>(&context)) {
            detach(context);
            word = Pool::load(&context);
        }
    }
    const WorkState state = state_of(word);
    if (state == WorkState::freed && (word.flags() & kFlagNode) == 0) {
        WorkTable::get().contexts.retire(&context);
        return true;
    }
    const bool early = state == WorkState::pending || state == WorkState::scheduling ||
                       (state == WorkState::freed &&
                        (word.flags() & (kFlagFromScheduled | kFlagFromRunning)) == 0);
    if (early) {
        if (word.owner() == owner && (word.flags() & kFlagNode) != 0) {
            undo_round(context, word);
        }
        return true;
    }
    if ((word.flags() & kFlagNode) == 0) {
        return true;
    }
    Task* target = context.target.load(std::memory_order_acquire);
    if (is_dead(*target)) {
        drop_round(context, word);
        return true;
    }
    const bool running = state == WorkState::running || (word.flags() & kFlagFromRunning) != 0;
    if (word.owner() != owner || running) {
        return true;
    }
    switch (was_pushed(context, word.round())) {
    case Pushed::yes:
        // The dead may have come no further than the push.
        if (state == WorkState::scheduled) {
            task::notify(*target, context.mode.get());
        }
        return true;
    case Pushed::undecided:
        return false;
    case Pushed::no:
        break;
    }
    undo_round(context, word);
    return true;
}

}  // namespace

bool sweep(std::uint16_t owner) noexcept {
    Task* self = task::current();
    TW_ASSERT(self != nullptr, "the worker is a task of the host");
    const task::ReadSection brief(*self, sync::Flavour::brief);
    bool done = true;
    for_each_context([&](WorkContext& context, Word word) {
        if (word.state() != sync::kStateRetired) {
            done = sweep_context(context, word, owner) && done;
        }
    });
    return done;
}

WorkCounts counts_of(const WorkContext& context) noexcept {
    WorkCounts counts;
    const Word word = Pool::load(&context);
    const std::uint32_t attempts =
        word.round() - context.first_round.load(std::memory_order_relaxed);
    const WorkState state = word.state() == sync::kStateRetired ? WorkState::freed : state_of(word);
    const bool undecided = state == WorkState::pending || state == WorkState::scheduling;
    counts.scheduled = attempts - context.refused.count() - (undecided ? 1 : 0);
    counts.ran = context.ran.count();
    counts.dropped = context.dropped.count();
    const bool cancelled = state == WorkState::freed && (word.flags() & kFlagFromScheduled) != 0;
    counts.cancelled = cancelled ? 1 : 0;
    const bool in_callback = state == WorkState::running ||
                             (state == WorkState::freed && (word.flags() & kFlagFromRunning) != 0);
    if (state == WorkState::scheduled || (in_callback && !context.ran.raised_in(word.round()) &&
                                          !context.dropped.raised_in(word.round()))) {
        counts.in_flight = 1;
    }
    return counts;
}

void fold_and_release(WorkContext& context) noexcept {
    WorkTable& table = WorkTable::get();
    // A sequence lock against counts(): the worker is the only one who folds.
    table.folds.fetch_add(1, std::memory_order_seq_cst);
    WorkTotals* owner = context.totals.exchange(nullptr, std::memory_order_acq_rel);
    const WorkCounts ended = counts_of(context);
    for (WorkTotals* totals : {owner, &table.domain}) {
        if (totals != nullptr) {
            totals->scheduled.fetch_add(ended.scheduled, std::memory_order_relaxed);
            totals->ran.fetch_add(ended.ran, std::memory_order_relaxed);
            totals->cancelled.fetch_add(ended.cancelled, std::memory_order_relaxed);
            totals->dropped.fetch_add(ended.dropped, std::memory_order_relaxed);
        }
    }
    begin_life(context, Pool::load(&context).round() + 1);
    table.contexts.release(&context);
    table.folds.fetch_add(1, std::memory_order_seq_cst);
}

void forget_totals(const WorkTotals& totals) noexcept {
    for_each_context([&](WorkContext& context, Word) {
        WorkTotals* held = context.totals.load(std::memory_order_relaxed);
        if (held == &totals) {
            context.totals.compare_exchange(held, nullptr, std::memory_order_acq_rel);
        }
    });
}

bool references_program(const void* program) noexcept {
    bool found = false;
    for_each_context([&](const WorkContext& context, Word word) {
        found = found ||
                (is_in_flight(word) && context.program.load(std::memory_order_relaxed) == program);
    });
    return found;
}

bool references_map(const void* map) noexcept {
    bool found = false;
    for_each_context([&](const WorkContext& context, Word word) {
        found = found || (is_in_flight(word) && context.map.load(std::memory_order_relaxed) == map);
    });
    return found;
}

namespace {

WorkCounts counts_now(const WorkTotals& totals) noexcept {
    WorkCounts sum;
    sum.scheduled = totals.scheduled.load(std::memory_order_relaxed);
    sum.ran = totals.ran.load(std::memory_order_relaxed);
    sum.cancelled = totals.cancelled.load(std::memory_order_relaxed);
    sum.dropped = totals.dropped.load(std::memory_order_relaxed);
    const bool domain = &totals == &WorkTable::get().domain;
    for_each_context([&](const WorkContext& context, Word word) {
        if (word.state() == kStateAttaching) {
            return;
        }
        if (domain || context.totals.load(std::memory_order_relaxed) == &totals) {
            const WorkCounts one = counts_of(context);
            sum.scheduled += one.scheduled;
            sum.ran += one.ran;
            sum.cancelled += one.cancelled;
            sum.dropped += one.dropped;
            sum.in_flight += one.in_flight;
        }
    });
    return sum;
}

}  // namespace

WorkCounts counts(const WorkTotals& totals) noexcept {
    const WorkTable& table = WorkTable::get();
    // The worker folds in short steps; a look that met one is taken again.
    constexpr unsigned kLooksMax = 1000;
    WorkCounts sum;
    for (unsigned look = 0; look < kLooksMax; ++look) {
        const std::uint32_t before = table.folds.load(std::memory_order_seq_cst);
        sum = counts_now(totals);
        if (before % 2 == 0 && table.folds.load(std::memory_order_seq_cst) == before) {
            break;
        }
    }
    return sum;
}

}  // namespace taskwork::defer
