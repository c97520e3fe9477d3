// SPDX-License-Identifier: Apache-2.0
#include "tests/explore/scenarios/core.hpp"

#include <signal.h>
#include <ucontext.h>

#include <cstdlib>
#include <new>

#include "defer/context.hpp"
#include "defer/transition.hpp"
#include "sync/arena.hpp"
#include "sync/deferral.hpp"
#include "sync/signal.hpp"
#include "task/domain.hpp"
#include "task/life.hpp"
#include "task/lists.hpp"
#include "task/reclaim.hpp"
#include "task/run_point.hpp"
#include "task/worker.hpp"

namespace explore {

namespace {

namespace defer = taskwork::defer;
namespace sync = taskwork::sync;
namespace task = taskwork::task;

/// Of the scenario laid out last. Set-up only.
Core* core_now = nullptr;

std::array<siginfo_t, 16> infos{};
siginfo_t notification_info{};
ucontext_t interrupted{};

void serve(siginfo_t& info) { task::on_signal(sync::kSignal, &info, &interrupted); }

bool is_event(const task::Task&, const siginfo_t& info) noexcept { return info.si_code > 0; }

bool on_event(task::Task&, const siginfo_t& info, void*, task::Dropped dropped) noexcept {
    if (dropped == task::Dropped::no) {
        core_now->serve_event(static_cast<unsigned>(info.si_value.sival_int));
    } else {
        comment("dropped");
    }
    return true;
}

void run_callback(task::Task& task, const defer::Callback& callback) noexcept {
    const auto id = static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(callback.value));
    check(&task == task::current(), "ledger", "a callback runs on another thread than its target");
    check(id == callback.entry, "ledger", "a callback has got the payload of two schedules");
    comment("callback " + std::to_string(id));
    note(kRan + id);
    check(noted(kRan + id) == 1, "ledger", "work " + std::to_string(id) + " runs twice");
    core_now->serve_callback(id);
}

void on_transition(const defer::WorkContext&, std::uint32_t round,
                   defer::Transition what) noexcept {
    static const char* const names[] = {"pending", "scheduled", "refused", "running",
                                        "ran",     "cancelled", "dropped"};
    comment(std::string(names[static_cast<unsigned>(what)]) + " #" + std::to_string(round));
}

using defer::WorkState;
constexpr std::uint8_t kFree = sync::kStateFree;
constexpr std::uint8_t kRetired = sync::kStateRetired;
constexpr std::uint8_t kAttaching = defer::kStateAttaching;
constexpr std::uint8_t raw(WorkState state) { return static_cast<std::uint8_t>(state); }

/// The state machine of defer/task_work.hpp; `sweep` marks what only the worker does after a death.
struct Edge {
    std::uint8_t from;
    std::uint8_t to;
};
constexpr Edge kEdges[] = {
    {kFree, kAttaching},
    {kAttaching, raw(WorkState::standby)},
    {kAttaching, raw(WorkState::freed)},  // Detached by one who is faster than its scheduler.
    {kAttaching, kFree},                  // Another one was published first (R1).
    {kAttaching, kRetired},               // Its scheduler died before it was published.
    {raw(WorkState::standby), raw(WorkState::pending)},
    {raw(WorkState::pending), raw(WorkState::scheduled)},
    {raw(WorkState::pending), raw(WorkState::standby)},
    {raw(WorkState::scheduling), raw(WorkState::standby)},
    {raw(WorkState::scheduled), raw(WorkState::running)},
    {raw(WorkState::scheduled), raw(WorkState::scheduling)},
    {raw(WorkState::running), raw(WorkState::standby)},
    {raw(WorkState::running), raw(WorkState::pending)},  // Scheduled again from its callback.
    {raw(WorkState::standby), raw(WorkState::freed)},
    {raw(WorkState::pending), raw(WorkState::freed)},
    {raw(WorkState::scheduling), raw(WorkState::freed)},
    {raw(WorkState::scheduled), raw(WorkState::freed)},
    {raw(WorkState::running), raw(WorkState::freed)},
    {raw(WorkState::freed), kRetired},
    {kRetired, kFree},
};

bool is_edge(std::uint64_t from, std::uint64_t to) {
    const sync::Word before{from};
    const sync::Word after{to};
    for (const Edge& edge : kEdges) {
        if (edge.from == before.state() && edge.to == after.state()) {
            // A round is begun by pending and by a claim, and by nothing else.
            const bool begins = after.state() == raw(WorkState::pending) || before.state() == kFree;
            return after.round() == before.round() + (begins ? 1U : 0U);
        }
    }
    return false;
}

void finish_element(sync::Pool& pool, void* object) noexcept {
    auto& element = *static_cast<Element*>(object);
    element.value.store(kGone, std::memory_order_relaxed);
    defer::reset(element.slot);
    pool.release(object);
}

}  // namespace

