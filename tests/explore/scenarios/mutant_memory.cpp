// SPDX-License-Identifier: Apache-2.0
//
// Scenarios of tests/explore/mutants: the pool with its hints and the deferral queue, alone.
#include <array>
#include <cstdlib>
#include <new>
#include <vector>

#include "sync/arena.hpp"
#include "sync/deferral.hpp"
#include "sync/grace.hpp"
#include "sync/pool.hpp"
#include "tests/explore/scenario.hpp"

namespace explore {

namespace {

namespace sync = taskwork::sync;

constexpr auto relaxed = std::memory_order_relaxed;
constexpr auto acquire = std::memory_order_acquire;
constexpr auto release_order = std::memory_order_release;
constexpr auto seq_cst = std::memory_order_seq_cst;

void* memory_of(std::size_t size) {
    void* memory = sync::Arena::allocate(size, 64);
    if (memory == nullptr) {
        std::abort();
    }
    Setup::machine().keep(memory, size);
    return memory;
}

/// A pool whose objects are a word and a note of who has them.
struct Object {
    sync::AtomicWord word;
    Variable owner;
};

sync::Pool& make_pool(std::uint32_t count, std::uint32_t doorbell = 0,
                      sync::Reuse reuse = sync::Reuse::released) {
    auto* pool = new (memory_of(sizeof(sync::Pool))) sync::Pool;
    pool->init(memory_of(sync::Pool::bytes(count, sizeof(Object), reuse)), count, sizeof(Object),
               doorbell, reuse);
    return *pool;
}

Object* claim(sync::Pool& pool) {
    auto* object = static_cast<Object*>(pool.claim(0, sync::kStateUser));
    if (object != nullptr) {
        check(object->owner.exchange(1, relaxed) == 0, "pool", "an object has two owners");
    }
    return object;
}

void release(sync::Pool& pool, Object& object) {
    object.owner.store(0, relaxed);
    pool.release(&object);
}

/// All that is free can be claimed.
void claim_all(sync::Pool& pool, std::uint32_t free) {
    for (std::uint32_t index = 0; index < free; ++index) {
        check(claim(pool) != nullptr, "pool", "a free object cannot be claimed");
    }
    check(claim(pool) == nullptr, "pool", "more objects than there are");
}

const Registered kClaimRelease{{.name = "mutant.claim_release",
                                .about = "2 threads that claim and release, a pool of 2",
                                .lay_out = [](Setup& setup) {
                                    sync::Pool& pool = make_pool(2);
                                    const unsigned process = setup.process();
                                    for (const char* name : {"one", "two"}) {
                                        setup.thread(process, name, [&pool] {
                                            Object* object = claim(pool);
                                            check(object != nullptr, "pool",
                                                  "a claim fails though one object was free");
                                            release(pool, *object);
                                        });
                                    }
                                    setup.at_end([&pool] { claim_all(pool, 2); });
                                }}};

/// The repair of hints after a death, while others claim.
const Registered kRestoreHints{
    {.name = "mutant.restore_hints",
     .about = "2 threads that claim, worker that restores hints, a pool of 2",
     .lay_out = [](Setup& setup) {
         sync::Pool& pool = make_pool(2);
         const unsigned process = setup.process();
         for (const char* name : {"one", "two"}) {
             setup.thread(process, name, [&pool] { claim(pool); });
         }
         setup.thread(process, "worker", [&pool] { pool.restore_hints(); });
         setup.at_end([&pool] { check(claim(pool) == nullptr, "pool", "too many objects"); });
     }}};

/// A hint that is there already says something new from then on.
const Registered kReleaseHinted{
    {.name = "mutant.release_hinted",
     .about = "releaser, claimer, a pool of 1, a hint says that it is free from the beginning",
     .lay_out =
         [](Setup& setup) {
             sync::Pool& pool = make_pool(1);
             const unsigned process = setup.process();
             auto* held = static_cast<Object*>(pool.claim(0, sync::kStateUser));
             pool.hint_free(0);
             setup.thread(process, "releaser", [&pool, held] { pool.release(held); });
             setup.thread(process, "claimer", [&pool] {
                 if (void* const object = pool.claim(0, sync::kStateUser); object != nullptr) {
                     pool.release(object);
                 }
             });
             setup.at_end([&pool] { claim_all(pool, 1); });
         },
     .models = kAllModels}};

/// The next owner may have learnt from the sweep alone that the object is free.
const Registered kReleaseSweep{
    {.name = "mutant.release_sweep",
     .about = "releaser, worker that restores hints, claimer, a pool of 1",
     .lay_out =
         [](Setup& setup) {
             sync::Pool& pool = make_pool(1);
             PlainVariable& content = setup.plain("content");
             const unsigned process = setup.process();
             auto* held = static_cast<Object*>(pool.claim(0, sync::kStateUser));
             setup.thread(process, "releaser", [&pool, &content, held] {
                 content.set(1);
                 pool.release(held);
             });
             setup.thread(process, "worker", [&pool] { pool.restore_hints(); });
             setup.thread(process, "claimer", [&pool, &content] {
                 if (pool.claim(0, sync::kStateUser) != nullptr) {
                     content.set(2);
                 }
             });
         },
     .models = {Model::sc, Model::tso, Model::ra}}};

/// Hints in more words than one, so that the summaries decide.
const Registered kTidy{{.name = "mutant.tidy",
                        .about = "taker of a word's last bit, setter of another bit in it",
                        .lay_out = [](Setup& setup) {
                            constexpr std::uint32_t kCount = 128;
                            auto* map = new (memory_of(sizeof(sync::HintMap))) sync::HintMap;
                            map->init(memory_of(sync::HintMap::bytes(kCount)), kCount);
                            map->set(70);
                            const unsigned process = setup.process();
                            setup.thread(process, "taker",
                                         [map] { static_cast<void>(map->take(70)); });
                            setup.thread(process, "setter", [map] { map->set(71); });
                            setup.at_end([map] {
                                const bool left70 = map->test(70);
                                const bool left71 = map->test(71);
                                const std::uint32_t found = map->take(0);
                                check((!left70 && !left71) || found != sync::HintMap::none, "pool",
                                      "a set bit is not found");
                            });
                        }}};

/// The bit is there, but who set it was interrupted before the summaries.
const Registered kInterruptedSet{
    {.name = "mutant.interrupted_set",
     .about = "setter, event that sets the same bit and looks for it",
     .lay_out = [](Setup& setup) {
         constexpr std::uint32_t kCount = 128;
         auto* map = new (memory_of(sizeof(sync::HintMap))) sync::HintMap;
         map->init(memory_of(sync::HintMap::bytes(kCount)), kCount);
         const unsigned process = setup.process();
         const unsigned host = setup.thread(process, "setter", [map] { map->set(70); });
         setup.event(host, "event", [map] {
             map->set(70);
             check(map->take(0) == 70, "pool", "a set bit is not found");
         });
     }}};

/// A reader's slot, and grace periods that know of it alone.
sync::ReaderSlot& only_reader(Setup& setup) {
    static_cast<void>(sync::GracePeriods::create());
    auto& periods = sync::GracePeriods::get();
    setup.machine().keep(&periods, sizeof(periods));
    setup.machine().as_thread(0, [] { sync::GracePeriods::register_process(); });
    static sync::ReaderSlot* reader = nullptr;
    reader = new (memory_of(64)) sync::ReaderSlot;
    setup.machine().name(reader, 8, "reader's slot");
    sync::GracePeriods::set_reader_walk(
        [](sync::Flavour, std::uint64_t epoch) noexcept { return reader->is_open_since(epoch); });
    return *reader;
}

/// Reads the object in a section, while it is linked.
void read_linked(sync::ReaderSlot& slot, Variable& linked, PlainVariable& object) {
    slot.enter();
    if (linked.load(acquire) != 0) {
        static_cast<void>(object.get());
    }
    slot.exit();
}

/// What a reader has read in its section is not written by whoever waits for it.
const Registered kPlainReader{
    {.name = "mutant.plain_reader",
     .about = "reader of what is not atomic, writer that waits for a grace period",
     .lay_out =
         [](Setup& setup) {
             Variable& pointer = setup.variable("pointer", 1);
             PlainVariable& object = setup.plain("object", 1);
             const unsigned process = setup.process();
             sync::ReaderSlot& slot = only_reader(setup);
             setup.thread(process, "reader", [&] { read_linked(slot, pointer, object); });
             setup.thread(process, "writer", [&] {
                 pointer.store(0, release_order);
                 auto& periods = sync::GracePeriods::get();
                 if (periods.poll(periods.start(), sync::Flavour::brief)) {
                     object.set(2);
                 }
             });
         },
     .models = kAllModels}};

/// Nor is an object of a pool free before all that a reader did with it has happened: its last load
/// may otherwise find what the next owner writes.
void pool_reader(Setup& setup, sync::Flavour flavour, void (sync::ReaderSlot::*leave)() noexcept) {
    sync::Pool& pool = make_pool(1);
    auto* const object = static_cast<Object*>(pool.at(0));
    setup.machine().watch(object, object, sizeof(Object), nullptr);
    setup.machine().name(object, sizeof(Object), "object");
    static_cast<void>(pool.claim(0, sync::kStateUser));
    Variable& pointer = setup.variable("pointer", 1);
    const unsigned process = setup.process();
    sync::ReaderSlot& slot = only_reader(setup);
    setup.thread(process, "reader", [=, &pointer, &slot] {
        slot.enter();
        if (pointer.load(acquire) != 0) {
            static_cast<void>(object->owner.load(relaxed));
        }
        (slot.*leave)();
    });
    setup.thread(process, "writer", [=, &pointer, &pool] {
        pointer.store(0, release_order);
        auto& periods = sync::GracePeriods::get();
        const sync::GraceTicket ticket = periods.start();
        for (int look = 0; look < 2; ++look) {
            if (periods.poll(ticket, flavour)) {
                pool.release(object);
                return;
            }
        }
    });
}

const Registered kPoolReader{
    {.name = "mutant.pool_reader",
     .about = "reader of a pool's object, writer that frees it",
     .lay_out =
         [](Setup& setup) { pool_reader(setup, sync::Flavour::brief, &sync::ReaderSlot::exit); },
     .models = kAllModels}};
const Registered kPoolSleeper{{.name = "mutant.pool_sleeper",
                               .about = "as before, sleepable flavour",
                               .lay_out =
                                   [](Setup& setup) {
                                       pool_reader(setup, sync::Flavour::sleepable,
                                                   &sync::ReaderSlot::exit);
                                   },
                               .models = kAllModels}};
const Registered kPoolReset{
    {.name = "mutant.pool_reset",
     .about = "as before, the slot is reset as after a longjmp",
     .lay_out =
         [](Setup& setup) { pool_reader(setup, sync::Flavour::brief, &sync::ReaderSlot::reset); },
     .models = kAllModels}};

/// A stamp that a retirer has read behind the unlinking is over when no reader is left who found
/// what he has unlinked. (Not for ra: a load, that of the epoch, tells nobody what came before it.
/// What every processor has instead, that an exchange is there for all before a later load looks,
/// is in sc and tso. See DESIGN.md, section 5.)
const Registered kStamp{
    {.name = "mutant.stamp",
     .about = "reader of what is not atomic, writer that stamps what it has unlinked, worker",
     .lay_out = [](Setup& setup) {
         Variable& linked = setup.variable("linked", 1);
         Variable& stamp = setup.variable("stamp");
         PlainVariable& object = setup.plain("object", 1);
         sync::ReaderSlot& slot = only_reader(setup);
         const unsigned process = setup.process();
         setup.thread(process, "reader", [&] { read_linked(slot, linked, object); });
         setup.thread(process, "writer", [&] {
             static_cast<void>(linked.exchange(0, seq_cst));
             stamp.store(sync::GracePeriods::get().epoch_after(), release_order);
         });
         setup.thread(process, "worker", [&] {
             auto& periods = sync::GracePeriods::get();
             const sync::GraceTicket ticket = periods.start();
             if (periods.poll(ticket, sync::Flavour::brief)) {
                 periods.end(ticket);
             }
             const std::uint64_t seen = stamp.load(acquire);
             if (seen != 0 && periods.is_over(seen)) {
                 object.set(2);
             }
         });
     }}};

/// A pool of one object that is reused in place, which a reader finds until it is unlinked.
struct ReusedInPlace {
    explicit ReusedInPlace(Setup& setup)
        : content(setup.plain("content")), linked(setup.variable("linked", 1)),
          slot(only_reader(setup)) {
        std::uint32_t doorbell = 0;
        Setup::machine().as_thread(0, [&doorbell] {
            if (sync::DeferralQueue::create(4) != taskwork::no_error) {
                std::abort();
            }
            doorbell = sync::DeferralQueue::get().add_item(sync::DeferralKind::test, 0);
        });
        Setup::machine().keep(&sync::DeferralQueue::get(), sizeof(sync::DeferralQueue));
        pool = &make_pool(1, doorbell, sync::Reuse::in_place);
        held = pool->claim(0, sync::kStateUser);
        setup.at_end([*this] {
            work(false);
            claim_and(&sync::Pool::release);  // One who comes too early has it hinted at again.
            work(false);
            claim_all(*pool, 1);
        });
    }
    void unlink_and_retire() const {
        static_cast<void>(linked.exchange(0, seq_cst));
        pool->retire(held);
    }
    void claim_and(void (sync::Pool::*end)(void*) noexcept) const {
        if (void* const object = pool->claim(0, sync::kStateUser); object != nullptr) {
            content.set(2);
            (pool->*end)(object);
        }
    }
    /// What the worker does; it begins anew if the grace period has not ended. `early`: but says
    /// that the object were free, for a hint may say too much.
    void work(bool early) const {
        if (void* const object = pool->take_retired(); object != nullptr) {
            auto& periods = sync::GracePeriods::get();
            const sync::GraceTicket ticket = periods.start();
            const bool ended = periods.poll(ticket, sync::Flavour::brief);
            if (ended) {
                periods.end(ticket);
            }
            if (ended || early) {
                pool->release_retired(object);
            } else {
                pool->hint_retired(0);
            }
        }
    }

