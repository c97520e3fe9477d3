// SPDX-License-Identifier: Apache-2.0
#include "tests/storm/storm.hpp"

#include <linux/bpf.h>
#include <poll.h>
#include <unistd.h>

#include <new>
#include <sstream>

#include "defer/context.hpp"
#include "sync/arena.hpp"

namespace taskwork::storm {

namespace {

using defer::WorkTable;
using sync::Pool;
using task::current;
using task::Notify;
using task::Task;
using task::TaskTable;

constexpr std::uint8_t kScratchUsed = sync::kStateUser;

/// Of this process; handlers find it here.
Scene* the_scene = nullptr;

struct MapValue {
    std::uint64_t number;
    std::uint64_t slot;
};

Books& books_of(Scene& scene, const Task& task) noexcept {
    return scene.books[TaskTable::get().tasks.index_of(&task)];
}

/// Every eighth callback acts in its turn.
void runner(Task& self, const defer::Callback&) noexcept {
    Books& books = books_of(*the_scene, self);
    if (books.random.below(8) == 0) {
        act(*the_scene);
    }
    books.ran.fetch_add(1, std::memory_order_relaxed);
}

bool on_event(Task& self, const siginfo_t&, void*, task::Dropped dropped) noexcept {
    if (dropped == task::Dropped::no) {
        books_of(*the_scene, self).events.fetch_add(1, std::memory_order_relaxed);
        act(*the_scene);
    }
    return true;
}

/// Without perf events there is nothing gentler than the signal.
void kick(Task& task) noexcept { platform::notify_thread(task.pid, task.tid); }

/// Claims of the dead come back.
bool sweep_scratch(std::uint16_t owner) noexcept {
    Pool& pool = the_scene->scratch;
    for (std::uint32_t index = 0; index < pool.count(); ++index) {
        const sync::Word word = Pool::load(pool.at(index));
        if (word.state() == kScratchUsed && word.owner() == owner) {
            pool.retire(pool.at(index));
        }
    }
    return true;
}

void check(Scene& scene, std::errc result, bool expected) noexcept {
    if (!expected) {
        scene.unexpected.store(static_cast<int>(result), std::memory_order_relaxed);
    }
}

/// A target of the storm; now and then the caller itself, and one that is not there any more.
Task* choose(Scene& scene, Task& self, Random& random) noexcept {
    const std::uint64_t number = random.below(kTargets + kTargets / 4);
    if (number >= kTargets) {
        return &self;
    }
    const Target& target = scene.targets[number];
    if (scene.by_pointer.load(std::memory_order_relaxed) != 0 && random.below(2) == 0) {
        return target.task.load(std::memory_order_acquire);
    }
    const std::int32_t tid = target.tid.load(std::memory_order_acquire);
    return tid == 0 ? nullptr : TaskTable::get().find(tid);
}

void schedule(Scene& scene, Task& self, Books& books, defer::Slot& slot, map::Map* map,
              void* value) noexcept {
    Task* target = choose(scene, self, books.random);
    defer::ScheduleRequest request;
    request.target = target == nullptr ? &self : target;
    request.mode = books.random.below(4) == 0 ? Notify::resume : Notify::signal;
    request.list = books.random.below(8) == 0 ? task::List::safe_point : task::List::anywhere;
    request.callback = {defer::kCallbackTest, 0, nullptr, map, value};
    request.totals = map == nullptr ? &scene.totals : &map->works;
    const std::errc result = defer::schedule(slot, request);
    if (result == no_error) {
        books.scheduled.fetch_add(1, std::memory_order_relaxed);
    } else if (result == std::errc::device_or_resource_busy) {
        books.busy.fetch_add(1, std::memory_order_relaxed);
    }
    // No memory: K8. No process: the target has exited. No entry: the element was deleted (K96).
    check(scene, result,
          result == no_error || result == std::errc::device_or_resource_busy ||
              result == std::errc::not_enough_memory || result == std::errc::no_such_process ||
              result == std::errc::no_such_file_or_directory);
}

void act_on_map(Scene& scene, Task& self, Books& books, std::uint64_t kind) noexcept {
    map::Map& map = *scene.map;
    const std::uint64_t key = books.random.below(kKeys);
    if (kind == 0) {
        const std::errc result = map::remove(map, &key);
        check(scene, result, result == no_error || result == std::errc::no_such_file_or_directory);
        return;
    }
    if (kind < 3) {
        const MapValue value{books.random.draw(), 0};
        const std::errc result = map::update(map, &key, &value, BPF_ANY);
        // There are more keys than places; and a section that is open may hold all spares.
        check(scene, result,
              result == no_error || result == std::errc::not_enough_memory ||
                  result == std::errc::argument_list_too_long);
        return;
    }
    if (void* value = map::lookup(map, &key); value != nullptr) {
        schedule(scene, self, books, *map::task_work_slot(map, value), &map, value);
    }
}

void claim_and_release(Scene& scene, Task& self, Books& books) noexcept {
    void* object = scene.scratch.claim({self.process, self.lane}, kScratchUsed);
    if (object == nullptr) {
        return;
    }
    auto& holder = *(static_cast<platform::Atomic<std::uint64_t>*>(object) + 1);
    const auto mine = static_cast<std::uint64_t>(self.tid);
    holder.store(mine, std::memory_order_relaxed);
    books.claims.fetch_add(1, std::memory_order_relaxed);
    check(scene, std::errc::bad_address, holder.load(std::memory_order_relaxed) == mine);
    if (books.random.below(64) == 0) {
        scene.scratch.retire(object);
    } else {
        scene.scratch.release(object);
    }
}

}  // namespace

void act(Scene& scene) noexcept {
    Task* self = current();
    if (self == nullptr) {
        return;
    }
    const task::Section section(self);
    const task::ReadSection keep(*self, sync::Flavour::sleepable);
    Books& books = books_of(scene, *self);
    books.acts.fetch_add(1, std::memory_order_relaxed);
    Value& value = scene.values[books.random.below(kValues)];
    const std::uint64_t kind = books.random.below(16);
    if (kind < 8) {
        schedule(scene, *self, books, value.slot, nullptr, &value);
    } else if (kind < 10) {
        // A dead slot stays so until it is recycled: mostly they should be alive.
        if (books.random.below(scene.deletes_one_in.load(std::memory_order_relaxed)) == 0) {
            defer::cancel_dead(value.slot);
        } else {
            defer::cancel(value.slot);
        }
    } else if (kind == 10) {
        claim_and_release(scene, *self, books);
    } else {
        act_on_map(scene, *self, books, kind - 11);
    }
}

void Storm::SetUp() {
    seed_ = test::choose_seed();
    ASSERT_EQ(WorkTable::create(kContexts), no_error);
    ASSERT_EQ(map::MapTable::create(), no_error);
    void* memory = sync::Arena::allocate(sizeof(Scene), 64);
    void* objects = sync::Arena::allocate(Pool::bytes(kScratch, 64), 64);
    ASSERT_TRUE(memory != nullptr && objects != nullptr);
    scene_ = new (memory) Scene;
    the_scene = scene_;
    scene_->scratch.init(objects, kScratch, 64, task::Worker::adopt_pool(scene_->scratch, nullptr));
    task::Worker::add_sweeper(sweep_scratch);
    task::LifeHooks hooks;
    hooks.kick = kick;
    task::Worker::set_life_hooks(hooks);
    defer::set_callback_runner(defer::kCallbackTest, runner);
    task::set_event_hook(task::is_timer_event, on_event);
    map::MapSpec spec;
    spec.type = BPF_MAP_TYPE_HASH;
    spec.key_size = sizeof(std::uint64_t);
    spec.value_size = sizeof(MapValue);
    spec.max_entries = kKeys / 2;
    spec.fields.task_work = offsetof(MapValue, slot);
    auto made = map::create(spec);
    ASSERT_TRUE(made.has_value()) << made.error().text;
    map::get_user(**made);
    map::put_reference(**made);
    scene_->map = *made;
    // The worker has seen all this, and not only through what children do with it: ThreadSanitizer
    // knows nothing of what passes through another process.
    task::Worker::synchronize();
    committed_ = sync::Arena::header().committed.load(std::memory_order_relaxed);
}

void Storm::TearDown() { task::set_event_hook(nullptr, nullptr); }

Phase Storm::phase() const {
    return static_cast<Phase>(scene_->phase.load(std::memory_order_acquire));
}

void Storm::enter(Phase phase) {
    scene_->phase.store(static_cast<std::uint32_t>(phase), std::memory_order_release);
}

Sum Storm::sum() const {
    Sum sum;
    for (const Books& books : scene_->books) {
        sum.acts += books.acts.load(std::memory_order_relaxed);
        sum.scheduled += books.scheduled.load(std::memory_order_relaxed);
        sum.busy += books.busy.load(std::memory_order_relaxed);
        sum.ran += books.ran.load(std::memory_order_relaxed);
        sum.events += books.events.load(std::memory_order_relaxed);
        sum.claims += books.claims.load(std::memory_order_relaxed);
    }
    return sum;
}

std::uint64_t Storm::in_flight() const { return defer::counts(WorkTable::get().domain).in_flight; }

std::uint64_t Storm::in_flight_anywhere() const {
    const Pool& pool = WorkTable::get().contexts;
    std::uint64_t found = 0;
    for (std::uint32_t index = 0; index < pool.count(); ++index) {
        const auto& context = *static_cast<const defer::WorkContext*>(pool.at(index));
        const sync::Word word = Pool::load(&context);
        const bool running = defer::state_of(word) == defer::WorkState::freed &&
                             (word.flags() & defer::kFlagFromRunning) != 0;
        found +=
            (defer::is_in_flight(word) || running) && context.list.get() == task::List::anywhere
                ? 1
                : 0;
    }
    return found;
}

std::uint32_t Storm::slots_in_use() const {
    std::uint32_t used = 0;
    for (const Value& value : scene_->values) {
        used += value.slot.word.load(std::memory_order_acquire) > defer::kSlotDead ? 1 : 0;
    }
    const task::Section section(current());
    const task::ReadSection keep(*current(), sync::Flavour::sleepable);
    for (std::uint64_t key = 0; key < kKeys; ++key) {
        if (void* value = map::lookup(*scene_->map, &key); value != nullptr) {
            const defer::Slot& slot = *map::task_work_slot(*scene_->map, value);
            used += slot.word.load(std::memory_order_acquire) > defer::kSlotDead ? 1 : 0;
        }
    }
    return used;
}

std::uint32_t Storm::contexts_in_use() const {
    const Pool& pool = WorkTable::get().contexts;
    std::uint32_t used = 0;
    for (std::uint32_t index = 0; index < pool.count(); ++index) {
        used += Pool::load(pool.at(index)).state() >= sync::kStateUser ? 1 : 0;
    }
    return used;
}

std::string Storm::state() const {
    std::ostringstream text;
    const defer::WorkCounts counts = defer::counts(WorkTable::get().domain);
    const Sum books = sum();
    text << "seed " << seed_ << "\nscheduled " << counts.scheduled << ", ran " << counts.ran
         << ", cancelled " << counts.cancelled << ", dropped " << counts.dropped << ", in flight "
         << counts.in_flight << "; books: scheduled " << books.scheduled << ", ran " << books.ran
         << "\n";
    const Pool& contexts = WorkTable::get().contexts;
    unsigned shown = 0;
    for (std::uint32_t index = 0; index < contexts.count() && shown < 24; ++index) {
        const auto& context = *static_cast<const defer::WorkContext*>(contexts.at(index));
        const sync::Word word = Pool::load(&context);
        if (word.state() == sync::kStateFree) {
            continue;
        }
        ++shown;
        const Task* target = context.target.load(std::memory_order_relaxed);
        text << "context " << index << ": state " << int(word.state()) << " flags "
             << int(word.flags()) << " owner " << word.owner() << " round " << word.round()
             << " mode " << int(context.mode.get()) << " target "
             << (target == nullptr ? -1 : int(TaskTable::get().tasks.index_of(target))) << "\n";
    }
    TaskTable& table = TaskTable::get();
    text << "epoch " << sync::GracePeriods::get().epoch() << "\n";
    for (std::uint32_t index = 0; index < table.tasks.count(); ++index) {
        const Task& task = table.task_at(index);
        const sync::Word word = Pool::load(&task);
        if (word.state() == sync::kStateFree && !task.readers[0].is_open() &&
            !task.readers[1].is_open()) {
            continue;
        }
        text << "task " << index << ": state " << int(word.state()) << " process " << word.owner()
             << " tid " << task.tid << " works "
             << static_cast<std::int64_t>(task.works.load(std::memory_order_relaxed)) << " pending "
             << task.pending.load(std::memory_order_relaxed) << " husks "
             << static_cast<std::int32_t>(task.husks.load(std::memory_order_relaxed)) << " take "
             << task.take_sequence.load(std::memory_order_relaxed) << " section "
             << task.section.is_open() << " nmi " << task.nmi.is_open() << " draining "
             << task.draining.is_open() << " readers " << task.readers[0].is_open()
             << task.readers[1].is_open() << "\n";
    }
    for (std::uint32_t index = 0; index < table.processes.count(); ++index) {
        const task::Process& process = table.process_at(index);
        if (Pool::load(&process).state() != sync::kStateFree) {
            text << "process " << index << ": state " << int(Pool::load(&process).state())
                 << " pid " << process.pid << "\n";
        }
    }
    return text.str();
}

std::uint32_t Storm::recycle() {
    bool dead[kValues];
    std::uint32_t count = 0;
    for (std::uint32_t index = 0; index < kValues; ++index) {
        dead[index] =
            scene_->values[index].slot.word.load(std::memory_order_acquire) == defer::kSlotDead;
        count += dead[index] ? 1 : 0;
    }
    // A look of our own instead of Worker::synchronize(): what does not end is to be told of.
    platform::Atomic<std::uint32_t>& ended = scene_->grace_ended;
    ended.store(0, std::memory_order_relaxed);
    task::Worker::after_grace_period(
        [](void* argument) noexcept {
            static_cast<platform::Atomic<std::uint32_t>*>(argument)->store(
                1, std::memory_order_release);
        },
        &ended);
    if (!await("a grace period ends", [&] { return ended.load(std::memory_order_acquire) != 0; })) {
        return 0;
    }
    for (std::uint32_t index = 0; index < kValues; ++index) {
        if (dead[index]) {
            defer::reset(scene_->values[index].slot);
        }
    }
    return count;
}

void Storm::expect_whole() {
    TaskTable& table = TaskTable::get();
    const Pool& contexts = WorkTable::get().contexts;
    if (!await("no process but the host's is left",
               [&] { return table.processes.count_free() == table.processes.count() - 1; }) ||
        !await("no task but the main thread's and the worker's is left",
               [&] { return table.tasks.count_free() == table.tasks.count() - 2; }) ||
        !await("nothing is in flight", [&] { return in_flight() == 0; })) {
        return;
    }
    for (std::uint32_t index = 0; index < table.tasks.count(); ++index) {
        const Task& one = table.task_at(index);
        if (Pool::load(&one).state() == sync::kStateFree) {
            EXPECT_FALSE(one.readers[0].is_open() || one.readers[1].is_open())
                << "task " << index << " left a reader slot open";
        }
    }
    // Every slot can be used, by the one left, and then nothing holds a context.
    for (Value& value : scene_->values) {
        defer::reset(value.slot);
        act(*scene_);
        task::safe_point();
    }
    for (Value& value : scene_->values) {
        defer::cancel_dead(value.slot);
        defer::reset(value.slot);
    }
    for (std::uint64_t key = 0; key < kKeys; ++key) {
        const task::Section section(current());
        const task::ReadSection keep(*current(), sync::Flavour::sleepable);
        map::remove(*scene_->map, &key);
    }
    task::safe_point();
    task::Worker::synchronize();
    task::Worker::synchronize();
    EXPECT_TRUE(
        await("every context is free", [&] { return contexts.count_free() == contexts.count(); }));
    EXPECT_TRUE(await("every scratch object is free",
                      [&] { return scene_->scratch.count_free() == scene_->scratch.count(); }));
    EXPECT_TRUE(await("the map is empty", [&] {
        const map::Usage usage = map::usage(*scene_->map);
        return usage.elements == 0 && usage.waiting == 0;
    }));
    EXPECT_EQ(scene_->unexpected.load(std::memory_order_relaxed), 0) << "an error of an act";
    EXPECT_EQ(sync::Arena::header().committed.load(std::memory_order_relaxed), committed_)
        << "memory is bounded";
    const defer::WorkCounts counts = defer::counts(WorkTable::get().domain);
    EXPECT_EQ(counts.scheduled, counts.ran + counts.cancelled + counts.dropped) << state();
    EXPECT_EQ(counts.in_flight, 0U);
}

Taking::Taking(Scene& scene, std::uint32_t index, std::uint64_t seed, std::uint64_t event_us)
    : scene_(scene), index_(index), target_(scene.targets[index]),
      books_(books_of(scene, *current())), events_(event_us) {
    books_.random.start(seed);
    target_.quiet.store(0, std::memory_order_relaxed);
    target_.tid.store(current()->tid, std::memory_order_release);
    target_.task.store(current(), std::memory_order_release);
    events_.start(books_.random.draw());
}

Taking::~Taking() {
    events_.stop();
    target_.task.store(nullptr, std::memory_order_release);
    target_.tid.store(0, std::memory_order_release);
}

void Taking::turn() noexcept {
    target_.living.fetch_add(1, std::memory_order_relaxed);
    act(scene_);
    if (books_.random.below(16) == 0) {
        task::safe_point();
    }
    if (books_.random.below(32) == 0) {
        ::usleep(50);  // Works that come meanwhile come by signal.
    }
}

void Taking::be_quiet() noexcept {
    events_.stop();
    ::poll(nullptr, 0,
           0);  // An event on its way comes now; ThreadSanitizer holds it back till then.
    target_.quiet.store(1, std::memory_order_release);
    // No run point but those of the handler: what nobody tells us of stays.
    while (is_to_be_quiet()) {
        ::poll(nullptr, 0, 20);
    }
    target_.quiet.store(0, std::memory_order_release);
    events_.start(books_.random.draw());
}

void Taking::settle() noexcept {
    events_.stop();
    while (phase() == Phase::settle) {
        task::safe_point();
        ::poll(nullptr, 0, 1);
    }
    events_.start(books_.random.draw());
}

Phase Taking::phase() const noexcept {
    return static_cast<Phase>(scene_.phase.load(std::memory_order_acquire));
}

bool Taking::is_to_be_quiet() const noexcept {
    const Phase now = phase();
    return now == Phase::quiet || (now == Phase::half && index_ % 2 == 0);
}

void Taking::storm() noexcept {
    while (phase() != Phase::stop) {
        if (is_to_be_quiet()) {
            be_quiet();
        } else if (phase() == Phase::settle) {
            settle();
        } else {
            turn();
        }
    }
}

}  // namespace taskwork::storm