std::vector<std::pair<std::uint32_t, std::string>> documented_edges() {
    const auto name = [](std::uint8_t state) -> std::string {
        static const char* const names[] = {"free",       "retired",   "standby", "pending",
                                            "scheduling", "scheduled", "running", "freed"};
        return state == kAttaching ? "attaching" : names[state];
    };
    std::vector<std::pair<std::uint32_t, std::string>> all;
    for (const Edge& edge : kEdges) {
        all.emplace_back(static_cast<std::uint32_t>(edge.from) << 8 | edge.to,
                         name(edge.from) + " -> " + name(edge.to));
    }
    return all;
}

Core::Core(Setup& setup, CoreLimits limits) : setup_(setup) {
    for (unsigned index = 0; index < infos.size(); ++index) {
        infos[index].si_code = 1;
        infos[index].si_value.sival_int = static_cast<int>(index);
    }
    notification_info.si_code = SI_QUEUE;
    notification_info.si_value.sival_ptr = reinterpret_cast<void*>(sync::notify_mark);
    core_now = this;
    Machine& machine = Setup::machine();
    // Thread 0 of process 0 is there before the domain: it is who lays it out.
    setup.process();
    setup.thread(
        0, "worker",
        [this] {
            if (worker_body_) {
                worker_body_();
            }
        },
        true);
    machine.as_thread(0, [&] {
        task::Life::abandon();
        task::Reclaim::abandon();
        const task::DomainLimits domain{limits.tasks, kProcessesMax,
                                        8 + 4 * limits.tasks + kProcessesMax};
        if (task::create_domain(domain) != taskwork::no_error ||
            defer::WorkTable::create(limits.contexts) != taskwork::no_error) {
            std::fprintf(stderr, "explore: no memory for a domain\n");
            std::abort();
        }
        if (limits.elements != 0) {
            auto* pool = new (sync::Arena::allocate(sizeof(sync::Pool), 64)) sync::Pool;
            const std::size_t bytes = sync::Pool::bytes(limits.elements, sizeof(Element));
            pool->init(sync::Arena::allocate(bytes, 64), limits.elements, sizeof(Element),
                       task::Worker::adopt_pool(*pool, finish_element));
            elements_ = pool;
        }
        task::set_event_hook(is_event, on_event);
        defer::set_callback_runner(defer::kCallbackTest, run_callback);
        defer::set_transition_hook(on_transition);
        static_cast<void>(task::join_process("host"));
        static_cast<void>(task::register_current(0, 0));
        tasks_[0] = task::current();
    });
    auto& contexts = defer::WorkTable::get().contexts;
    for (std::uint32_t index = 0; index < contexts.count(); ++index) {
        auto* context = static_cast<defer::WorkContext*>(contexts.at(index));
        machine.watch(context, context, sizeof(*context), is_edge);
        const std::string name = "work" + std::to_string(index);
        machine.name(context, sizeof(*context), name);
        machine.name(&context->word, 8, name + ".word");
        machine.name(&context->slot, 8, name + ".slot");
        machine.name(&context->totals, 8, name + ".totals");
        machine.name(&context->target, 8, name + ".target");
        machine.name(&context->ran, 8, name + ".ran");
        machine.name(&context->refused, 8, name + ".refused");
        machine.name(&context->dropped, 8, name + ".dropped");
        machine.name(&context->next, 8, name + ".link");
        machine.name(&context->run_next, 8, name + ".run_next");
        machine.name(&context->value, 8, name + ".value");
    }
    if (elements_ != nullptr) {
        for (std::uint32_t index = 0; index < limits.elements; ++index) {
            auto* element = static_cast<Element*>(elements_->at(index));
            machine.watch(element, element, sizeof(*element), nullptr);
            const std::string name = "element" + std::to_string(index);
            machine.name(element, sizeof(*element), name);
            machine.name(&element->slot, 8, name + ".slot");
            machine.name(&element->value, 8, name + ".value");
        }
    }
    auto& table = task::TaskTable::get();
    for (std::uint32_t index = 0; index < table.tasks.count(); ++index) {
        task::Task& one = table.task_at(index);
        machine.keep(&one, offsetof(task::Task, statistics));
        machine.watch(&one, &one.works, 8, nullptr);
        const std::string name = "task" + std::to_string(index);
        machine.name(&one, sizeof(one), name);
        machine.name(&one.word, 8, name + ".word");
        machine.name(&one.works, 8, name + ".works");
        machine.name(&one.safe_works, 8, name + ".safe_works");
        machine.name(&one.pending, 4, name + ".pending");
        machine.name(&one.attention, 4, name + ".attention");
        machine.name(&one.section, 8, name + ".section");
        machine.name(&one.nmi, 8, name + ".nmi");
        machine.name(&one.draining, 8, name + ".draining");
        machine.name(&one.readers[0], 8, name + ".sleepable");
        machine.name(&one.readers[1], 8, name + ".brief");
        machine.name(&one.husks, 4, name + ".husks");
        machine.name(&one.take_sequence, 4, name + ".take_sequence");
    }
    for (std::uint32_t index = 0; index < table.processes.count(); ++index) {
        machine.keep(&table.process_at(index), sizeof(task::Process));
    }
    machine.keep(&table, sizeof(table));
    machine.keep(&sync::GracePeriods::get(), 64);
    machine.name(&sync::GracePeriods::get(), 8, "epoch");
    machine.name(&sync::DeferralQueue::get(), sizeof(sync::DeferralQueue), "queue");
    machine.name(&contexts, sizeof(contexts), "works");
    machine.name(&table, sizeof(table), "tasks");
    machine.watch_section(0, &tasks_[0]->readers[1]);
    setup.at_end([this] { finish(); });
}