    sync::Pool* pool = nullptr;
    PlainVariable& content;
    Variable& linked;
    sync::ReaderSlot& slot;
    void* held = nullptr;
};

const Registered kReuseInPlace{
    {.name = "mutant.reuse_in_place",
     .about = "retirer, worker, claimer, a pool of 1 that is reused in place",
     .lay_out =
         [](Setup& setup) {
             const ReusedInPlace one(setup);
             const unsigned process = setup.process();
             setup.thread(process, "retirer", [one] {
                 one.content.set(1);
                 one.unlink_and_retire();
             });
             setup.thread(process, "worker", [one] { one.work(false); });
             setup.thread(process, "claimer", [one] { one.claim_and(&sync::Pool::release); });
         },
     .models = kAllModels}};

const Registered kReuseEarly{
    {.name = "mutant.reuse_early",
     .about = "as before, and a reader; the worker sets the hint before the grace period has ended",
     .lay_out = [](Setup& setup) {
         const ReusedInPlace one(setup);
         const unsigned process = setup.process();
         setup.thread(process, "reader", [one] { read_linked(one.slot, one.linked, one.content); });
         setup.thread(process, "retirer", [one] { one.unlink_and_retire(); });
         setup.thread(process, "worker", [one] { one.work(true); });
         setup.thread(process, "claimer", [one] { one.claim_and(&sync::Pool::release); });
     }}};

/// The worker takes the retirer for dead, and has a hint too many.
const Registered kReuseHelped{{.name = "mutant.reuse_helped",
                               .about = "retirer, worker that helps it, claimer that comes twice",
                               .lay_out = [](Setup& setup) {
                                   const ReusedInPlace one(setup);
                                   const unsigned process = setup.process();
                                   setup.thread(process, "retirer",
                                                [one] { one.unlink_and_retire(); });
                                   setup.thread(process, "claimer", [one] {
                                       one.claim_and(&sync::Pool::retire);
                                       one.claim_and(&sync::Pool::retire);
                                   });
                                   setup.thread(process, "worker", [one] {
                                       one.pool->hint_retired(0);
                                       one.work(false);
                                       one.work(false);
                                   });
                               }}};

/// The worker sleeps when nothing is queued, and only then.
const Registered kSleep{
    {.name = "mutant.sleep",
     .about = "worker that sleeps, thread that queues an item",
     .lay_out = [](Setup& setup) {
         const unsigned process = setup.process();
         Variable& done = setup.variable("done");
         const unsigned worker = setup.thread(process, "worker", [&done] {
             auto& queue = sync::DeferralQueue::get();
             while (done.load(seq_cst) == 0) {
                 const std::uint32_t seen = queue.wakes();
                 if (!queue.run_pending()) {
                     queue.wait(seen, 0);
                 }
             }
         });
         std::uint32_t item = 0;
         Setup::machine().as_thread(worker, [&] {
             if (sync::DeferralQueue::create(4) != taskwork::no_error) {
                 std::abort();
             }
             Setup::machine().keep(&sync::DeferralQueue::get(), sizeof(sync::DeferralQueue));
             sync::DeferralQueue::set_handler(sync::DeferralKind::test, [](std::uint64_t argument) {
                 reinterpret_cast<Variable*>(argument)->store(1, seq_cst);
             });
             item = sync::DeferralQueue::get().add_item(sync::DeferralKind::test,
                                                        reinterpret_cast<std::uint64_t>(&done));
         });
         setup.thread(process, "queuer", [item] { sync::DeferralQueue::get().queue(item); });
     }}};

}  // namespace

}  // namespace explore
