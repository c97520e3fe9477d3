// SPDX-License-Identifier: Apache-2.0
//
// Scenarios of tests/explore/mutants: sections, handlers, run points, the second list.
#include <cerrno>
#include <csignal>
#include <memory>

#include <ucontext.h>

#include "defer/context.hpp"
#include "defer/task_work.hpp"
#include "sync/signal.hpp"
#include "task/run_point.hpp"
#include "tests/explore/scenarios/core.hpp"

namespace explore {

namespace {

namespace defer = taskwork::defer;
namespace sync = taskwork::sync;
namespace task = taskwork::task;
using taskwork::no_error;

constexpr auto relaxed = std::memory_order_relaxed;
constexpr auto seq_cst = std::memory_order_seq_cst;

bool in_handler() {
    const Machine& machine = Machine::get();
    return machine.plans()[machine.actor_now()].role != Role::thread;
}

/// An event that schedules onto the thread it interrupts, inside its section and outside.
const Registered kEventInSection{{.name = "mutant.event_in_section",
                                  .about = "thread with a section, event that schedules onto it",
                                  .lay_out = [](Setup& setup) {
                                      auto core = make_core(setup);
                                      defer::Slot& slot = core->slot("slot");
                                      make_standby(*core, slot);
                                      Variable& work = setup.variable("work");
                                      const unsigned host = core->thread(0, "host", [&work] {
                                          {
                                              const task::Section section(task::current());
                                              work.store(1, relaxed);
                                          }
                                          await_rest();
                                          exit_task();
                                      });
                                      core->event(host, "event",
                                                  [&slot] { schedule(1, slot, *task::current()); });
                                      core->callback([](unsigned id) {
                                          check(id != 1 || !task::current()->section.is_open(),
                                                "section", "a callback runs on top of a section");
                                      });
                                  }}};

/// An event in an event's handler is dropped: it would use what the first one is using.
const Registered kNestedEvents{
    {.name = "mutant.nested_events",
     .about = "thread, 2 events that may nest",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup);
         Setup::machine().set_nesting(2);
         Variable& scratch = setup.variable("scratch");
         const unsigned host = core->thread(0, "host", [] { await_rest(); });
         core->event(
             host, "event",
             [&scratch] {
                 check(scratch.load(relaxed) == 0, "nesting", "an event nests in another one");
                 scratch.store(1, relaxed);
                 static_cast<void>(task::current()->nmi.is_open());
                 scratch.store(0, relaxed);
             },
             2);
     }}};

/// What an event leaves to the drain that it interrupts is run by it.
const Registered kEventInDrain{{.name = "mutant.event_in_drain",
                                .about = "thread that drains, event that schedules onto it",
                                .lay_out = [](Setup& setup) {
                                    auto core = make_core(setup);
                                    defer::Slot& one = core->slot("slot1");
                                    defer::Slot& two = core->slot("slot2");
                                    make_standby(*core, two);
                                    const unsigned host = core->thread(0, "host", [] {
                                        task::safe_point();
                                        await_rest();
                                        exit_task();
                                    });
                                    make_scheduled(*core, 1, one, host);
                                    core->event(host, "event",
                                                [&two] { schedule(2, two, *task::current()); });
                                }}};

/// errno is the interrupted code's, whatever a callback does.
const Registered kErrno{{.name = "mutant.errno",
                         .about = "thread whose handler runs a callback",
                         .lay_out = [](Setup& setup) {
                             auto core = make_core(setup);
                             defer::Slot& slot = core->slot("slot");
                             const unsigned host = core->thread(0, "host", [] {
                                 siginfo_t info{};
                                 info.si_code = SI_QUEUE;
                                 info.si_value.sival_ptr =
                                     reinterpret_cast<void*>(sync::notify_mark);
                                 ucontext_t interrupted{};
                                 errno = ENOENT;
                                 task::on_signal(sync::kSignal, &info, &interrupted);
                                 check(errno == ENOENT, "errno", "a handler leaves another errno");
                             });
                             make_scheduled(*core, 1, slot, host);
                             core->callback([](unsigned) { errno = EINVAL; });
                         }}};