unsigned Core::process(bool may_die) {
    deaths = deaths || may_die;
    return setup_.process(may_die);
}

unsigned Core::thread(unsigned process, const std::string& name, std::function<void()> body) {
    const unsigned thread = setup_.thread(process, name, std::move(body));
    Machine& machine = Setup::machine();
    machine.as_thread(thread, [&] {
        static_cast<void>(task::join_process(name.c_str()));
        if (task::register_current(0, 0) != taskwork::no_error) {
            std::fprintf(stderr, "explore: a thread cannot be a task\n");
            std::abort();
        }
        tasks_[thread] = task::current();
    });
    machine.watch_section(thread, &tasks_[thread]->readers[1]);
    setup_.notification(thread, [] {
        comment("notified");
        serve(notification_info);
    });
    // The worker has heard of it.
    machine.as_thread(0, [] { task::run_round(false); });
    return thread;
}

void Core::worker(std::function<void()> body) { worker_body_ = std::move(body); }

void Core::worker_rounds(unsigned count) {
    worker([count] {
        for (unsigned round = 0; round < count; ++round) {
            task::run_round(false);
        }
    });
}

unsigned Core::target(unsigned process, const std::string& name) {
    return thread(process, name, [] {
        await_rest();
        exit_task();
    });
}

void Core::event(unsigned thread, const std::string& name, std::function<void()> body,
                 unsigned times) {
    const auto number = static_cast<unsigned>(events_.size());
    events_.push_back(std::move(body));
    setup_.event(thread, name, [number] { serve(infos[number]); }, times);
}

