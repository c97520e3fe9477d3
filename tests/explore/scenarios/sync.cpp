// SPDX-License-Identifier: Apache-2.0
//
// What the sync layer has, each on its own: the pool and its hints, the deferral queue, grace
// periods.
#include "sync/arena.hpp"
#include "sync/deferral.hpp"
#include "sync/grace.hpp"
#include "sync/pool.hpp"
#include "tests/explore/scenarios/core.hpp"

namespace explore {

namespace {

namespace sync = taskwork::sync;
using sync::Flavour;

constexpr auto relaxed = std::memory_order_relaxed;
constexpr auto acquire = std::memory_order_acquire;
constexpr auto release = std::memory_order_release;
constexpr auto seq_cst = std::memory_order_seq_cst;

// --- The pool on its own -------------------------------------------------------------------------

struct Thing {
    sync::AtomicWord word;
    Variable owner;
};

/// A pool without a domain: nothing is retired in it.
sync::Pool& make_pool(Setup& setup, std::uint32_t count) {
    auto* pool = new (sync::Arena::allocate(sizeof(sync::Pool), 64)) sync::Pool;
    pool->init(sync::Arena::allocate(sync::Pool::bytes(count, sizeof(Thing)), 64), count,
               sizeof(Thing), 0);
    setup.machine().name(pool, sizeof(*pool), "pool");
    for (std::uint32_t index = 0; index < count; ++index) {
        setup.machine().watch(pool->at(index), pool->at(index), sizeof(Thing), nullptr);
        setup.machine().name(pool->at(index), sizeof(Thing), "thing" + std::to_string(index));
    }
    setup.at_end([pool, count] {
        check(pool->count_free() == count, "leak", "an object of the pool is lost");
        for (std::uint32_t index = 0; index < count; ++index) {
            check(pool->claim(1, sync::kStateUser) != nullptr, "leak",
                  "a free object is not found any more");
        }
    });
    return *pool;
}

/// Claims, is alone, releases.
void use(sync::Pool& pool, std::uint16_t who, bool must) {
    auto* thing = static_cast<Thing*>(pool.claim(who, sync::kStateUser));
    check(thing != nullptr || !must, "refused", "a claim found nothing though an object is free");
    if (thing == nullptr) {
        return;
    }
    thing->owner.store(who, relaxed);
    check(thing->owner.load(relaxed) == who, "exclusive", "an object was claimed twice");
    pool.release(thing);
}

const Registered kPoolTwo{{.name = "pool.two_claims",
                           .about = "2 threads claim and release, 2 objects",
                           .lay_out =
                               [](Setup& setup) {
                                   sync::Pool& pool = make_pool(setup, 2);
                                   const unsigned process = setup.process();
                                   for (const std::uint16_t who : {1, 2}) {
                                       setup.thread(process, "user" + std::to_string(who),
                                                    [&, who] { use(pool, who, true); });
                                   }
                               },
                           .models = kAllModels}};

const Registered kPoolScarce{{.name = "pool.one_object",
                              .about = "2 threads claim and release, 1 object",
                              .lay_out =
                                  [](Setup& setup) {
                                      sync::Pool& pool = make_pool(setup, 1);
                                      const unsigned process = setup.process();
                                      for (const std::uint16_t who : {1, 2}) {
                                          setup.thread(process, "user" + std::to_string(who),
                                                       [&, who] { use(pool, who, false); });
                                      }
                                  },
                              .models = kAllModels}};

const Registered kPoolNmi{{.name = "pool.nmi",
                           .about = "thread and 1 nmi on it claim and release, 2 objects (R19)",
                           .lay_out = [](Setup& setup) {
                               sync::Pool& pool = make_pool(setup, 2);
                               const unsigned thread = setup.thread(setup.process(), "user",
                                                                    [&] { use(pool, 1, true); });
                               setup.event(thread, "nmi", [&] { use(pool, 2, true); });
                           }}};

/// The claimer of an untagged list would be fooled: two taken and one put back.
const Registered kPoolAba{{.name = "pool.nmi_takes_two",
                           .about = "claimer, 1 nmi that takes two and puts one back, 3 objects",
                           .lay_out = [](Setup& setup) {
                               sync::Pool& pool = make_pool(setup, 3);
                               const unsigned thread = setup.thread(setup.process(), "user",
                                                                    [&] { use(pool, 1, true); });
                               setup.event(thread, "nmi", [&] {
                                   void* one = pool.claim(2, sync::kStateUser);
                                   void* two = pool.claim(2, sync::kStateUser);
                                   check(one != two, "exclusive", "one object was given twice");
                                   if (one != nullptr) {
                                       pool.release(one);
                                   }
                                   use(pool, 3, false);
                                   if (two != nullptr) {
                                       pool.release(two);
                                   }
                               });
                           }}};

const Registered kPoolDeath{
    {.name = "pool.death",
     .about = "claimer that dies at any step, another, the sweep at the end",
     .lay_out = [](Setup& setup) {
         sync::Pool& pool = make_pool(setup, 2);
         const unsigned host = setup.process();
         const unsigned mortal = setup.process(true);
         setup.thread(host, "user", [&] { use(pool, 1, false); });
         setup.thread(mortal, "mortal", [&] { use(pool, 2, false); });
         // What its sweep does: the word names the owner.
         setup.end_checks.insert(setup.end_checks.begin(), [&pool] {
             for (std::uint32_t index = 0; index < 2; ++index) {
                 const sync::Word word = sync::Pool::load(pool.at(index));
                 if (word.state() != sync::kStateFree && word.owner() == 2) {
                     pool.release(pool.at(index));
                 }
             }
             pool.restore_hints();
         });
     }}};

// --- Hints on their own --------------------------------------------------------------------------

const Registered kHints{
    {.name = "pool.hints",
     .about = "setter and taker of bits in two words",
     .lay_out =
         [](Setup& setup) {
             auto* map = new (sync::Arena::allocate(sizeof(sync::HintMap), 64)) sync::HintMap;
             map->init(sync::Arena::allocate(sync::HintMap::bytes(128), 64), 128);
             map->set(3);
             const unsigned process = setup.process();
             setup.thread(process, "setter", [=] { map->set(100); });
             setup.thread(process, "taker", [=] {
                 for (int turn = 0; turn < 2; ++turn) {
                     if (map->take(0) != sync::HintMap::none) {
                         note(0);
                     }
                 }
             });
             setup.at_end([=] {
                 while (map->take(0) != sync::HintMap::none) {
                     note(0);
                 }
                 check(noted(0) == 2, "leak", "a hint is lost or found twice");
             });
         },
     .models = kAllModels}};

// --- The deferral queue on its own ---------------------------------------------------------------

Variable* handled = nullptr;

/// A queue with one worker that sleeps until it has handled what was asked for.
void deferral(Setup& setup, unsigned queuers, bool nmi,
              void (sync::DeferralQueue::*ask)(std::uint32_t) = &sync::DeferralQueue::queue) {
    static_cast<void>(sync::DeferralQueue::create(8));
    auto& queue = sync::DeferralQueue::get();
    setup.machine().keep(&queue, sizeof(queue));
    handled = &setup.variable("handled");
    sync::DeferralQueue::set_handler(sync::DeferralKind::test, [](std::uint64_t argument) {
        handled->fetch_or(std::uint64_t{1} << argument, relaxed);
    });
    std::uint64_t all = 0;
    std::vector<std::uint32_t> items;
    for (unsigned index = 0; index < queuers + (nmi ? 1 : 0); ++index) {
        items.push_back(queue.add_item(sync::DeferralKind::test, index));
        all |= std::uint64_t{1} << index;
    }
    const unsigned process = setup.process();
    setup.thread(process, "worker", [all, &queue] {
        for (;;) {
            const std::uint32_t seen = queue.wakes();
            queue.run_pending();
            if (handled->load(relaxed) == all) {
                return;
            }
            queue.wait(seen, 1'000'000);
        }
    });
    for (unsigned index = 0; index < queuers; ++index) {
        const std::uint32_t item = items[index];
        const unsigned thread = setup.thread(process, "queuer" + std::to_string(index),
                                             [item, ask, &queue] { (queue.*ask)(item); });
        if (nmi) {
            const std::uint32_t other = items.back();
            setup.event(thread, "nmi", [other, &queue] {
                queue.queue(other);
                note(0);
            });
        }
    }
}

const Registered kDeferral{{.name = "deferral.sleep",
                            .about = "2 queuers, worker that sleeps in between (lost wake-up)",
                            .lay_out = [](Setup& setup) { deferral(setup, 2, false); }}};

const Registered kDeferralOne{{.name = "deferral.one",
                               .about = "1 queuer, worker that sleeps",
                               .lay_out = [](Setup& setup) { deferral(setup, 1, false); },
                               .models = kAllModels}};

const Registered kDeferralLazy{
    {.name = "deferral.lazy",
     .about = "1 lazy queuer, worker that sleeps",
     .lay_out = [](Setup& setup) { deferral(setup, 1, false, &sync::DeferralQueue::queue_lazily); },
     .models = kAllModels}};

const Registered kDeferralRequeue{
    {.name = "deferral.requeue",
     .about = "an item that is queued while its handler runs, 1 nmi that queues it",
     .lay_out = [](Setup& setup) {
         static_cast<void>(sync::DeferralQueue::create(8));
         auto& queue = sync::DeferralQueue::get();
         setup.machine().keep(&queue, sizeof(queue));
         handled = &setup.variable("handled");
         Variable& wanted = setup.variable("wanted");
         sync::DeferralQueue::set_handler(sync::DeferralKind::test, [](std::uint64_t argument) {
             auto& from = *reinterpret_cast<Variable*>(argument);
             handled->store(from.load(seq_cst), seq_cst);
         });
         const std::uint32_t item =
             queue.add_item(sync::DeferralKind::test, reinterpret_cast<std::uint64_t>(&wanted));
         const unsigned process = setup.process();
         const unsigned thread = setup.thread(process, "queuer", [item, &queue, &wanted] {
             wanted.fetch_add(1, seq_cst);
             queue.queue(item);
         });
         setup.event(thread, "nmi", [item, &queue, &wanted] {
             wanted.fetch_add(1, seq_cst);
             queue.queue(item);
         });
         setup.thread(process, "worker", [&queue] { queue.run_pending(); });
         setup.at_end([&queue, &wanted] {
             queue.run_pending();
             check(handled->load(relaxed) == wanted.load(relaxed), "lost-wakeup",
                   "what was asked for last was never handled");
         });
     }}};

// --- Grace periods on their own ------------------------------------------------------------------

sync::ReaderSlot* reader_slots[2][2];

/// Readers of an object that a writer replaces and poisons after a grace period.
void grace(Setup& setup, bool membarrier, Flavour flavour, bool nested, bool nmi) {
    setup.machine().set_membarrier(membarrier);
    static_cast<void>(sync::GracePeriods::create());
    auto& periods = sync::GracePeriods::get();
    setup.machine().keep(&periods, sizeof(periods));
    setup.machine().name(&periods, 8, "epoch");
    for (auto& slot : reader_slots) {
        for (auto& one : slot) {
            one = new (sync::Arena::allocate(64, 64)) sync::ReaderSlot;
            setup.machine().name(one, 8, "reader's slot");
        }
    }
    sync::GracePeriods::set_reader_walk([](Flavour which, std::uint64_t epoch) noexcept {
        return reader_slots[0][static_cast<unsigned>(which)]->is_open_since(epoch);
    });
    Variable& pointer = setup.variable("pointer", 1);
    Variable& object = setup.variable("object", kLive);
    const unsigned process = setup.process();
    setup.machine().as_thread(0, [] { sync::GracePeriods::register_process(); });
    const auto read = [&, nested, flavour] {
        sync::ReaderSlot& slot = *reader_slots[0][static_cast<unsigned>(flavour)];
        slot.enter();
        if (nested) {
            slot.enter();
        }
        const bool there = pointer.load(acquire) != 0;
        if (nested) {
            slot.exit();
        }
        if (there) {
            check(object.load(relaxed) == kLive, "use-after-free",
                  "a reader sees an object that was freed");
        }
        slot.exit();
    };
    const unsigned reader = setup.thread(process, "reader", read);
    if (nmi) {
        setup.event(reader, "nmi", read);
    }
    setup.thread(process, "writer", [&, flavour] {
        pointer.store(0, release);
        const sync::GraceTicket ticket = periods.start();
        for (int look = 0; look < 2; ++look) {
            if (periods.poll(ticket, flavour)) {
                object.store(kGone, relaxed);
                return;
            }
        }
    });
}

const Registered kGrace{
    {.name = "grace.reader",
     .about = "reader, writer that frees after a grace period, membarrier",
     .lay_out = [](Setup& setup) { grace(setup, true, Flavour::brief, false, false); },
     .models = kAllModels}};
const Registered kGraceFence{
    {.name = "grace.reader_fences",
     .about = "reader that fences by itself, writer",
     .lay_out = [](Setup& setup) { grace(setup, false, Flavour::brief, false, false); },
     .models = kAllModels}};
const Registered kGraceNested{
    {.name = "grace.nested",
     .about = "nested reader, writer, sleepable flavour",
     .lay_out = [](Setup& setup) { grace(setup, true, Flavour::sleepable, true, false); },
     .models = kAllModels}};
const Registered kGraceNmi{
    {.name = "grace.nmi",
     .about = "nested reader, 1 nmi that reads on top of it, writer",
     .lay_out = [](Setup& setup) { grace(setup, true, Flavour::brief, true, true); },
     .models = kAllModels}};

const Registered kGraceFlavours{
    {.name = "grace.flavours",
     .about = "sleepable reader around a brief one, writer that waits for both",
     .lay_out =
         [](Setup& setup) {
             static_cast<void>(sync::GracePeriods::create());
             auto& periods = sync::GracePeriods::get();
             for (auto& one : reader_slots[0]) {
                 one = new (sync::Arena::allocate(64, 64)) sync::ReaderSlot;
             }
             sync::GracePeriods::set_reader_walk([](Flavour which, std::uint64_t epoch) noexcept {
                 return reader_slots[0][static_cast<unsigned>(which)]->is_open_since(epoch);
             });
             Variable& pointer = setup.variable("pointer", 1);
             Variable& brief = setup.variable("brief object", kLive);
             Variable& sleepable = setup.variable("sleepable object", kLive);
             const unsigned process = setup.process();
             setup.machine().as_thread(0, [] { sync::GracePeriods::register_process(); });
             setup.thread(process, "reader", [&] {
                 reader_slots[0][0]->enter();
                 reader_slots[0][1]->enter();
                 const bool there = pointer.load(acquire) != 0;
                 check(!there || brief.load(relaxed) == kLive, "use-after-free",
                       "a brief reader sees an object that was freed");
                 reader_slots[0][1]->exit();
                 check(!there || sleepable.load(relaxed) == kLive, "use-after-free",
                       "a sleepable reader sees an object that was freed");
                 reader_slots[0][0]->exit();
             });
             setup.thread(process, "writer", [&] {
                 pointer.store(0, release);
                 const sync::GraceTicket ticket = periods.start();
                 if (periods.poll(ticket, Flavour::brief)) {
                     brief.store(kGone, relaxed);
                     if (periods.poll(ticket, Flavour::sleepable)) {
                         sleepable.store(kGone, relaxed);
                     }
                 }
             });
         },
     .models = kAllModels}};

}  // namespace

}  // namespace explore
