// SPDX-License-Identifier: Apache-2.0
//
// Scenarios of tests/explore/mutants: who frees what, and when; what the worker unlinks.
#include "defer/context.hpp"
#include "defer/task_work.hpp"
#include "sync/grace.hpp"
#include "task/domain.hpp"
#include "task/run_point.hpp"
#include "tests/explore/scenarios/core.hpp"

namespace explore {

namespace {

namespace defer = taskwork::defer;
namespace sync = taskwork::sync;
namespace task = taskwork::task;
using taskwork::no_error;

constexpr auto relaxed = std::memory_order_relaxed;
constexpr auto acquire = std::memory_order_acquire;
constexpr auto seq_cst = std::memory_order_seq_cst;

/// The context is freed, and another slot's, while somebody has found it.
const Registered kCancelReclaim{
    {.name = "mutant.cancel_reclaim",
     .about = "scheduler, canceller that uses a slot of its own next, worker",
     .lay_out =
         [](Setup& setup) {
             auto core = make_core(setup, {.contexts = 1});
             defer::Slot& slot = core->slot("slot");
             defer::Slot& own = core->slot("own slot");
             make_standby(*core, slot);
             core->thread(0, "scheduler",
                          [core, &slot] { schedule(1, slot, core->task(0), task::Notify::none); });
             core->thread(0, "canceller", [core, &slot, &own] {
                 defer::cancel(slot);
                 check(schedule(2, own, core->task(0), task::Notify::none) !=
                           std::errc::device_or_resource_busy,
                       "reuse", "somebody has scheduled a work of a slot that nobody else knows");
             });
             core->worker_rounds(1);
             core->before_cleanup([] { task::safe_point(); });
         },
     .large = true}};

/// A sweep finds the context without its slot while the canceller is about to come to it, and
/// another slot has it next.
const Registered kCancelSweep{
    {.name = "mutant.cancel_sweep",
     .about = "canceller, worker that sweeps after another process, scheduler of another slot",
     .lay_out =
         [](Setup& setup) {
             auto core = make_core(setup, {.contexts = 1});
             defer::Slot& slot = core->slot("slot");
             defer::Slot& other_slot = core->slot("other slot");
             make_standby(*core, slot);
             core->thread(0, "canceller", [&slot] { defer::cancel(slot); });
             const unsigned other = core->process();
             core->thread(other, "other", [] {});  // It ends, and its process with it.
             core->thread(0, "scheduler",
                          [&other_slot] { schedule(1, other_slot, *task::current()); });
             core->worker_rounds(2);
             core->before_cleanup([] {
                 check(noted(kAccepted + 1) == noted(kRan + 1), "ledger",
                       "a work has not run that nobody has cancelled");
             });
         },
     .large = true}};

/// Cancelled, the node is still on the list of a target that sleeps.
const Registered kCancelLinked{
    {.name = "mutant.cancel_linked",
     .about = "canceller of a scheduled work, worker, target that drains when they are done",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup, {.contexts = 1});
         defer::Slot& slot = core->slot("slot");
         const unsigned target = core->thread(0, "target", [] {
             await_rest();
             task::safe_point();
         });
         make_scheduled(*core, 1, slot, target);
         core->thread(0, "canceller", [&slot] { defer::cancel(slot); });
         core->worker_rounds(1);
     }}};

/// A section in a section: neither its beginning nor its end opens the outer one.
const Registered kNestedReaders{
    {.name = "mutant.nested_readers",
     .about = "reader with a section in its section, canceller, worker",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup, {.contexts = 1});
         defer::Slot& slot = core->slot("slot");
         make_standby(*core, slot);
         core->thread(0, "reader", [&slot] {
             {
                 task::Task& self = *task::current();
                 const task::ReadSection outer(self, sync::Flavour::brief);
                 auto* context = reinterpret_cast<defer::WorkContext*>(slot.word.load(acquire));
                 const task::ReadSection inner(self, sync::Flavour::brief);
                 {
                     const task::ReadSection innermost(self, sync::Flavour::brief);
                 }
                 if (context != nullptr) {
                     static_cast<void>(context->next.load(acquire));
                 }
             }
             exit_task();  // So that no sweep closes what it has left open.
         });
         core->thread(0, "canceller", [&slot] { defer::cancel(slot); });
         core->worker_rounds(1);
     }}};

/// The element goes while the callback reads it (K51, K99).
const Registered kDeleteRunning{
    {.name = "mutant.delete_running",
     .about = "callback that reads its element, deleter, worker",
     .lay_out =
         [](Setup& setup) {
             auto core = make_core(setup, {.contexts = 1, .elements = 1});
             Element& element = core->element("element");
             const unsigned target = core->thread(0, "target", [] { task::safe_point(); });
             make_scheduled(*core, 1, element.slot, target);
             core->callback(
                 [&element](unsigned) { static_cast<void>(element.value.load(relaxed)); });
             core->thread(0, "deleter", [core, &element] { remove(core->elements(), element); });
             core->worker_rounds(1);
         },
     .large = true}};

/// Through a pointer that was looked up before the delete, schedule must be refused after it (K96).
const Registered kStalePointer{
    {.name = "mutant.stale_pointer",
     .about = "scheduler that has looked the element up, deleter",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup, {.contexts = 2, .elements = 1});
         Element& element = core->element("element");
         Variable& gone = setup.variable("gone");
         core->thread(0, "scheduler", [&element, &gone] {
             task::Task& self = *task::current();
             const task::ReadSection sleepable(self, sync::Flavour::sleepable);
             const bool late = gone.load(seq_cst) != 0;
             const std::errc answer = schedule(1, element.slot, self);
             check(!late || answer != no_error, "stale",
                   "a work was attached to an element that had been deleted");
         });
         core->thread(0, "deleter", [core, &element, &gone] {
             remove(core->elements(), element);
             gone.store(1, seq_cst);
         });
     }}};

