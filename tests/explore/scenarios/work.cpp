// SPDX-License-Identifier: Apache-2.0
//
// Works: schedule against schedule, cancel, drain, exit, delete, the last user reference. R numbers
// are rows of the race catalogue (docs/explorer.md).
#include "defer/context.hpp"
#include "defer/task_work.hpp"
#include "task/domain.hpp"
#include "task/run_point.hpp"
#include "tests/explore/scenarios/core.hpp"

namespace explore {

namespace {

namespace defer = taskwork::defer;
namespace task = taskwork::task;
namespace sync = taskwork::sync;
using taskwork::no_error;

constexpr auto seq_cst = std::memory_order_seq_cst;

/// A target that looks at its list once, without having been told, and then sleeps.
unsigned looking_target(Core& core, unsigned process) {
    return core.thread(process, "target", [] {
        task::safe_point();
        await_rest();
        exit_task();
    });
}

/// A target that ends while others schedule.
unsigned ending_target(Core& core, unsigned process) {
    return core.thread(process, "target", [] { exit_task(); });
}

const Registered kSchedule{
    {.name = "work.schedule",
     .about = "scheduler, target",
     .lay_out =
         [](Setup& setup) {
             auto core = make_core(setup);
             defer::Slot& slot = core->slot("slot");
             const unsigned target = looking_target(*core, 0);
             core->thread(0, "scheduler", [=, &slot] { schedule(1, slot, core->task(target)); });
         },
     .models = kAllModels}};

const Registered kScheduleEmpty{
    {.name = "work.schedule_schedule",
     .about = "2 schedulers of an empty slot, target (R1, R3)",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup);
         defer::Slot& slot = core->slot("slot");
         const unsigned target = core->target(0);
         core->thread(0, "one", [=, &slot] { schedule(1, slot, core->task(target)); });
         core->thread(0, "two", [=, &slot] { schedule(2, slot, core->task(target)); });
     }}};

const Registered kScheduleStandby{
    {.name = "work.schedule_standby",
     .about = "2 schedulers of a used slot, target (R2, R3)",
     .lay_out =
         [](Setup& setup) {
             auto core = make_core(setup);
             defer::Slot& slot = core->slot("slot");
             make_standby(*core, slot);
             const unsigned target = looking_target(*core, 0);
             core->thread(0, "one", [=, &slot] { schedule(1, slot, core->task(target)); });
             core->thread(0, "two", [=, &slot] { schedule(2, slot, core->task(target)); });
         },
     .large = true}};

const Registered kTwoSlots{
    {.name = "work.two_slots",
     .about = "2 schedulers of slots of their own, one target",
     .lay_out =
         [](Setup& setup) {
             auto core = make_core(setup, {.contexts = 2});
             defer::Slot& one = core->slot("slot1");
             defer::Slot& two = core->slot("slot2");
             make_standby(*core, one);
             make_standby(*core, two);
             const unsigned target = core->target(0);
             core->thread(0, "one", [=, &one] { schedule(1, one, core->task(target)); });
             core->thread(0, "two", [=, &two] { schedule(2, two, core->task(target)); });
         },
     .models = kAllModels}};

const Registered kResume{
    {.name = "work.resume_and_signal",
     .about = "scheduler by resume, scheduler by signal, one target",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup, {.contexts = 2});
         defer::Slot& one = core->slot("slot1");
         defer::Slot& two = core->slot("slot2");
         make_standby(*core, one);
         make_standby(*core, two);
         const unsigned target = core->target(0);
         core->thread(0, "one",
                      [=, &one] { schedule(1, one, core->task(target), task::Notify::resume); });
         core->thread(0, "two", [=, &two] { schedule(2, two, core->task(target)); });
     }}};

const Registered kSafePoint{{.name = "work.safe_point_list",
                             .about = "scheduler for safe points alone, target at one",
                             .lay_out =
                                 [](Setup& setup) {
                                     auto core = make_core(setup);
                                     defer::Slot& slot = core->slot("slot");
                                     make_standby(*core, slot);
                                     const unsigned target = core->thread(0, "target", [] {
                                         task::safe_point();
                                         exit_task();
                                     });
                                     core->thread(0, "scheduler", [=, &slot] {
                                         schedule(1, slot, core->task(target), task::Notify::signal,
                                                  task::List::safe_point);
                                     });
                                 },
                             .models = kAllModels}};

