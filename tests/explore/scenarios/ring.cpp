// SPDX-License-Identifier: Apache-2.0
//
// Ring buffers: reservation, submission, discard, the consumer and its wake-up, death (RB.1, RB.2
// in map/ring_buffer.hpp). All records of a scenario are of one size, and none wraps: the second
// view of the data is the same memory at another address, which the explorer does not know.
#include "map/ring_buffer.hpp"

#include <linux/bpf.h>

#include <cstdlib>
#include <memory>

#include "sync/deferral.hpp"
#include "tests/explore/scenarios/maps.hpp"

namespace explore {

namespace {

namespace map = taskwork::map;
namespace task = taskwork::task;
using taskwork::no_error;
using taskwork::maps::RingModel;

constexpr auto relaxed = std::memory_order_relaxed;
constexpr std::uint32_t kRingBytes = 4096;
constexpr std::uint32_t kPageBytes = 4096;
constexpr std::errc kNothing = std::errc::no_such_file_or_directory;

/// Was the consumer told, since this was cleared? Checks only.
bool told = false;

/// Notes of a consumer without a history: how often it has seen which record.
constexpr unsigned kSeen = kNotesMax - 4;

std::uint64_t value_in(void* data) {
    auto* const words = static_cast<Variable*>(data);
    const std::uint64_t value = words[0].load(relaxed);
    check(words[1].load(relaxed) == ~value, "torn", "a record is seen before it is whole");
    return value;
}

/// Consumed when whoever died has been swept: what was not finished is discarded.
class SweptRing : public RingModel {
public:
    using RingModel::RingModel;

    template <class Visit>
    bool next(const State& state, const Operation& operation, Visit visit) const {
        return RingModel::next(swept(state, operation), operation, visit);
    }
    template <class Visit>
    bool meanwhile(const State& state, const Operation& open, Visit visit) const {
        return RingModel::meanwhile(swept(state, open), open, visit);
    }

private:
    static State swept(State state, const Operation& operation) {
        for (auto& [number, mark] : state) {
            mark = operation.kind == Do::consume && mark == Mark::busy ? Mark::discarded : mark;
        }
        return state;
    }
};

class TestedRing {
public:
    /// For so many records, 1 or 3: the rule leaves 8 bytes free. So many have been consumed.
    TestedRing(Setup& setup, std::shared_ptr<Core> core, std::uint32_t capacity,
               unsigned consumed = 0)
        : core_(std::move(core)), history_(setup), capacity_(capacity),
          record_bytes_(kRingBytes / (capacity + 1)) {
        Machine& machine = Setup::machine();
        machine.as_thread(0, [this, consumed] {
            map::MapSpec spec;
            spec.type = BPF_MAP_TYPE_RINGBUF;
            spec.max_entries = kRingBytes;
            if (map::MapTable::create() != no_error) {
                std::abort();
            }
            const HeapOf own(false);  // The arena's book of gaps outlives the scenario.
            auto made = map::create(spec);
            if (!made.has_value()) {
                std::abort();
            }
            ring_ = made.value();
            map::set_ring_hook([](map::Map&) noexcept { told = true; });
            for (unsigned number = 0; number < consumed; ++number) {
                put(number);
                consume();
            }
        });
        const map::RingLayout layout = map::ring_layout(*ring_);
        auto* const base = reinterpret_cast<std::byte*>(taskwork::sync::kArenaBase);
        data_ = base + layout.data_offset;
        machine.words(data_, kRingBytes);  // A header is written whole, then its length alone.
        for (std::uint32_t at = 0; at < kRingBytes; at += record_bytes_) {
            machine.name(data_ + at, record_bytes_, "record" + std::to_string(at / record_bytes_));
            machine.keep(data_ + at, 64);
            machine.keep(data_ + kRingBytes + at, 64);
        }
        machine.name(ring_->impl, ring_->impl_bytes, "ring");
        machine.name(base + layout.consumer_offset, 8, "consumed");
        machine.name(base + layout.producer_offset, kPageBytes, "produced");
    }

