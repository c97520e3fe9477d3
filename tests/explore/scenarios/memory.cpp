// SPDX-License-Identifier: Apache-2.0
//
// Memory: elements and contexts that are freed while others still look at them, husks and
// compaction, maps and tasks that go.
#include "defer/context.hpp"
#include "defer/task_work.hpp"
#include "sync/grace.hpp"
#include "task/domain.hpp"
#include "task/lists.hpp"
#include "task/run_point.hpp"
#include "tests/explore/scenarios/core.hpp"

namespace explore {

namespace {

namespace defer = taskwork::defer;
namespace sync = taskwork::sync;
namespace task = taskwork::task;
using sync::Flavour;

constexpr auto relaxed = std::memory_order_relaxed;
constexpr auto acquire = std::memory_order_acquire;

/// A program that finds an element and schedules with its slot, while it is deleted.
void element_delete(Setup& setup, bool nmi, unsigned rounds, bool looks) {
    auto core = make_core(setup, {.contexts = 2, .elements = 1});
    Element& element = core->element("element");
    Variable& map = setup.variable("map", 1);
    const unsigned target = looks ? core->thread(0, "target",
                                                 [] {
                                                     task::safe_point();
                                                     exit_task();
                                                 })
                                  : core->target(0);
    const auto program = [=, &element, &map] {
        const task::ReadSection sleepable(*task::current(), Flavour::sleepable);
        if (map.load(acquire) != 0) {
            schedule(1, element.slot, core->task(target));
        }
    };
    const auto removal = [=, &element, &map] {
        if (map.exchange(0, std::memory_order_acq_rel) != 0) {
            remove(core->elements(), element);
        }
    };
    core->callback([&element](unsigned) {
        check(element.value.load(relaxed) == kLive, "use-after-free",
              "a callback touches a value that was freed");
    });
    if (nmi) {
        const unsigned thread = core->thread(0, "deleter", removal);
        core->event(thread, "program", program);
    } else {
        core->thread(0, "program", program);
        core->thread(0, "deleter", removal);
    }
    core->worker_rounds(rounds);
}

const Registered kDelete{
    {.name = "memory.delete",
     .about = "program, deleter of its element, worker that frees, target (R4 to R6, R16)",
     .lay_out = [](Setup& setup) { element_delete(setup, false, 2, false); },
     .large = true}};
const Registered kDeleteRests{
    {.name = "memory.delete_then_worker",
     .about = "program, deleter of its element, target; the worker comes last (R4 to R6)",
     .lay_out = [](Setup& setup) { element_delete(setup, false, 0, false); }}};
const Registered kDeleteNmi{{.name = "memory.delete_nmi",
                             .about = "deleter, 1 nmi that runs the program on it, worker, target",
                             .lay_out = [](Setup& setup) { element_delete(setup, true, 1, false); },
                             .large = true}};

/// The value lives as long as its running callback: the worker waits for the sleepable section.
const Registered kDeleteRunning{
    {.name = "memory.delete_while_running",
     .about = "target that runs the callback, deleter, worker that frees (R10, K99)",
     .lay_out =
         [](Setup& setup) {
             auto core = make_core(setup, {.contexts = 2, .elements = 1});
             Element& element = core->element("element");
             const unsigned target = core->thread(0, "target", [] {
                 task::safe_point();
                 exit_task();
             });
             make_scheduled(*core, 1, element.slot, target);
             core->callback([&element](unsigned) {
                 check(element.value.load(relaxed) == kLive, "use-after-free",
                       "a callback touches a value that was freed");
             });
             // One after the other: the worker would look in vain before.
             core->thread(0, "deleter", [=, &element] {
                 remove(core->elements(), element);
                 await_rest();
             });
             core->worker_rounds(2);
         },
     .large = true}};

/// Freed contexts are used again: whoever still holds a bare address must be waited for (R16).
const Registered kReuse{
    {.name = "memory.context_reuse",
     .about = "scheduler of a slot, canceller, worker that frees, one context (R4, R5, R16)",
     .lay_out =
         [](Setup& setup) {
             auto core = make_core(setup, {.contexts = 1});
             defer::Slot& slot = core->slot("slot");
             make_standby(*core, slot);
             core->thread(0, "canceller", [=, &slot] { defer::cancel(slot); });
             const unsigned target = core->target(0);
             core->thread(0, "scheduler", [=, &slot] { schedule(1, slot, core->task(target)); });
             core->worker_rounds(1);
         },
     .large = true}};

/// Cancelled works on a list: the worker unlinks those inside it, the target takes them all.
void compaction(Setup& setup, bool canceller, bool scheduler) {
    auto core = make_core(setup, {.contexts = 4});
    defer::Slot& one = core->slot("slot1");
    defer::Slot& two = core->slot("slot2");
    defer::Slot& three = core->slot("slot3");
    const unsigned target = core->thread(0, "target", [] {
        task::safe_point();
        exit_task();
    });
    Setup::machine().as_thread(0, [&] {
        unsigned id = 1;
        for (defer::Slot* slot : {&one, &two, &three}) {
            schedule(id++, *slot, core->task(target), task::Notify::none);
        }
        defer::cancel(two);
        if (!canceller) {
            defer::cancel(one);
        }
    });
    if (canceller) {
        core->thread(0, "canceller", [=, &one] { defer::cancel(one); });
    }
    if (scheduler) {
        core->thread(0, "scheduler", [=, &two] { schedule(4, two, core->task(target)); });
    }
    core->worker([=] { task::compact(core->task(target)); });
}

const Registered kCompaction{
    {.name = "memory.compaction",
     .about = "worker that compacts a list with 2 cancelled works, target that takes it",
     .lay_out = [](Setup& setup) { compaction(setup, false, false); }}};
const Registered kCompactionCancel{
    {.name = "memory.compaction_cancel",
     .about = "as before, and a canceller of one of the works",
     .lay_out = [](Setup& setup) { compaction(setup, true, false); }}};
const Registered kCompactionSchedule{
    {.name = "memory.compaction_schedule",
     .about = "as before, and a scheduler that pushes anew",
     .lay_out = [](Setup& setup) { compaction(setup, false, true); },
     .large = true}};

/// A map goes when its slots are dead and nothing in flight names it.
const Registered kMapFree{
    {.name = "memory.map_free",
     .about = "owner that empties the slot and frees the map, target that runs the callback",
     .lay_out =
         [](Setup& setup) {
             auto core = make_core(setup);
             defer::Slot& slot = core->slot("slot");
             Variable& map = setup.variable("map", kLive);
             const unsigned target = core->thread(0, "target", [] {
                 task::safe_point();
                 exit_task();
             });
             Setup::machine().as_thread(0, [&] {
                 defer::ScheduleRequest request;
                 request.target = &core->task(target);
                 request.mode = task::Notify::none;
                 request.callback = {defer::kCallbackTest, 1, nullptr, &map,
                                     reinterpret_cast<void*>(std::uintptr_t{1})};
                 static_cast<void>(defer::schedule(slot, request));
                 note(kAccepted + 1);
             });
             core->callback([&map](unsigned) {
                 check(map.load(relaxed) == kLive, "use-after-free",
                       "a callback touches a map that was freed");
             });
             core->worker([&slot, &map] {
                 defer::cancel_dead(slot);
                 const sync::GraceTicket ticket = sync::GracePeriods::get().start();
                 for (int look = 0; look < 2; ++look) {
                     if (sync::GracePeriods::get().poll(ticket, Flavour::sleepable) &&
                         !defer::references_map(&map)) {
                         map.store(kGone, relaxed);
                         return;
                     }
                 }
             });
         },
     .models = kAllModels}};

/// A task's memory: one who pushes onto it is in a brief section (M44).
const Registered kTaskReuse{
    {.name = "memory.task_exit",
     .about = "scheduler, target that exits, worker that buries it and frees its block (R15)",
     .lay_out =
         [](Setup& setup) {
             auto core = make_core(setup, {.contexts = 1, .tasks = 3});
             defer::Slot& slot = core->slot("slot");
             const unsigned target = core->thread(0, "target", [] { exit_task(); });
             core->thread(0, "scheduler", [=, &slot] {
                 const task::ReadSection sleepable(*task::current(), Flavour::sleepable);
                 task::Task* found = task::TaskTable::get().find(Setup::machine().tid_of(target));
                 if (found != nullptr) {
                     schedule(1, slot, *found);
                 }
             });
             core->worker_rounds(2);
         },
     .large = true}};

}  // namespace

}  // namespace explore