const Registered kScheduleCancel{
    {.name = "work.schedule_cancel",
     .about = "scheduler of an empty slot, canceller, target (R4 to R7, R10)",
     .lay_out =
         [](Setup& setup) {
             auto core = make_core(setup);
             defer::Slot& slot = core->slot("slot");
             const unsigned target = core->target(0);
             core->thread(0, "scheduler", [=, &slot] { schedule(1, slot, core->task(target)); });
             core->thread(0, "canceller", [=, &slot] { defer::cancel(slot); });
         },
     .models = kAllModels}};

const Registered kCancelStandby{
    {.name = "work.schedule_cancel_standby",
     .about = "scheduler of a used slot, canceller, target that looks (R5 to R10)",
     .lay_out =
         [](Setup& setup) {
             auto core = make_core(setup);
             defer::Slot& slot = core->slot("slot");
             make_standby(*core, slot);
             const unsigned target = looking_target(*core, 0);
             core->thread(0, "scheduler", [=, &slot] { schedule(1, slot, core->task(target)); });
             core->thread(0, "canceller", [=, &slot] { defer::cancel(slot); });
         },
     .large = true}};

/// TW.2: once cancel has returned the callback does not start.
const Registered kCancelReturns{
    {.name = "work.cancel_returns",
     .about = "canceller of its own work, target (R10, TW.2)",
     .lay_out =
         [](Setup& setup) {
             auto core = make_core(setup);
             defer::Slot& slot = core->slot("slot");
             Variable& over = setup.variable("cancelled");
             make_standby(*core, slot);
             const unsigned target = looking_target(*core, 0);
             core->thread(0, "canceller", [=, &slot, &over] {
                 schedule(1, slot, core->task(target));
                 defer::cancel(slot);
                 over.store(1, seq_cst);
             });
             core->callback([&](unsigned id) {
                 if (id == 1 && over.load(seq_cst) != 0) {
                     // It was running when the cancel came, which the word
                     // has kept.
                     const sync::Word word =
                         sync::Pool::load(defer::WorkTable::get().contexts.at(0));
                     check((word.flags() & defer::kFlagFromRunning) != 0, "ledger",
                           "a callback starts after its cancel");
                 }
             });
         },
     .models = kAllModels}};

const Registered kCancelCancel{{.name = "work.cancel_cancel",
                                .about = "2 cancellers of a scheduled work, target (R20)",
                                .lay_out =
                                    [](Setup& setup) {
                                        auto core = make_core(setup);
                                        defer::Slot& slot = core->slot("slot");
                                        const unsigned target = core->target(0);
                                        make_scheduled(*core, 1, slot, target);
                                        core->thread(0, "one", [=, &slot] { defer::cancel(slot); });
                                        core->thread(0, "two",
                                                     [=, &slot] { defer::cancel_dead(slot); });
                                    },
                                .models = kAllModels}};

const Registered kExit{{.name = "work.exit",
                        .about = "scheduler of a used slot, target that ends (R15)",
                        .lay_out =
                            [](Setup& setup) {
                                auto core = make_core(setup);
                                defer::Slot& slot = core->slot("slot");
                                make_standby(*core, slot);
                                const unsigned target = ending_target(*core, 0);
                                core->thread(0, "scheduler",
                                             [=, &slot] { schedule(1, slot, core->task(target)); });
                            },
                        .models = kAllModels}};

const Registered kExitedCancel{
    {.name = "work.exited_cancel",
     .about = "scheduler onto a thread that has ended, canceller (K29)",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup);
         defer::Slot& slot = core->slot("slot");
         make_standby(*core, slot);
         const unsigned target = core->thread(0, "target", [] {});
         core->thread(0, "scheduler", [=, &slot] { schedule(1, slot, core->task(target)); });
         core->thread(0, "canceller", [&slot] { defer::cancel(slot); });
         // Last, so that nobody above has its control block.
         Setup::machine().as_thread(target, [] { exit_task(); });
     }}};