defer::Slot& Core::slot(const std::string& name) {
    auto* slot = new (sync::Arena::allocate(64, 64)) defer::Slot;
    Setup::machine().name(slot, 8, name);
    slots_.push_back(slot);
    return *slot;
}

Element& Core::element(const std::string&) {
    auto* element = static_cast<Element*>(elements_->claim(0, sync::kStateUser));
    element->value.store(kLive, std::memory_order_relaxed);
    slots_.push_back(&element->slot);
    return *element;
}

/// When nothing disturbs it any more, everything comes to its end: works on tasks that have exited,
/// sweeps, grace periods.
void Core::finish() {
    for (const auto& check : checks_) {
        check();
    }
    // Works are dropped where their thread can no longer run them: it was killed, or it ended and
    // was no task any more, or without a last run point.
    bool targets_end = deaths || drops;
    for (unsigned thread = 1; thread < Setup::machine().thread_count(); ++thread) {
        const task::Task& target = *tasks_[thread];
        const bool listed = target.works.load(std::memory_order_relaxed) != 0 ||
                            target.safe_works.load(std::memory_order_relaxed) != 0;
        targets_end = targets_end || (listed && Setup::machine().world().threads[thread].finished &&
                                      sync::Pool::load(&target).state() == task::kTaskAlive);
    }
    for (unsigned round = 0; round < 4; ++round) {
        task::run_round(true);
    }
    const defer::WorkCounts counts = defer::counts(defer::WorkTable::get().domain);
    std::uint64_t accepted = 0;
    std::uint64_t ran = 0;
    for (unsigned id = 1; id < kIdsMax; ++id) {
        accepted += noted(kAccepted + id);
        ran += noted(kRan + id);
        check(noted(kRan + id) <= noted(kAccepted + id) || deaths, "ledger",
              "work " + std::to_string(id) + " was refused and ran all the same");
    }
    const auto figure = [](std::uint64_t value) { return std::to_string(value); };
    const std::string text = "accepted " + figure(accepted) + ", ran " + figure(ran) +
                             "; counted scheduled " + figure(counts.scheduled) + ", ran " +
                             figure(counts.ran) + ", cancelled " + figure(counts.cancelled) +
                             ", dropped " + figure(counts.dropped) + ", in flight " +
                             figure(counts.in_flight);
    check(targets_end || counts.dropped == 0, "dropped",
          "nobody died, and a work that was accepted neither ran nor was cancelled: " + text);
    check(deaths ? counts.scheduled >= accepted : counts.scheduled == accepted, "ledger", text);
    check(deaths ? counts.ran <= ran : counts.ran == ran, "ledger", text);
    check(counts.scheduled == counts.ran + counts.cancelled + counts.dropped + counts.in_flight,
          "ledger", text);
    // In flight is what waits for a task that lives on.
    std::uint64_t waiting = 0;
    auto& contexts = defer::WorkTable::get().contexts;
    for (std::uint32_t index = 0; index < contexts.count(); ++index) {
        const auto* context = static_cast<defer::WorkContext*>(contexts.at(index));
        const sync::Word word = sync::Pool::load(context);
        if (defer::state_of(word) == WorkState::standby) {
            check(word.flags() == defer::kFlagSlot, "references",
                  "a work at rest has another reference than its slot's");
        }
        if (defer::is_in_flight(word)) {
            const task::Task* target = context->target.load(std::memory_order_relaxed);
            check(target != nullptr && sync::Pool::load(target).state() == task::kTaskAlive,
                  "stuck", "a work is in flight for nobody");
            ++waiting;
        }
    }
    check(counts.in_flight == waiting, "ledger", text);
    // All can be freed: every slot emptied, every task left behind swept.
    auto& table = task::TaskTable::get();
    for (defer::Slot* slot : slots_) {
        defer::cancel(*slot);
    }
    for (unsigned thread = 1; thread < Setup::machine().thread_count(); ++thread) {
        task::Task& one = *tasks_[thread];
        sync::Word word = sync::Pool::load(&one);
        if (word.state() == task::kTaskAlive) {
            Setup::machine().as_thread(thread, [] {
                if (task::current() != nullptr) {
                    exit_task();
                }
            });
        }
    }
    for (unsigned round = 0; round < 6; ++round) {
        task::run_round(true);
    }
    check(contexts.count_free() == contexts.count(), "leak",
          figure(contexts.count() - contexts.count_free()) + " contexts are never freed");
    check(table.tasks.count_free() == table.tasks.count() - 1, "leak",
          figure(table.tasks.count() - 1 - table.tasks.count_free()) + " tasks are never freed");
    const defer::WorkCounts after = defer::counts(defer::WorkTable::get().domain);
    check(after.in_flight == 0 && after.scheduled == after.ran + after.cancelled + after.dropped,
          "ledger", "counts do not balance after all is over");
}

