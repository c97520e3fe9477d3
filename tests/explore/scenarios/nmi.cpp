// SPDX-License-Identifier: Apache-2.0
//
// Events at any step of a thread that is in the middle of something of ours itself.
#include "defer/task_work.hpp"
#include "task/run_point.hpp"
#include "tests/explore/scenarios/core.hpp"

namespace explore {

namespace {

namespace defer = taskwork::defer;
namespace task = taskwork::task;

void scheduled_before(Core& core, unsigned id, defer::Slot& slot, unsigned target) {
    Setup::machine().as_thread(0,
                               [&] { schedule(id, slot, core.task(target), task::Notify::none); });
}

const Registered kScheduleSchedule{
    {.name = "nmi.schedule_on_schedule",
     .about = "scheduler, 1 nmi that schedules the same empty slot, target (R1, R22)",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup);
         defer::Slot& slot = core->slot("slot");
         const unsigned target = core->target(0);
         const unsigned thread =
             core->thread(0, "scheduler", [=, &slot] { schedule(1, slot, core->task(target)); });
         core->event(thread, "nmi", [=, &slot] { schedule(2, slot, core->task(target)); });
     }}};

const Registered kScheduleSelf{{.name = "nmi.schedule_onto_oneself",
                                .about = "thread that schedules onto itself, 1 nmi that does, too",
                                .lay_out = [](Setup& setup) {
                                    auto core = make_core(setup);
                                    defer::Slot& one = core->slot("slot1");
                                    defer::Slot& two = core->slot("slot2");
                                    const unsigned thread = core->thread(0, "self", [=, &one] {
                                        schedule(1, one, *task::current());
                                        task::safe_point();
                                        exit_task();
                                    });
                                    core->event(thread, "nmi",
                                                [=, &two] { schedule(2, two, *task::current()); });
                                    core->before_cleanup([] {
                                        for (unsigned id = 1; id <= 2; ++id) {
                                            check(noted(kRan + id) == noted(kAccepted + id),
                                                  "ledger", "a work onto oneself did not run");
                                        }
                                    });
                                }}};

const Registered kCancelSchedule{
    {.name = "nmi.cancel_on_schedule",
     .about = "scheduler, 1 nmi that cancels, target (R4 to R7, R22)",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup);
         defer::Slot& slot = core->slot("slot");
         const unsigned target = core->target(0);
         const unsigned thread =
             core->thread(0, "scheduler", [=, &slot] { schedule(1, slot, core->task(target)); });
         core->event(thread, "nmi", [=, &slot] { defer::cancel(slot); });
     }}};

const Registered kScheduleCancel{
    {.name = "nmi.schedule_on_cancel",
     .about = "canceller of a scheduled work, 1 nmi that schedules, target",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup, {.contexts = 3});
         defer::Slot& slot = core->slot("slot");
         const unsigned target = core->target(0);
         scheduled_before(*core, 1, slot, target);
         const unsigned thread = core->thread(0, "canceller", [=, &slot] { defer::cancel(slot); });
         core->event(thread, "nmi", [=, &slot] { schedule(2, slot, core->task(target)); });
     }}};

const Registered kCancelCancel{
    {.name = "nmi.cancel_on_cancel",
     .about = "canceller of a scheduled work, 1 nmi that deletes, target that looks (R20)",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup);
         defer::Slot& slot = core->slot("slot");
         const unsigned target = core->thread(0, "target", [] {
             task::safe_point();
             exit_task();
         });
         scheduled_before(*core, 1, slot, target);
         const unsigned thread = core->thread(0, "canceller", [=, &slot] { defer::cancel(slot); });
         core->event(thread, "nmi", [=, &slot] { defer::cancel_dead(slot); });
     }}};

const Registered kScheduleDrain{
    {.name = "nmi.schedule_on_drain",
     .about = "thread that drains, 2 nmi that schedule onto it",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup, {.contexts = 3});
         core->signals_fail = true;  // Two events on top of callbacks use up the budget.
         defer::Slot& one = core->slot("slot1");
         defer::Slot& two = core->slot("slot2");
         const unsigned thread = core->thread(0, "target", [] {
             task::safe_point();
             await_rest();
             exit_task();
         });
         scheduled_before(*core, 1, one, thread);
         core->event(thread, "nmi", [=, &two] { schedule(2, two, *task::current()); });
         core->event(thread, "nmi2", [=, &one] { schedule(3, one, *task::current()); });
     }}};