const Registered kExitCancel{
    {.name = "work.exit_cancel",
     .about = "scheduler, canceller, target that ends (R15, R7)",
     .lay_out =
         [](Setup& setup) {
             auto core = make_core(setup);
             defer::Slot& slot = core->slot("slot");
             make_standby(*core, slot);
             const unsigned target = ending_target(*core, 0);
             core->thread(0, "scheduler", [=, &slot] { schedule(1, slot, core->task(target)); });
             core->thread(0, "canceller", [=, &slot] { defer::cancel(slot); });
         },
     .large = true}};

const Registered kExitTwo{
    {.name = "work.exit_two",
     .about = "2 schedulers, target that ends (R15, R17)",
     .lay_out =
         [](Setup& setup) {
             auto core = make_core(setup);
             defer::Slot& slot = core->slot("slot");
             make_standby(*core, slot);
             const unsigned target = ending_target(*core, 0);
             core->thread(0, "one", [=, &slot] { schedule(1, slot, core->task(target)); });
             core->thread(0, "two", [=, &slot] { schedule(2, slot, core->task(target)); });
         },
     .large = true}};

/// The callback deletes what it is the work of, and schedules anew.
const Registered kDeleteInCallback{
    {.name = "work.delete_in_callback",
     .about = "callback that cancels itself and schedules again, canceller (R11)",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup, {.contexts = 3});
         defer::Slot& slot = core->slot("slot");
         make_standby(*core, slot);
         const unsigned target = core->thread(0, "target", [] {
             task::safe_point();
             exit_task();
         });
         make_scheduled(*core, 1, slot, target);
         core->callback([=, &slot](unsigned id) {
             if (id == 1) {
                 defer::cancel(slot);
                 schedule(2, slot, core->task(target));
             }
         });
         core->thread(0, "canceller", [=, &slot] { defer::cancel(slot); });
     }}};

const Registered kAgainInCallback{
    {.name = "work.schedule_in_callback",
     .about = "callback that schedules its own slot, another scheduler (R3)",
     .lay_out =
         [](Setup& setup) {
             auto core = make_core(setup);
             defer::Slot& slot = core->slot("slot");
             make_standby(*core, slot);
             const unsigned target = core->thread(0, "target", [] {
                 task::safe_point();
                 exit_task();
             });
             make_scheduled(*core, 1, slot, target);
             core->callback([=, &slot](unsigned id) {
                 if (id == 1) {
                     check(schedule(2, slot, core->task(target)) != no_error, "ledger",
                           "a running work was scheduled again");
                 }
             });
             core->thread(0, "scheduler", [=, &slot] { schedule(3, slot, core->task(target)); });
         },
     .models = kAllModels}};

/// Array update while the callback runs, then a schedule onto another task: two generations.
const Registered kUpdate{
    {.name = "work.update_while_running",
     .about = "updater that schedules the slot onto another task, 2 targets (R12)",
     .lay_out =
         [](Setup& setup) {
             auto core = make_core(setup, {.contexts = 3});
             defer::Slot& slot = core->slot("slot");
             make_standby(*core, slot);
             const unsigned first = ending_target(*core, 0);
             const unsigned second = core->thread(0, "second target", [] { exit_task(); });
             make_scheduled(*core, 1, slot, first);
             core->thread(0, "updater", [=, &slot] {
                 defer::cancel(slot);
                 schedule(2, slot, core->task(second));
             });
         },
     .large = true}};

