// SPDX-License-Identifier: Apache-2.0
#include "task/domain.hpp"

#include "sync/grace.hpp"
#include "task/life.hpp"
#include "task/reclaim.hpp"
#include "task/run_point.hpp"
#include "task/worker.hpp"

namespace taskwork::task {

namespace {

bool any_reader_open(sync::Flavour flavour, std::uint64_t epoch) noexcept {
    TaskTable& table = TaskTable::get();
    for (std::uint32_t index = 0; index < table.tasks.count(); ++index) {
        if (table.task_at(index).readers[static_cast<unsigned>(flavour)].is_open_since(epoch)) {
            return true;
        }
    }
    return false;
}

Task& task_of(std::uint64_t address) noexcept { return *reinterpret_cast<Task*>(address); }

TW_TASK_ONLY void set_handlers() noexcept {
    using Queue = sync::DeferralQueue;
    using Kind = sync::DeferralKind;
    // The worker calls them.
    Queue::set_handler(Kind::pool_retired, [](std::uint64_t address) {
        assume_not_nmi();
        Reclaim::get().collect(reinterpret_cast<const sync::Pool*>(address));
    });
    Queue::set_handler(Kind::process_joined, [](std::uint64_t index) {
        assume_not_nmi();
        Life::get().process_joined(static_cast<std::uint16_t>(index));
    });
    Queue::set_handler(Kind::task_born, [](std::uint64_t address) {
        assume_not_nmi();
        Life::get().task_born(task_of(address));
    });
    Queue::set_handler(Kind::task_exited, [](std::uint64_t address) {
        assume_not_nmi();
        Life::get().task_exited(task_of(address));
    });
    Queue::set_handler(Kind::task_kick, [](std::uint64_t address) {
        assume_not_nmi();
        Life::get().task_kicked(task_of(address));
    });
    Queue::set_handler(Kind::task_compact, [](std::uint64_t address) {
        assume_not_nmi();
        compact(task_of(address));
    });
}

}  // namespace

std::errc create_domain(const DomainLimits& limits) noexcept {
    std::errc why = sync::GracePeriods::create();
    if (why == no_error) {
        why = sync::DeferralQueue::create(limits.items);
    }
    if (why == no_error) {
        why = TaskTable::create(limits.tasks, limits.processes);
    }
    if (why != no_error) {
        return why;
    }
    sync::GracePeriods::set_reader_walk(any_reader_open);
    set_handlers();
    return no_error;
}

void run_round(bool thorough) {
    sync::DeferralQueue::get().run_pending();
    Life& life = Life::get();
    life.look_for_deaths();
    life.sweep_dying();
    if (thorough) {
        Reclaim::get().recall();
        life.look_for_vanished();
    }
    Reclaim::get().advance();
}

bool round_wanted_soon() { return Reclaim::get().is_waiting() || Life::get().is_sweeping(); }

void reset_rounds() noexcept {
    Life::get().reset();
    Reclaim::get().reset();
}

// What other layers ask of the worker, whoever runs the rounds.

void Worker::add_sweeper(Sweeper sweeper) noexcept { Life::get().add_sweeper(sweeper); }

void Worker::set_life_hooks(const LifeHooks& hooks) noexcept { Life::get().set_hooks(hooks); }

std::uint32_t Worker::adopt_pool(sync::Pool& pool, void (*finish)(sync::Pool&, void*) noexcept,
                                 bool brief_only) {
    return Reclaim::get().adopt(pool, finish, brief_only);
}

void Worker::after_grace_period(void (*function)(void*) noexcept, void* argument) {
    Reclaim::get().after_grace_period(function, argument);
}

void Worker::after_a_while(void (*function)(void*) noexcept, void* argument) {
    Reclaim::get().after_a_while(function, argument);
}

}  // namespace taskwork::task
