// SPDX-License-Identifier: Apache-2.0
//
// Scenarios of tests/explore/mutants: what a process leaves that dies between two steps.
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

constexpr auto relaxed = std::memory_order_relaxed;

const Registered kScheduler{
    {.name = "mutant.death_scheduler",
     .about = "scheduler of an empty slot, which may die, target",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup);
         defer::Slot& slot = core->slot("slot");
         const unsigned target = core->thread(0, "target", [] { await_rest(); });
         const unsigned process = core->process(true);
         core->thread(process, "scheduler", [=, &slot] { schedule(1, slot, core->task(target)); });
         // The sweep sees to it that what is on the list is looked at.
         core->before_cleanup([=, &slot] {
             for (unsigned round = 0; round < 3; ++round) {
                 task::run_round(false);
             }
             const std::uint64_t named = slot.word.load(relaxed);
             check(named == 0 ||
                       sync::Pool::load(reinterpret_cast<void*>(named)).state() >= sync::kStateUser,
                   "use-after-free", "a slot names a context that has been freed");
             const task::Task& one = core->task(target);
             const std::uint64_t head = one.works.load(relaxed);
             check(head == 0 || head == task::kListClosed || one.pending.load(relaxed) != 0,
                   "lost-wakeup",
                   "a work of the dead waits for a target that nobody tells: pending " +
                       std::to_string(one.pending.load(relaxed)));
         });
     }}};

const Registered kSchedulerCancel{
    {.name = "mutant.death_scheduler_cancel",
     .about = "scheduler of a used slot, which may die, canceller, target",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup);
         defer::Slot& slot = core->slot("slot");
         make_standby(*core, slot);
         const unsigned target = core->target(0);
         const unsigned process = core->process(true);
         core->thread(process, "scheduler", [=, &slot] { schedule(1, slot, core->task(target)); });
         core->thread(0, "canceller", [&slot] { defer::cancel(slot); });
     }}};

const Registered kSchedulerExit{
    {.name = "mutant.death_scheduler_exit",
     .about = "scheduler, which may die, target that ends",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup);
         defer::Slot& slot = core->slot("slot");
         make_standby(*core, slot);
         const unsigned target = core->thread(0, "target", [] { exit_task(); });
         const unsigned process = core->process(true);
         core->thread(process, "scheduler", [=, &slot] { schedule(1, slot, core->task(target)); });
     }}};

const Registered kTarget{{.name = "mutant.death_target",
                          .about = "target that runs a work, and may die",
                          .lay_out = [](Setup& setup) {
                              auto core = make_core(setup);
                              defer::Slot& slot = core->slot("slot");
                              const unsigned process = core->process(true);
                              const unsigned target =
                                  core->thread(process, "target", [] { task::safe_point(); });
                              make_scheduled(*core, 1, slot, target);
                          }}};

const Registered kCanceller{{.name = "mutant.death_canceller",
                             .about = "canceller, which may die",
                             .lay_out = [](Setup& setup) {
                                 auto core = make_core(setup, {.contexts = 1});
                                 defer::Slot& slot = core->slot("slot");
                                 make_standby(*core, slot);
                                 const unsigned process = core->process(true);
                                 core->thread(process, "canceller",
                                              [&slot] { defer::cancel(slot); });
                             }}};

const Registered kReader{{.name = "mutant.death_reader",
                          .about = "reader, which may die in its section",
                          .lay_out = [](Setup& setup) {
                              auto core = make_core(setup, {.contexts = 1});
                              Variable& data = setup.variable("data");
                              const unsigned process = core->process(true);
                              core->thread(process, "reader", [&data] {
                                  const task::ReadSection brief(*task::current(),
                                                                sync::Flavour::brief);
                                  data.store(1, relaxed);
                              });
                          }}};

/// The sweep of one death while a work of its victim is taken from the list.
const Registered kTake{{.name = "mutant.death_take",
                        .about = "target that takes the work of the dead, worker that sweeps",
                        .lay_out = [](Setup& setup) {
                            auto core = make_core(setup);
                            core->deaths = true;
                            defer::Slot& slot = core->slot("slot");
                            make_standby(*core, slot);
                            const unsigned target =
                                core->thread(0, "target", [] { task::safe_point(); });
                            // Not dead, but of a process that has left: it is swept like the dead.
                            const unsigned other = core->process();
                            const unsigned scheduler = core->thread(other, "scheduler", [] {});
                            Setup::machine().as_thread(scheduler, [&] {
                                schedule(1, slot, core->task(target), task::Notify::none);
                            });
                            const std::uint16_t owner = core->task(scheduler).process;
                            core->worker([owner] { static_cast<void>(defer::sweep(owner)); });
                        }}};

/// The target dies, the sweep ends the round, and another schedules the work onto a second target,
/// before the first scheduler comes to push.
const Registered kLatePush{
    {.name = "mutant.late_push",
     .about = "target that may die, 2 schedulers, second target with a work, worker",
     .lay_out =
         [](Setup& setup) {
             auto core = make_core(setup, {.contexts = 2, .tasks = 5});
             defer::Slot& slot = core->slot("slot");
             defer::Slot& other = core->slot("other slot");
             make_standby(*core, slot);
             const unsigned second = core->target(0, "second target");
             make_scheduled(*core, 3, other, second);
             const unsigned process = core->process(true);
             const unsigned first = core->thread(process, "first target", [] { await_rest(); });
             core->thread(0, "late scheduler",
                          [=, &slot] { schedule(1, slot, core->task(first), task::Notify::none); });
             core->thread(0, "scheduler", [=, &slot] {
                 schedule(2, slot, core->task(second), task::Notify::none);
             });
             core->worker_rounds(1);
             core->before_cleanup([] {
                 check(noted(kRan + 3) == 1 && noted(kRan + 2) == noted(kAccepted + 2), "ledger",
                       "a work is lost from the list of a thread that lives");
             });
         },
     .large = true}};

/// What is retired already when its retirer dies is taken into the book once.
const Registered kRetire{
    {.name = "mutant.death_retire",
     .about = "canceller, which may die, reader, worker",
     .lay_out =
         [](Setup& setup) {
             auto core = make_core(setup, {.contexts = 1});
             defer::Slot& slot = core->slot("slot");
             make_standby(*core, slot);
             const unsigned process = core->process(true);
             core->thread(process, "canceller", [&slot] { defer::cancel(slot); });
             core->thread(0, "reader", [] {
                 const task::ReadSection brief(*task::current(), sync::Flavour::brief);
                 await_rest();
             });
             core->worker([] {
                 for (unsigned round = 0; round < 3; ++round) {
                     task::run_round(false);
                 }
                 await_rest();
                 await_rest();  // The reader has left.
                 task::run_round(false);
                 task::run_round(false);
             });
         },
     .large = true}};

}  // namespace

}  // namespace explore
