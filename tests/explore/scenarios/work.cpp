// SPDX-License-Identifier: Apache-2.0
//
// Works: schedule against schedule, cancel, drain, exit, delete. R numbers are rows of the race
// catalogue (docs/explorer.md).
#include "defer/task_work.hpp"
#include "tests/explore/scenarios/core.hpp"

namespace explore {

namespace {

namespace defer = taskwork::defer;
namespace task = taskwork::task;

const Registered kScheduleAlone{
    {.name = "work.schedule",
     .about = "1 scheduler, target",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup);
         defer::Slot& slot = core->slot("slot");
         const unsigned target = core->target(0);
         core->thread(0, "scheduler", [=, &slot] { schedule(1, slot, core->task(target)); });
     }}};

const Registered kScheduleSchedule{
    {.name = "work.schedule_schedule",
     .about = "2 schedulers of an empty slot, target (R1, R2, R3)",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup);
         defer::Slot& slot = core->slot("slot");
         const unsigned target = core->target(0);
         core->thread(0, "one", [=, &slot] { schedule(1, slot, core->task(target)); });
         core->thread(0, "two", [=, &slot] { schedule(2, slot, core->task(target)); });
     }}};

const Registered kScheduleCancel{
    {.name = "work.schedule_cancel",
     .about = "scheduler, canceller, target (R4 to R7, R10)",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup);
         defer::Slot& slot = core->slot("slot");
         const unsigned target = core->target(0);
         core->thread(0, "scheduler", [=, &slot] { schedule(1, slot, core->task(target)); });
         core->thread(0, "canceller", [=, &slot] { defer::cancel(slot); });
     }}};

}  // namespace

}  // namespace explore