    /// Reserves, fills and finishes one record after the other.
    std::function<void()> producer(const std::vector<Operation>& finishes) {
        std::vector<unsigned> ids;
        for (const Operation& one : finishes) {
            ids.push_back(history_.plan({Do::reserve, 0, one.value}));
            history_.plan(one);
        }
        return [this, ids] {
            for (const unsigned id : ids) {
                produce(id);
            }
        };
    }
    /// Takes so many records.
    std::function<void()> consumer(unsigned times) {
        std::vector<unsigned> ids;
        for (unsigned turn = 0; turn < times; ++turn) {
            ids.push_back(history_.plan({Do::consume}));
        }
        return [this, ids] {
            for (const unsigned id : ids) {
                history_.begin(id);
                history_.end(id, consume());
            }
        };
    }
    /// All that is there, in one call: no step of the history comes between two records.
    void look() {
        taskwork::sync::DeferralQueue::get().run_pending();
        map::ring_consume(
            *ring_,
            [](void*, void* data, std::size_t) noexcept {
                note(kSeen + static_cast<unsigned>(value_in(data)));
                return 0L;
            },
            nullptr);
    }
    /// All producers are done, and the consumer has looked: what it has not seen, it was told of
    /// since it last asked.
    void check_told() {
        told = false;
        taskwork::sync::DeferralQueue::get().run_pending();
        check(map::ring_query(*ring_, BPF_RB_AVAIL_DATA) == 0 || told, "lost-wakeup",
              "a record waits for a consumer that nobody has told");
    }

    /// The history, and that there is room for as many records as in the beginning.
    void check_end(bool died) {
        const std::vector<Operation> found = rest();
        std::uint64_t refused = 0;
        for (unsigned id = 0; id < history_.size(); ++id) {
            const bool is_one = history_.planned(id).kind == Do::reserve && history_.has_ended(id);
            refused += is_one && history_.result(id) != no_error ? 1U : 0U;
        }
        check(map::ring_dropped(*ring_) == refused || died, "ledger",
              "other reservations are counted than were refused");
        if (died) {
            history_.check(SweptRing(capacity_), {}, found);
        } else {
            history_.check(RingModel(capacity_), {}, found);
        }
        check_room();
    }
    /// After look(): each record was seen once.
    void check_seen(unsigned records) {
        for (const Operation& one : rest()) {
            if (one.result == no_error) {
                note(kSeen + static_cast<unsigned>(one.value));
            }
        }
        for (unsigned number = 1; number <= records; ++number) {
            check(noted(kSeen + number) == 1, "ledger", "a record is lost, or seen twice");
        }
        check_room();
    }

    Core& core() { return *core_; }

private:
    void produce(unsigned id) {
        const task::ReadSection keep(*task::current(), taskwork::sync::Flavour::sleepable);
        Operation operation = history_.planned(id);
        history_.begin(id);
        auto* const record = static_cast<Variable*>(
            map::ring_reserve(*ring_, record_bytes_ - 8, 0, task::current()->process));
        operation.result = record != nullptr ? no_error : std::errc::no_space_on_device;
        history_.end(id, operation);
        if (record == nullptr) {
            return;
        }
        record[0].store(operation.value, relaxed);
        record[1].store(~operation.value, relaxed);
        operation = history_.planned(id + 1);
        history_.begin(id + 1);
        if (operation.kind == Do::submit) {
            map::ring_submit(record, 0);
        } else {
            map::ring_discard(record, 0);
        }
        history_.end(id + 1, operation);
    }
    /// At most one record.
    Operation consume() {
        Operation operation{Do::consume, 0, 0, kNothing};
        map::ring_consume(
            *ring_,
            [](void* argument, void* data, std::size_t) noexcept {
                *static_cast<Operation*>(argument) = {Do::consume, 0, value_in(data)};
                return -1L;
            },
            &operation);
        return operation;
    }
    std::vector<Operation> rest() {
        std::vector<Operation> found;
        do {
            found.push_back(consume());
        } while (found.back().result == no_error);
        return found;
    }
    bool put(std::uint64_t number) {
        auto* const record =
            static_cast<Variable*>(map::ring_reserve(*ring_, record_bytes_ - 8, 0, 0));
        if (record != nullptr) {
            record[0].store(number, relaxed);
            record[1].store(~number, relaxed);
            map::ring_submit(record, BPF_RB_NO_WAKEUP);
        }
        return record != nullptr;
    }
    void check_room() {
        check(map::ring_query(*ring_, BPF_RB_AVAIL_DATA) == 0, "leak",
              "something is left that nobody can consume");
        for (std::uint32_t count = 0; count <= capacity_; ++count) {
            check(put(count) == (count < capacity_), "leak",
                  "there is another number of places than in the beginning");
        }
        check(rest().size() == capacity_ + 1, "leak", "a new record is lost");
    }