/// A signal that could not be sent must not keep the next scheduler silent.
const Registered kSignalFails{
    {.name = "mutant.signal_fails",
     .about = "scheduler of 2 works, a signal that fails once, target that sleeps",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup);
         core->signals_fail = true;
         defer::Slot& one = core->slot("slot1");
         defer::Slot& two = core->slot("slot2");
         make_standby(*core, one);
         make_standby(*core, two);
         Setup::machine().set_notify_failures(1);
         const unsigned target = core->target(0);
         core->thread(0, "scheduler", [=, &one, &two] {
             schedule(1, one, core->task(target));
             schedule(2, two, core->task(target));
         });
         setup.at_rest([=] {
             const task::Task& asleep = core->task(target);
             const std::uint64_t head = asleep.works.load(relaxed);
             check(head == 0 || head == task::kListClosed || asleep.pending.load(relaxed) == 0,
                   "lost-wakeup", "the target has been told, its flag says, and sleeps");
         });
     }}};

/// A signal whose works have been run already must leave the target ready to be told again.
const Registered kToldLate{{.name = "mutant.told_late",
                            .about = "scheduler of 2 works, target that looks and then sleeps",
                            .lay_out =
                                [](Setup& setup) {
                                    auto core = make_core(setup);
                                    defer::Slot& one = core->slot("slot1");
                                    defer::Slot& two = core->slot("slot2");
                                    make_standby(*core, one);
                                    make_standby(*core, two);
                                    const unsigned target = core->thread(0, "target", [] {
                                        task::safe_point();
                                        await_rest();
                                        exit_task();
                                    });
                                    core->thread(0, "scheduler", [=, &one, &two] {
                                        schedule(1, one, core->task(target));
                                        schedule(2, two, core->task(target));
                                    });
                                },
                            .large = true}};

/// A callback that schedules its own work anew, onto a task that is faster than its return.
const Registered kAgain{
    {.name = "mutant.again",
     .about = "callback that schedules its own handle onto another target, both looking",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup, {.contexts = 1});
         defer::WorkContext* context = nullptr;
         Setup::machine().as_thread(
             0, [&] { context = defer::claim_context({core->task(0).process}); });
         const unsigned first = core->thread(0, "first target", [] { task::safe_point(); });
         const unsigned second = core->thread(0, "second target", [] { task::safe_point(); });
         const auto schedule_handle = [=](unsigned id, unsigned target, std::uint32_t again) {
             task::Task& self = *task::current();
             const task::Section section(&self);
             const task::ReadSection brief(self, sync::Flavour::brief);
             defer::ScheduleRequest request;
             request.target = &core->task(target);
             request.mode = task::Notify::none;
             request.callback.kind = defer::kCallbackTest;
             request.callback.entry = id;
             request.callback.value = reinterpret_cast<void*>(std::uintptr_t{id});
             const bool done = defer::schedule(self, *context, request, again) == no_error;
             note(done ? kAccepted + id : kRefused + id);
         };
         Setup::machine().as_thread(0, [&] { schedule_handle(1, first, 0); });
         core->callback([=](unsigned id) {
             if (id == 1) {
                 schedule_handle(2, second, sync::Pool::load(context).round());
             }
         });
         core->before_cleanup([context] {
             const task::ReadSection brief(*task::current(), sync::Flavour::brief);
             defer::detach(*context);
         });
     }}};

// --- The list of safe points ---

void schedule_safe(unsigned id, defer::Slot& slot, task::Task& target,
                   task::Notify mode = task::Notify::resume) {
    schedule(id, slot, target, mode, task::List::safe_point);
}

bool has_safe_works(const task::Task& one) {
    const std::uint64_t head = one.safe_works.load(relaxed);
    return head != 0 && head != task::kListClosed;
}

/// A safe point does what was scheduled before it, whoever was at work at the last one.
const Registered kSafeAttention{
    {.name = "mutant.safe_attention",
     .about = "scheduler of 2 works for safe points, target at two of them",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup);
         defer::Slot& one = core->slot("slot1");
         defer::Slot& two = core->slot("slot2");
         make_standby(*core, one);
         make_standby(*core, two);
         const unsigned target = core->thread(0, "target", [] {
             task::safe_point();
             await_rest();
             task::safe_point();
             check(!has_safe_works(*task::current()), "lost-wakeup",
                   "a safe point passes over a work that waits for it");
         });
         core->thread(0, "scheduler", [=, &one, &two] {
             schedule_safe(1, one, core->task(target));
             schedule_safe(2, two, core->task(target));
         });
     }}};