/// The control block of a thread that ends waits for those who are about to push onto it.
const Registered kExitReclaim{
    {.name = "mutant.exit_reclaim",
     .about = "scheduler, target that ends, worker",
     .lay_out =
         [](Setup& setup) {
             auto core = make_core(setup);
             defer::Slot& slot = core->slot("slot");
             make_standby(*core, slot);
             const unsigned target = core->thread(0, "target", [] { exit_task(); });
             core->thread(0, "scheduler", [=, &slot] {
                 // As whoever finds a task by its id.
                 const task::ReadSection sleepable(*task::current(), sync::Flavour::sleepable);
                 if (sync::Pool::load(&core->task(target)).state() == task::kTaskAlive) {
                     schedule(1, slot, core->task(target));
                 }
             });
             core->worker_rounds(1);
         },
     .large = true}};

/// What a thread that ends has accepted it runs.
const Registered kExitRuns{
    {.name = "mutant.exit_runs",
     .about = "scheduler of a used slot, target that ends",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup);
         defer::Slot& slot = core->slot("slot");
         make_standby(*core, slot);
         const unsigned target = core->thread(0, "target", [] { exit_task(); });
         core->thread(0, "scheduler", [=, &slot] { schedule(1, slot, core->task(target)); });
         core->before_cleanup([] {
             check(noted(kAccepted + 1) == noted(kRan + 1), "ledger",
                   "a work has been accepted by a thread that ended, and has not run");
         });
     }}};

/// A work that was scheduled for a thread that has ended, and cancelled meanwhile.
const Registered kExitedCancel{{.name = "mutant.exited_cancel",
                                .about = "scheduler onto a thread that has ended, canceller",
                                .lay_out =
                                    [](Setup& setup) {
                                        auto core = make_core(setup);
                                        defer::Slot& slot = core->slot("slot");
                                        make_standby(*core, slot);
                                        const unsigned target = core->thread(0, "target", [] {});
                                        Setup::machine().as_thread(target, [] { exit_task(); });
                                        // They say that they end, so that no sweep comes and mends
                                        // what they leave.
                                        core->thread(0, "scheduler", [=, &slot] {
                                            schedule(1, slot, core->task(target));
                                            exit_task();
                                        });
                                        core->thread(0, "canceller", [&slot] {
                                            defer::cancel(slot);
                                            exit_task();
                                        });
                                    },
                                .large = true}};

/// A program may go when no work in flight names it.
const Registered kProgram{
    {.name = "mutant.program",
     .about = "callback of a program, worker that asks whether it may be freed",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup, {.contexts = 1});
         defer::Slot& slot = core->slot("slot");
         Variable& gone = setup.variable("gone");
         const unsigned target = core->thread(0, "target", [] { task::safe_point(); });
         Setup::machine().as_thread(0, [&] {
             defer::ScheduleRequest request;
             request.target = &core->task(target);
             request.mode = task::Notify::none;
             request.callback = {defer::kCallbackTest, 1, &gone, nullptr,
                                 reinterpret_cast<void*>(std::uintptr_t{1})};
             if (defer::schedule(slot, request) == no_error) {
                 note(kAccepted + 1);
             }
         });
         core->callback([&gone](unsigned) {
             check(gone.load(seq_cst) == 0, "program", "a callback of a program that is gone");
         });
         core->worker([&gone] {
             if (!defer::references_program(&gone)) {
                 gone.store(1, seq_cst);
             }
         });
     }}};

/// Cancelled nodes are counted in once, and out once.
const Registered kHusks{{.name = "mutant.husks",
                         .about = "worker that compacts a list, target that takes it",
                         .lay_out = [](Setup& setup) {
                             auto core = make_core(setup, {.contexts = 2});
                             defer::Slot& one = core->slot("slot1");
                             defer::Slot& two = core->slot("slot2");
                             const unsigned target = core->thread(0, "target", [] {
                                 task::safe_point();
                                 exit_task();
                             });
                             core->before_cleanup([=] {
                                 check(core->task(target).husks.load(relaxed) == 0, "husks",
                                       "an empty list is said to hold cancelled nodes");
                             });
                             make_scheduled(*core, 1, one, target);
                             make_scheduled(*core, 2, two, target);
                             Setup::machine().as_thread(0, [&] { defer::cancel(one); });
                             core->worker([=] { task::compact(core->task(target)); });
                         }}};

/// The target runs the node that the worker looks at, and it is pushed onto another list.
const Registered kCompactMoved{
    {.name = "mutant.compact_moved",
     .about = "target that drains, worker that compacts its list, scheduler onto another target",
     .lay_out =
         [](Setup& setup) {
             auto core = make_core(setup, {.contexts = 2});
             defer::Slot& one = core->slot("slot1");
             defer::Slot& two = core->slot("slot2");
             const unsigned target = core->thread(0, "target", [] { task::safe_point(); });
             make_scheduled(*core, 1, one, target);
             make_scheduled(*core, 2, two, target);
             const unsigned other = core->target(0, "other target");
             core->thread(0, "scheduler", [=, &one] {
                 schedule(3, one, core->task(other), task::Notify::none);
                 defer::cancel(one);
             });
             core->worker([=] {
                 task::compact(core->task(target));
                 task::run_round(false);
             });
         },
     .large = true}};

}  // namespace

}  // namespace explore