/// The last user reference of the map goes while somebody schedules; whoever sees the count at 0
/// empties the slots.
const Registered kUserCount{
    {.name = "work.last_user_reference",
     .about = "scheduler, closer of the last reference, target (R13, R14)",
     .lay_out =
         [](Setup& setup) {
             auto core = make_core(setup);
             defer::Slot& slot = core->slot("slot");
             auto& users = reinterpret_cast<taskwork::platform::Atomic<std::uint32_t>&>(
                 setup.variable("users", 1));
             const unsigned target = core->target(0);
             core->thread(0, "scheduler", [=, &slot, &users] {
                 schedule(1, slot, core->task(target), task::Notify::signal, task::List::anywhere,
                          &users);
             });
             core->thread(0, "closer", [=, &slot, &users] {
                 users.fetch_sub(1, seq_cst);
                 defer::cancel(slot);
             });
             core->before_cleanup([&slot] {
                 check(slot.word.load(seq_cst) == 0, "leak",
                       "a work was attached after the last user had gone");
             });
         },
     .models = kAllModels}};

/// A context that no slot holds, but a handle of the library does.
std::errc schedule_handle(unsigned id, defer::WorkContext& context, task::Task& target,
                          task::Notify mode, std::uint32_t again) {
    defer::ScheduleRequest request;
    request.target = &target;
    request.mode = mode;
    request.callback = {defer::kCallbackTest, id, nullptr, nullptr,
                        reinterpret_cast<void*>(static_cast<std::uintptr_t>(id))};
    const task::Section section(task::current());
    const task::ReadSection brief(*task::current(), sync::Flavour::brief);
    const std::errc answer = defer::schedule(*task::current(), context, request, again);
    note(answer == no_error ? kAccepted + id : kRefused + id);
    return answer;
}

void handle(Setup& setup, bool canceller) {
    auto core = make_core(setup);
    defer::WorkContext* context = nullptr;
    Setup::machine().as_thread(0, [&] { context = defer::claim_context(0); });
    const unsigned target = core->thread(0, "target", [] {
        task::safe_point();
        exit_task();
    });
    Setup::machine().as_thread(
        0, [&] { schedule_handle(1, *context, core->task(target), task::Notify::none, 0); });
    core->callback([=](unsigned id) {
        if (id == 1) {
            const std::uint32_t round = sync::Pool::load(context).round();
            schedule_handle(2, *context, core->task(target), task::Notify::signal, round);
        }
    });
    if (canceller) {
        core->thread(0, "canceller", [=] { defer::detach(*context); });
    } else {
        core->thread(0, "scheduler", [=] {
            schedule_handle(3, *context, core->task(target), task::Notify::signal, 0);
        });
    }
    core->before_cleanup([=] { defer::detach(*context); });
}

const Registered kHandleCancel{
    {.name = "work.again_cancel",
     .about = "callback that schedules its handle again, canceller (M36)",
     .lay_out = [](Setup& setup) { handle(setup, true); }}};
const Registered kHandleSchedule{
    {.name = "work.again_schedule",
     .about = "callback that schedules its handle again, another scheduler (M36)",
     .lay_out = [](Setup& setup) { handle(setup, false); }}};

/// No memory: one context for two slots.
const Registered kNoMemory{
    {.name = "work.no_memory",
     .about = "2 schedulers of 2 slots, one context",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup, {.contexts = 1});
         defer::Slot& one = core->slot("slot1");
         defer::Slot& two = core->slot("slot2");
         const unsigned target = core->target(0);
         core->thread(0, "one", [=, &one] { schedule(1, one, core->task(target)); });
         core->thread(0, "two", [=, &two] { schedule(2, two, core->task(target)); });
     }}};

/// The signal cannot be sent once: the work may wait, but the next scheduler must try again.
const Registered kNotifyFails{
    {.name = "work.notify_fails",
     .about = "2 schedulers of 2 slots, a signal that fails once, target",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup);
         defer::Slot& one = core->slot("slot1");
         defer::Slot& two = core->slot("slot2");
         make_standby(*core, one);
         make_standby(*core, two);
         Setup::machine().set_notify_failures(1);
         core->signals_fail = true;
         const unsigned target = core->target(0);
         core->thread(0, "one", [=, &one] { schedule(1, one, core->task(target)); });
         core->thread(0, "two", [=, &two] { schedule(2, two, core->task(target)); });
     }}};

}  // namespace

}  // namespace explore
