// SPDX-License-Identifier: Apache-2.0
//
// A process that is killed at any step of what it does. The sweep follows when all has come to
// rest, or while a target drains.
#include "defer/task_work.hpp"
#include "task/domain.hpp"
#include "task/run_point.hpp"
#include "tests/explore/scenarios/core.hpp"

namespace explore {

namespace {

namespace defer = taskwork::defer;
namespace task = taskwork::task;

/// A target in the host that wakes when told, or when all has come to rest and the worker has
/// swept.
unsigned host_target(Core& core) {
    return core.thread(0, "target", [] {
        await_rest();
        task::safe_point();
        await_rest();
        exit_task();
    });
}

const Registered kScheduler{
    {.name = "death.scheduler",
     .about = "scheduler of an empty slot that dies, target, sweep",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup);
         defer::Slot& slot = core->slot("slot");
         const unsigned target = host_target(*core);
         const unsigned mortal = core->process(true);
         core->thread(mortal, "scheduler", [=, &slot] { schedule(1, slot, core->task(target)); });
     }}};

const Registered kSchedulers{
    {.name = "death.two_schedulers",
     .about = "scheduler that dies and one that lives, of one used slot, target, sweep",
     .lay_out =
         [](Setup& setup) {
             auto core = make_core(setup);
             defer::Slot& slot = core->slot("slot");
             make_standby(*core, slot);
             const unsigned target = host_target(*core);
             const unsigned mortal = core->process(true);
             core->thread(mortal, "mortal", [=, &slot] { schedule(1, slot, core->task(target)); });
             core->thread(0, "scheduler", [=, &slot] { schedule(2, slot, core->task(target)); });
         },
     .large = true}};

const Registered kCanceller{{.name = "death.canceller",
                             .about = "canceller of a scheduled work that dies, target that looks",
                             .lay_out = [](Setup& setup) {
                                 auto core = make_core(setup);
                                 defer::Slot& slot = core->slot("slot");
                                 const unsigned target = core->thread(0, "target", [] {
                                     task::safe_point();
                                     exit_task();
                                 });
                                 make_scheduled(*core, 1, slot, target);
                                 const unsigned mortal = core->process(true);
                                 core->thread(mortal, "canceller",
                                              [=, &slot] { defer::cancel(slot); });
                             }}};

const Registered kTarget{
    {.name = "death.target",
     .about = "target that dies while it drains, scheduler, sweep",
     .lay_out =
         [](Setup& setup) {
             auto core = make_core(setup);
             defer::Slot& slot = core->slot("slot");
             const unsigned mortal = core->process(true);
             const unsigned target = core->thread(mortal, "target", [] {
                 task::safe_point();
                 exit_task();
             });
             core->thread(0, "scheduler", [=, &slot] { schedule(1, slot, core->task(target)); });
         },
     .large = true}};

const Registered kTargetAlone{{.name = "death.target_alone",
                               .about = "target that dies while it drains 2 works, sweep",
                               .lay_out = [](Setup& setup) {
                                   auto core = make_core(setup, {.contexts = 3});
                                   defer::Slot& one = core->slot("slot1");
                                   defer::Slot& two = core->slot("slot2");
                                   const unsigned mortal = core->process(true);
                                   const unsigned target = core->thread(mortal, "target", [] {
                                       task::safe_point();
                                       exit_task();
                                   });
                                   make_scheduled(*core, 1, one, target);
                                   make_scheduled(*core, 2, two, target);
                                   core->callback([&two](unsigned id) {
                                       if (id == 2) {
                                           defer::cancel(two);
                                       }
                                   });
                               }}};

const Registered kNmi{{.name = "death.nmi",
                       .about = "scheduler with 1 nmi that cancels, which dies, target, sweep",
                       .lay_out = [](Setup& setup) {
                           auto core = make_core(setup);
                           defer::Slot& slot = core->slot("slot");
                           const unsigned target = host_target(*core);
                           const unsigned mortal = core->process(true);
                           const unsigned thread = core->thread(mortal, "scheduler", [=, &slot] {
                               schedule(1, slot, core->task(target));
                           });
                           core->event(thread, "nmi", [=, &slot] { defer::cancel(slot); });
                       }}};

/// The sweep while the target takes the list that the dead had pushed onto, or had not.
const Registered kSweep{{.name = "death.sweep",
                         .about = "scheduler that dies, worker that sweeps while the target drains",
                         .lay_out =
                             [](Setup& setup) {
                                 auto core = make_core(setup);
                                 defer::Slot& slot = core->slot("slot");
                                 make_standby(*core, slot);
                                 const unsigned target = core->thread(0, "target", [] {
                                     task::safe_point();
                                     await_rest();
                                     task::safe_point();
                                     exit_task();
                                 });
                                 const unsigned mortal = core->process(true);
                                 core->thread(mortal, "scheduler", [=, &slot] {
                                     schedule(1, slot, core->task(target));
                                 });
                                 core->worker_rounds(1);
                             },
                         .large = true}};

const Registered kRetirer{{.name = "death.retirer",
                           .about = "deleter of an element that dies, sweep; nothing leaks",
                           .lay_out = [](Setup& setup) {
                               auto core = make_core(setup, {.contexts = 2, .elements = 1});
                               Element& element = core->element("element");
                               const unsigned target = core->target(0);
                               make_scheduled(*core, 1, element.slot, target);
                               const unsigned mortal = core->process(true);
                               core->thread(mortal, "deleter",
                                            [=, &element] { remove(core->elements(), element); });
                           }}};

}  // namespace

}  // namespace explore