std::shared_ptr<Core> make_core(Setup& setup, CoreLimits limits) {
    auto core = std::make_shared<Core>(setup, limits);
    setup.at_rest([core] {
        // Whoever sleeps with works on its list has been told, or will be.
        const Machine& machine = Setup::machine();
        for (unsigned thread = 1; thread < machine.thread_count(); ++thread) {
            const Thread& one = machine.world().threads[thread];
            if (one.finished || machine.world().dead[one.process]) {
                continue;
            }
            const task::Task& target = core->task(thread);
            const std::uint64_t head = target.works.load(std::memory_order_relaxed);
            if (head == 0 || head == task::kListClosed) {
                continue;
            }
            // A work that may wait for the next run point, or what cancels have left.
            bool urgent = false;
            for (auto index = static_cast<std::uint32_t>(head); index != 0;) {
                const auto* node = sync::arena_object<task::WorkNode>(index);
                const defer::WorkContext& context = defer::context_of(*node);
                urgent = urgent ||
                         (defer::state_of(sync::Pool::load(&context)) == WorkState::scheduled &&
                          context.mode.get() == task::Notify::signal);
                index = task::Link{node->next.load(std::memory_order_relaxed)}.next();
            }
            check(!urgent || core->deaths || core->signals_fail, "lost-wakeup",
                  "works wait for " + machine.plans()[thread].name + ", which sleeps untold");
        }
    });
    return core;
}

std::errc schedule(unsigned id, defer::Slot& slot, task::Task& target, task::Notify mode,
                   task::List list, const taskwork::platform::Atomic<std::uint32_t>* user_count) {
    defer::ScheduleRequest request;
    request.target = &target;
    request.mode = mode;
    request.list = list;
    request.callback.kind = defer::kCallbackTest;
    request.callback.entry = id;
    request.callback.value = reinterpret_cast<void*>(static_cast<std::uintptr_t>(id));
    request.user_count = user_count;
    const std::errc answer = defer::schedule(slot, request);
    note(answer == taskwork::no_error ? kAccepted + id : kRefused + id);
    comment("schedule " + std::to_string(id) + " -> " + std::to_string(static_cast<int>(answer)));
    return answer;
}

void make_standby(Core& core, defer::Slot& slot) {
    Setup::machine().as_thread(0, [&] {
        schedule(kIdsMax - 1, slot, core.task(0));
        task::safe_point();
    });
}

void make_scheduled(Core& core, unsigned id, defer::Slot& slot, unsigned target) {
    Setup::machine().as_thread(0,
                               [&] { schedule(id, slot, core.task(target), task::Notify::none); });
}

void exit_task() { task::exit_current(); }

void remove(sync::Pool& pool, Element& element) {
    defer::cancel_dead(element.slot);
    pool.retire(&element);
}

}  // namespace explore
