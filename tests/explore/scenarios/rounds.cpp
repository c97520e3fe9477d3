// SPDX-License-Identifier: Apache-2.0
//
// Rounds of a context: late steps of an older one, and waiting for one to end.
#include "defer/context.hpp"
#include "defer/task_work.hpp"
#include "task/run_point.hpp"
#include "tests/explore/scenarios/core.hpp"

namespace explore {

namespace {

namespace defer = taskwork::defer;
namespace sync = taskwork::sync;
namespace task = taskwork::task;

constexpr auto seq_cst = std::memory_order_seq_cst;

/// A target that looks once and ends; both run what they find.
unsigned looking_target(Core& core) {
    return core.thread(0, "target", [] {
        task::safe_point();
        exit_task();
    });
}

/// A canceller ends what it finds in the slot, and nothing later: what it schedules itself
/// afterwards runs, whatever is still on its way in the round that it cancelled.
const Registered kStaleRound{
    {.name = "work.stale_round",
     .about = "scheduler, canceller that schedules the slot anew, target (R8, R17, R18, R23)",
     .lay_out =
         [](Setup& setup) {
             auto core = make_core(setup);
             defer::Slot& slot = core->slot("slot");
             make_standby(*core, slot);
             const unsigned target = core->target(0);
             core->thread(0, "scheduler", [=, &slot] { schedule(1, slot, core->task(target)); });
             core->thread(0, "canceller", [=, &slot] {
                 defer::cancel(slot);
                 schedule(2, slot, core->task(target));
             });
             core->before_cleanup([] {
                 check(noted(kAccepted + 2) == noted(kRan + 2), "stale",
                       "a round that began after the only cancel has not run");
             });
         },
     .large = true}};

/// A thread's end is a run point of both lists: whatever was accepted runs.
const Registered kExitSafe{
    {.name = "work.exit_safe",
     .about = "scheduler for safe points, target that ends (R15)",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup);
         defer::Slot& slot = core->slot("slot");
         make_standby(*core, slot);
         const unsigned target = core->thread(0, "target", [] { exit_task(); });
         core->thread(0, "scheduler", [=, &slot] {
             schedule(1, slot, core->task(target), task::Notify::signal, task::List::safe_point);
         });
     }}};

/// As cancel_and_wait() of the library: whoever has detached a work that ran waits until it no
/// longer does; whoever has cancelled it need not.
const Registered kCancelAndWait{
    {.name = "work.cancel_and_wait",
     .about = "canceller that waits for the callback it found running, target",
     .lay_out =
         [](Setup& setup) {
             auto core = make_core(setup);
             defer::Slot& slot = core->slot("slot");
             Variable& returned = setup.variable("returned");
             Variable& over = setup.variable("callback over");
             make_standby(*core, slot);
             const unsigned target = looking_target(*core);
             make_scheduled(*core, 1, slot, target);
             auto& context =
                 *static_cast<defer::WorkContext*>(defer::WorkTable::get().contexts.at(0));
             core->callback([&](unsigned id) {
                 if (id == 1) {
                     check(returned.load(seq_cst) == 0, "ledger",
                           "a callback begins when its canceller has waited for it");
                     over.store(1, seq_cst);
                 }
             });
             core->thread(0, "canceller", [&] {
                 const task::ReadSection brief(*task::current(), sync::Flavour::brief);
                 std::uint32_t round = 0;
                 const defer::WorkState found = defer::detach(context, false, &round);
                 const bool running = found == defer::WorkState::running;
                 for (int look = 0; running && defer::runs_detached(context, round); ++look) {
                     if (look == 3) {
                         return;  // It waits on.
                     }
                 }
                 check(!running || over.load(seq_cst) != 0, "ledger",
                       "a canceller has waited, and the callback is not over");
                 returned.store(1, seq_cst);
             });
         },
     .models = {Model::sc, Model::tso, Model::ra}}};

}  // namespace

}  // namespace explore