    std::shared_ptr<Core> core_;
    MapHistory history_;
    std::uint32_t capacity_;
    std::uint32_t record_bytes_;
    map::Map* ring_ = nullptr;
    std::byte* data_ = nullptr;
};

/// Threads with a producer each, a handler on the first with another, a consumer.
struct RingPlay {
    std::uint32_t capacity = 3;
    std::vector<std::vector<Operation>> producers;  ///< How records end: submit or discard.
    std::vector<Operation> nmi{};
    unsigned consumes = 0;
    bool first_dies = false;
    unsigned worker_rounds = 0;
    unsigned consumed = 0;  ///< Records that were there before.
};

TestedRing& lay_out(Setup& setup, const RingPlay& play) {
    auto ring = std::make_shared<TestedRing>(setup, make_core(setup, {.contexts = 1, .tasks = 4}),
                                             play.capacity, play.consumed);
    Core& core = ring->core();
    setup.at_end([ring, died = play.first_dies] { ring->check_end(died); });
    const unsigned mortal = play.first_dies ? core.process(true) : 0;
    for (std::size_t index = 0; index < play.producers.size(); ++index) {
        const unsigned thread =
            core.thread(index == 0 ? mortal : 0, "producer" + std::to_string(index + 1),
                        ring->producer(play.producers[index]));
        if (index == 0 && !play.nmi.empty()) {
            core.event(thread, "nmi", ring->producer(play.nmi));
        }
    }
    if (play.consumes != 0) {
        core.thread(0, "consumer", ring->consumer(play.consumes));
    }
    core.worker_rounds(play.worker_rounds);
    return *ring;
}

constexpr Operation submit(std::uint64_t number) { return {Do::submit, 0, number}; }
constexpr Operation discard(std::uint64_t number) { return {Do::discard, 0, number}; }

const Registered kTwo{{.name = "ring.two_producers",
                       .about = "2 producers of a record each",
                       .lay_out = [](Setup& setup) {
                           lay_out(setup, RingPlay{.producers = {{submit(1)}, {submit(2)}}});
                       }}};
const Registered kConsumer{
    {.name = "ring.consumer",
     .about = "producer of 2 records, consumer of 2",
     .lay_out =
         [](Setup& setup) {
             lay_out(setup, RingPlay{.producers = {{submit(1), submit(2)}}, .consumes = 2});
         },
     .models = kAllModels}};
const Registered kDiscard{
    {.name = "ring.discard",
     .about = "producer that discards, producer that submits, consumer",
     .lay_out =
         [](Setup& setup) {
             lay_out(setup, RingPlay{.producers = {{discard(1)}, {submit(2)}}, .consumes = 1});
         },
     .large = true}};
/// Whoever publishes another's record has seen its header.
const Registered kPublishOther{
    {.name = "ring.publish_other",
     .about = "producer, producer that consumes when it is done",
     .lay_out =
         [](Setup& setup) {
             TestedRing& ring = lay_out(setup, RingPlay{.producers = {{submit(1)}}});
             ring.core().thread(0, "both",
                                [produce = ring.producer({submit(2)}), consume = ring.consumer(1)] {
                                    produce();
                                    consume();
                                });
         },
     .models = {Model::sc, Model::ra},
     .large = true}};
const Registered kRefused{
    {.name = "ring.refused",
     .about = "2 producers, room for 1 record (RB.2)",
     .lay_out = [](Setup& setup) {
         lay_out(setup, RingPlay{.capacity = 1, .producers = {{submit(1)}, {submit(2)}}});
     }}};
const Registered kLaps{
    {.name = "ring.laps",
     .about = "producer of 3 records, consumer of 2, room for 1: the memory is used again (RB.2)",
     .lay_out =
         [](Setup& setup) {
             lay_out(setup, RingPlay{.capacity = 1,
                                     .producers = {{submit(1), submit(2), submit(3)}},
                                     .consumes = 2});
         },
     .models = kAllModels}};
/// Both look for what is finished, and move the position before which all is.
const Registered kLapsNmi{
    {.name = "ring.laps_nmi",
     .about = "producer of 2 records, 1 nmi that produces, consumer of 1, room for 1 (RB.2)",
     .lay_out =
         [](Setup& setup) {
             lay_out(setup, RingPlay{.capacity = 1,
                                     .producers = {{submit(1), submit(2)}},
                                     .nmi = {submit(3)},
                                     .consumes = 1});
         },
     .models = {Model::sc}}};
const Registered kNmi{{.name = "ring.nmi",
                       .about = "producer, 1 nmi that produces 2 records, consumer (RB.1)",
                       .lay_out = [](Setup& setup) {
                           lay_out(setup, RingPlay{.producers = {{submit(1)}},
                                                   .nmi = {submit(2), discard(3)},
                                                   .consumes = 1});
                       }}};
const Registered kNmiThread{
    {.name = "ring.nmi_and_thread",
     .about = "producer, 1 nmi that produces, another producer (RB.1)",
     .lay_out =
         [](Setup& setup) {
             lay_out(setup, RingPlay{.producers = {{submit(1)}, {submit(2)}}, .nmi = {submit(3)}});
         },
     .large = true}};
const Registered kDeath{
    {.name = "ring.death",
     .about = "producer that dies, another, sweep",
     .lay_out = [](Setup& setup) {
         lay_out(setup, RingPlay{.producers = {{submit(1)}, {submit(2)}}, .first_dies = true});
     }}};
const Registered kDeathNmi{
    {.name = "ring.death_nmi",
     .about = "producer with 1 nmi that produces, which dies, sweep",
     .lay_out = [](Setup& setup) {
         lay_out(setup,
                 RingPlay{.producers = {{submit(1)}}, .nmi = {discard(2)}, .first_dies = true});
     }}};
/// The second looks for what is finished, which the first one's record is not.
const Registered kDeathLap{
    {.name = "ring.death_lap",
     .about = "producer that dies, another that looks for room behind 2 records, sweep",
     .lay_out = [](Setup& setup) {
         lay_out(
             setup,
             RingPlay{.producers = {{submit(1)}, {submit(2)}}, .first_dies = true, .consumed = 2});
     }}};
const Registered kDeathSweep{{.name = "ring.death_sweep",
                              .about = "producer that dies, sweep beside another producer",
                              .lay_out =
                                  [](Setup& setup) {
                                      lay_out(setup,
                                              RingPlay{.producers = {{submit(1)}, {submit(2)}},
                                                       .first_dies = true,
                                                       .worker_rounds = 1});
                                  },
                              .large = true}};

/// The consumer looks once and sleeps: what is finished after that rings for it.
const Registered kWake{
    {.name = "ring.wake",
     .about = "producer of 2 records, consumer that looks once and then waits to be told",
     .lay_out =
         [](Setup& setup) {
             auto core = make_core(setup, {.contexts = 1, .tasks = 4});
             auto ring = std::make_shared<TestedRing>(setup, core, 3);
             core->thread(0, "producer", ring->producer({submit(1), submit(2)}));
             core->worker([ring] { ring->look(); });
             core->before_cleanup([ring] { ring->check_told(); });
             setup.at_end([ring] { ring->check_seen(2); });
         },
     .models = kAllModels}};

}  // namespace

}  // namespace explore