/// What a thread that ends has accepted for its safe points it runs.
const Registered kSafeExit{
    {.name = "mutant.safe_exit",
     .about = "scheduler for safe points, target that ends",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup);
         defer::Slot& slot = core->slot("slot");
         make_standby(*core, slot);
         const unsigned target = core->thread(0, "target", [] { exit_task(); });
         core->thread(0, "scheduler", [=, &slot] { schedule_safe(1, slot, core->task(target)); });
         core->before_cleanup([] {
             check(noted(kAccepted + 1) == noted(kRan + 1), "ledger",
                   "a work has been accepted by a thread that ended, and has not run");
         });
     }}};

/// Works of safe points run in no handler.
const Registered kSafeInHandler{
    {.name = "mutant.safe_in_handler",
     .about = "scheduler by signal for safe points, target that sleeps",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup);
         defer::Slot& slot = core->slot("slot");
         make_standby(*core, slot);
         const unsigned target = core->target(0);
         core->thread(0, "scheduler", [=, &slot] {
             schedule_safe(1, slot, core->task(target), task::Notify::signal);
         });
         core->callback([](unsigned id) {
             check(id != 1 || !in_handler(), "section", "a safe point's work runs in a handler");
         });
     }}};

/// An event while the second list is taken: it may not take the first one on top of that.
const Registered kSafeTake{
    {.name = "mutant.safe_take",
     .about = "target at a safe point, event that schedules onto it",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup);
         defer::Slot& one = core->slot("slot1");
         defer::Slot& two = core->slot("slot2");
         make_standby(*core, two);
         const unsigned host = core->thread(0, "host", [] {
             task::safe_point();
             await_rest();
             exit_task();
         });
         Setup::machine().as_thread(0, [&] { schedule_safe(1, one, core->task(host)); });
         core->event(host, "event", [&two] { schedule(2, two, *task::current()); });
         core->callback([](unsigned id) {
             check(id > 2 || task::current()->take_sequence.load(relaxed) % 2 == 0, "sequence",
                   "a callback runs while its thread takes a list");
         });
     }}};

/// The event descriptor of the layer above, as a variable.
class Descriptor {
public:
    explicit Descriptor(Variable& readable) {
        readable_ = &readable;
        task::EventDescriptorHooks hooks;
        hooks.raise = [](task::Task&) noexcept {
            readable_->store(1, seq_cst);
            return true;
        };
        hooks.lower = [](task::Task&) noexcept { readable_->store(0, seq_cst); };
        task::set_event_descriptor_hooks(hooks);
    }
    ~Descriptor() { task::set_event_descriptor_hooks({}); }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;

private:
    static inline Variable* readable_ = nullptr;
};

/// A thread that waits for its descriptor is brought to its safe point by it.
const Registered kDescriptor{
    {.name = "mutant.descriptor",
     .about = "scheduler of 3 works for safe points, target that waits for its descriptor",
     .lay_out = [](Setup& setup) {
         auto core = make_core(setup, {.contexts = 3});
         Variable& readable = setup.variable("readable");
         auto descriptor = std::make_shared<Descriptor>(readable);
         std::array<defer::Slot*, 3> slots{};
         for (defer::Slot*& slot : slots) {
             slot = &core->slot("slot");
             make_standby(*core, *slot);
         }
         const unsigned target = core->thread(0, "target", [&readable] {
             task::safe_point();
             await_rest();
             check(!has_safe_works(*task::current()) || readable.load(relaxed) != 0, "lost-wakeup",
                   "works wait for a safe point, and the descriptor is not readable");
         });
         core->thread(0, "scheduler", [=] {
             for (unsigned index = 0; index < slots.size(); ++index) {
                 schedule_safe(index + 1, *slots[index], core->task(target));
             }
         });
         setup.at_rest([descriptor] {});
     }}};

}  // namespace

}  // namespace explore