const Registered kCancelDrain{
    {.name = "nmi.cancel_on_drain",
     .about = "thread that drains 2 works, 1 nmi that cancels one, 1 that schedules it",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup, {.contexts = 3});
         defer::Slot& one = core->slot("slot1");
         defer::Slot& two = core->slot("slot2");
         const unsigned thread = core->thread(0, "target", [] {
             task::safe_point();
             await_rest();
             exit_task();
         });
         scheduled_before(*core, 1, one, thread);
         scheduled_before(*core, 2, two, thread);
         core->event(thread, "nmi", [=, &one] { defer::cancel(one); });
         core->event(thread, "nmi2", [=, &one] { schedule(3, one, *task::current()); });
     }}};

const Registered kScheduleExit{
    {.name = "nmi.schedule_on_exit",
     .about = "thread that exits with a work, 1 nmi that schedules onto it (R15)",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup, {.contexts = 3});
         defer::Slot& one = core->slot("slot1");
         defer::Slot& two = core->slot("slot2");
         const unsigned thread = core->thread(0, "target", [] { exit_task(); });
         scheduled_before(*core, 1, one, thread);
         core->event(thread, "nmi", [=, &two] {
             if (task::Task* self = task::current(); self != nullptr) {
                 schedule(2, two, *self);
             }
         });
         core->before_cleanup([] {
             for (unsigned id = 1; id <= 2; ++id) {
                 check(noted(kRan + id) == noted(kAccepted + id), "ledger",
                       "an exiting thread left a work of its own");
             }
         });
     }}};

const Registered kScheduleDelete{
    {.name = "nmi.schedule_on_delete",
     .about = "deleter of a scheduled work, 1 nmi that schedules, target (R4, R6)",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup, {.contexts = 3});
         defer::Slot& slot = core->slot("slot");
         const unsigned target = core->target(0);
         scheduled_before(*core, 1, slot, target);
         const unsigned thread =
             core->thread(0, "deleter", [=, &slot] { defer::cancel_dead(slot); });
         core->event(thread, "nmi", [=, &slot] { schedule(2, slot, core->task(target)); });
         core->before_cleanup([&slot] {
             check(slot.word.load(std::memory_order_seq_cst) == defer::kSlotDead, "references",
                   "a work was attached to a dead slot");
         });
     }}};

/// The last user reference goes in the middle of a schedule, on the same thread.
const Registered kLastUser{
    {.name = "nmi.last_user_on_schedule",
     .about = "scheduler, 1 nmi that drops the last user reference, target (R13, R14)",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup);
         defer::Slot& slot = core->slot("slot");
         auto& users = reinterpret_cast<taskwork::platform::Atomic<std::uint32_t>&>(
             setup.variable("users", 1));
         const unsigned target = core->target(0);
         const unsigned thread = core->thread(0, "scheduler", [=, &slot, &users] {
             schedule(1, slot, core->task(target), task::Notify::signal, task::List::anywhere,
                      &users);
         });
         core->event(thread, "nmi", [=, &slot, &users] {
             users.fetch_sub(1, std::memory_order_seq_cst);
             defer::cancel(slot);
         });
         core->before_cleanup([&slot] {
             if (noted(kAccepted + 1) + noted(kRefused + 1) == 1 &&
                 slot.word.load(std::memory_order_seq_cst) != 0) {
                 // The event may not have come at all.
                 note(kFreeNotes);
             }
         });
     }}};

/// An event nests on an event: the second is dropped, whatever the first was doing.
const Registered kNested{
    {.name = "nmi.nested",
     .about = "scheduler, 2 nmi that schedule, one on top of the other, target",
     .lay_out =
         [](Setup& setup) {
             auto core = make_core(setup, {.contexts = 3});
             defer::Slot& one = core->slot("slot1");
             defer::Slot& two = core->slot("slot2");
             Setup::machine().set_nesting(2);
             const unsigned target = core->target(0);
             const unsigned thread =
                 core->thread(0, "scheduler", [=, &one] { schedule(1, one, core->task(target)); });
             core->event(thread, "nmi", [=, &one] { schedule(2, one, core->task(target)); });
             core->event(thread, "nmi2", [=, &two] { schedule(3, two, *task::current()); });
         },
     .large = true}};

}  // namespace

}  // namespace explore
