// SPDX-License-Identifier: Apache-2.0
//
// Histories of real threads and their handlers on one small map, recorded and held against the
// sequential model of the kind. Two threads run at full speed, with events; one is slowed by the
// trap flag, with an event after an instruction drawn at random, so that its operations overlap
// with all the others and are interrupted everywhere (not under sanitizers, where it has events of
// a timer like the others).
//
//   TASKWORK_SEED       the sequence of random numbers
//   TASKWORK_HISTORIES  how many (120; 40,000 with TASKWORK_PROVE)
#include <algorithm>
#include <array>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "map/test_map.hpp"
#include "task/single_step.hpp"
#include "task/test_events.hpp"
#include "tests/maps/linearizability.hpp"
#include "tests/maps/models.hpp"
#include "tests/random.hpp"

namespace taskwork::maps {
namespace {

using Kind = Operation::Kind;
using map::Map;
using test::choose_seed;
using test::is_long;
using test::Random;

constexpr unsigned kFastThreads = 2;
constexpr unsigned kFastOperations = 13;
constexpr unsigned kSlowOperations = 4;
constexpr std::uint32_t kOfHandlers = 9;  ///< At most, a thread.
/// And two for each thread: records of a ring that are still in hand.
static_assert((kFastThreads + 1) * (kOfHandlers + 2) + kFastThreads * kFastOperations +
                  kSlowOperations <=
              kHistoryMax);
constexpr std::uint64_t kEventUs = 60;
/// Operations are a few hundred instructions.
constexpr std::uint64_t kStepsMax = 600;
/// A ring of a page has room for four records of this size.
constexpr std::uint32_t kRingBytes = 4096;
constexpr std::uint64_t kRecordBytes = 1000;

/// What a kind of map is asked, and the model that says what it may answer.
struct Subject {
    const char* name;
    std::uint32_t type;
    std::uint32_t entries;
    std::vector<Kind> kinds;
    std::uint32_t flags = 0;
};

/// A thread, and a handler on top of it.
enum Level : unsigned { of_thread, of_handler };
constexpr unsigned kLevels = 2;

/// One thread's part of a history; its handlers write into it too.
struct Log {
    explicit Log(std::uint64_t seed) : random(seed) {}
    Random random;
    std::array<Event<Operation>, kHistoryMax> events{};
    std::atomic<std::uint32_t> count{0};
    std::atomic<std::uint32_t> limit{0};  ///< Handlers stop there.
    bool consumes = false;                ///< The one thread that takes out of a ring.
    /// A record of a ring that was reserved and is to be finished.
    struct InHand {
        void* record = nullptr;
        std::uint64_t number = 0;
    };
    std::array<InHand, kLevels> in_hand{};
};

/// What all threads of a test share; handlers find it here.
struct Stage {
    const Subject* subject = nullptr;
    Map* map = nullptr;
    std::atomic<std::uint64_t> clock{0};
    std::atomic<std::uint64_t> next_value{1};
    std::atomic<std::uint64_t> nested{0};  ///< Operations of handlers.
    std::atomic<std::uint32_t> round{0};
    std::atomic<std::uint32_t> finished{0};
    std::atomic<bool> stop{false};
};
Stage* stage = nullptr;
thread_local constinit Log* own_log = nullptr;

std::errc consume_one(Map& map, std::uint64_t* number) noexcept {
    constexpr long kEnough = -1;
    const long result = map::ring_consume(
        map,
        [](void* out, void* data, std::size_t) {
            *static_cast<std::uint64_t*>(out) = *static_cast<const std::uint64_t*>(data);
            return kEnough;
        },
        number);
    return result == kEnough ? no_error : std::errc::no_such_file_or_directory;
}

void run(Map& map, Operation& operation, Log::InHand& in_hand) noexcept {
    const std::uint64_t key = operation.key;
    std::uint64_t value = operation.value;
    switch (operation.kind) {
    case Kind::update:
        operation.result = map::update(map, &key, &value, BPF_ANY);
        break;
    case Kind::insert:
        operation.result = map::update(map, &key, &value, BPF_NOEXIST);
        break;
    case Kind::replace:
        operation.result = map::update(map, &key, &value, BPF_EXIST);
        break;
    case Kind::remove:
        operation.result = map::remove(map, &key);
        break;
    case Kind::lookup:
        operation.result = map::lookup_copy(map, &key, &operation.value, 0);
        break;
    case Kind::take:
        operation.result = map::lookup_and_remove(map, &key, &operation.value, 0);
        break;
    case Kind::push:
        operation.result = map::push(map, &value, BPF_ANY);
        break;
    case Kind::push_over:
        operation.result = map::push(map, &value, BPF_EXIST);
        break;
    case Kind::pop:
        operation.result = map::pop(map, &operation.value);
        break;
    case Kind::peek:
        operation.result = map::peek(map, &operation.value);
        break;
    case Kind::reserve:
        in_hand = {map::ring_reserve(map, kRecordBytes, 0, task::current()->process), value};
        if (in_hand.record == nullptr) {
            operation.result = std::errc::resource_unavailable_try_again;
        } else {
            *static_cast<std::uint64_t*>(in_hand.record) = value;
        }
        break;
    case Kind::submit:
        map::ring_submit(std::exchange(in_hand.record, nullptr), 0);
        break;
    case Kind::discard:
        map::ring_discard(std::exchange(in_hand.record, nullptr), 0);
        break;
    case Kind::consume:
        operation.result = consume_one(map, &operation.value);
        break;
    }
}

/// What comes next. Of a ring it is not free: what was reserved is finished.
Operation choose(Log& log, Level level) noexcept {
    Operation operation;
    operation.value = stage->next_value.fetch_add(1, std::memory_order_relaxed);
    if (const std::vector<Kind>& kinds = stage->subject->kinds; !kinds.empty()) {
        operation.kind = kinds[log.random.below(kinds.size())];
        operation.key = static_cast<std::uint8_t>(log.random.below(HashModel::kKeys));
        return operation;
    }
    if (log.in_hand[level].record != nullptr) {
        operation.kind = log.random.below(3) == 0 ? Kind::discard : Kind::submit;
        operation.value = log.in_hand[level].number;
    } else {
        operation.kind = log.consumes && level == of_thread ? Kind::consume : Kind::reserve;
    }
    return operation;
}

/// Context: any.
void act_and_record(Log& log, Level level, Event<Operation>& event) noexcept {
    task::Task* const self = task::current();
    const task::Section section(self);
    const task::ReadSection keep(*self, sync::Flavour::sleepable);
    Operation operation = choose(log, level);
    event.begin = stage->clock.fetch_add(1, std::memory_order_seq_cst);
    run(*stage->map, operation, log.in_hand[level]);
    event.end = stage->clock.fetch_add(1, std::memory_order_seq_cst);
    event.operation = operation;
}

/// One operation of the calling thread, or of the handler on top of it. Context: any.
void act(Log& log, Level level) noexcept {
    const std::uint32_t index = log.count.fetch_add(1, std::memory_order_relaxed);
    // Acquire: pairs with the release in play(), which has emptied the events.
    if (index < log.limit.load(std::memory_order_acquire)) {
        stage->nested.fetch_add(level == of_handler ? 1 : 0, std::memory_order_relaxed);
        act_and_record(log, level, log.events[index]);
    }
}

/// The end of a thread's part: whoever is late records nothing, and no record stays in hand.
void end_part(Log& log) noexcept {
    log.limit.store(0, std::memory_order_release);
    for (const Level level : {of_thread, of_handler}) {
        if (log.in_hand[level].record != nullptr) {
            act_and_record(log, level, log.events[kHistoryMax - 1 - level]);
        }
    }
}

bool on_event(task::Task&, const siginfo_t&, void*, task::Dropped dropped) noexcept {
    if (dropped == task::Dropped::no && own_log != nullptr) {
        act(*own_log, of_handler);
    }
    return true;
}

void act_stepped(void* log) { act(*static_cast<Log*>(log), of_thread); }
void act_on_top(void* log) { act(*static_cast<Log*>(log), of_handler); }

class Histories : public map::MapTest, public testing::WithParamInterface<Subject> {
protected:
    ~Histories() override { task::set_event_hook(nullptr, nullptr); }

    /// The part of one thread in each round.
    void take_part(Log& log, bool is_slow) {
        own_log = &log;
        {
            task::EventTimer events(is_slow && task::kCanSingleStep ? 0 : kEventUs);
            std::uint32_t seen = 0;
            while (!stage_.stop.load(std::memory_order_acquire)) {
                const std::uint32_t round = stage_.round.load(std::memory_order_acquire);
                if (round == seen) {
                    std::this_thread::yield();
                    continue;
                }
                seen = round;
                events.start(log.random.below(UINT32_MAX));
                for (unsigned i = 0; i < (is_slow ? kSlowOperations : kFastOperations); ++i) {
                    if (is_slow && task::kCanSingleStep) {
                        task::single_step(act_stepped, &log, act_on_top, &log,
                                          1 + log.random.below(kStepsMax), 0);
                    } else {
                        act(log, of_thread);
                    }
                }
                events.stop();
                ::usleep(0);  // ThreadSanitizer delivers what is under way here.
                end_part(log);
                stage_.finished.fetch_add(1, std::memory_order_release);
            }
        }
        own_log = nullptr;
    }
    /// From nothing, as the model begins.
    void empty_map() {
        const map::Sections sections;
        if (is_ring()) {
            map::ring_consume(*stage_.map, [](void*, void*, std::size_t) { return 0L; }, nullptr);
            ASSERT_EQ(map::ring_query(*stage_.map, BPF_RB_AVAIL_DATA), 0U);
            return;
        }
        std::uint64_t out = 0;
        for (std::uint64_t key = 0; key < HashModel::kKeys; ++key) {
            if (map::has_keys(*stage_.map)) {
                map::remove(*stage_.map, &key);
            }
        }
        while (!map::has_keys(*stage_.map) && map::pop(*stage_.map, &out) == no_error) {
        }
    }
    template <class Model>
    void record_and_check(const Model& model) {
        const std::uint64_t seed = choose_seed();
        stage_.subject = &GetParam();
        stage_.map = &make(spec(GetParam().type, map_key_size(), is_ring() ? 0 : 8,
                                GetParam().entries, GetParam().flags));
        stage = &stage_;
        task::set_event_hook(task::is_timer_event, on_event);
        std::vector<std::unique_ptr<Log>> logs;
        std::vector<std::thread> threads;
        for (unsigned i = 0; i <= kFastThreads; ++i) {
            logs.push_back(std::make_unique<Log>(seed + i));
            threads.push_back(
                task::task_thread([this, &log = *logs.back(), i] { take_part(log, i == 0); }));
        }
        std::size_t operations = 0;
        std::size_t overlaps = 0;
        const auto rounds = static_cast<unsigned>(
            test::setting("TASKWORK_HISTORIES", is_long()                               ? 40'000
                                                : kThreadSanitizer || kAddressSanitizer ? 60
                                                                                        : 120));
        for (unsigned round = 0; round < rounds && !HasFailure(); ++round) {
            if (map::usage(*stage_.map).waiting > 500) {
                task::Worker::synchronize();
            }
            ASSERT_NO_FATAL_FAILURE(empty_map());
            for (std::size_t i = 0; i < logs.size(); ++i) {
                logs[i]->consumes = i == round % logs.size();
            }
            const std::vector<Event<Operation>> history = play(model, logs);
            ASSERT_GE(history.size(), kFastThreads * kFastOperations + kSlowOperations);
            operations += history.size();
            Linearization<Model, Operation> linearization(model, history);
            overlaps += linearization.overlaps();
            EXPECT_TRUE(linearization.exists(typename Model::State{})) << "round " << round << "\n"
                                                                       << print(history);
        }
        stage_.stop.store(true, std::memory_order_release);
        for (std::thread& thread : threads) {
            thread.join();
        }
        std::cout << rounds << " histories, " << operations << " operations, "
                  << stage_.nested.load() << " of them in handlers, " << overlaps
                  << " pairs overlapped" << std::endl;
        EXPECT_GT(overlaps, rounds / 2) << "there was little to decide";
        EXPECT_GT(stage_.nested.load(), 0U);
        stage = nullptr;
    }

private:
    /// One round of everybody; what they did, in order of beginning.
    template <class Model>
    std::vector<Event<Operation>> play(const Model& model,
                                       std::vector<std::unique_ptr<Log>>& logs) {
        for (std::size_t i = 0; i < logs.size(); ++i) {
            logs[i]->count.store(0, std::memory_order_relaxed);
            logs[i]->limit.store((i == 0 ? kSlowOperations : kFastOperations) + kOfHandlers,
                                 std::memory_order_release);
        }
        stage_.finished.store(0, std::memory_order_relaxed);
        // Release: the threads see the map emptied.
        stage_.round.fetch_add(1, std::memory_order_release);
        while (stage_.finished.load(std::memory_order_acquire) != logs.size()) {
            std::this_thread::yield();
        }
        std::vector<Event<Operation>> history;
        for (const std::unique_ptr<Log>& log : logs) {
            for (const Event<Operation>& event : log->events) {
                if (event.end > event.begin) {
                    history.push_back(event);
                }
            }
            log->events.fill({});
        }
        std::sort(history.begin(), history.end(),
                  [](const auto& left, const auto& right) { return left.begin < right.begin; });
        for (Event<Operation>& event : history) {
            for (const Event<Operation>& other : history) {
                event.operation.rivals += &other != &event && model.is_rival(other.operation) &&
                                                  other.begin < event.end && event.begin < other.end
                                              ? 1
                                              : 0;
            }
        }
        return history;
    }
    [[nodiscard]] static bool is_ring() { return GetParam().type == BPF_MAP_TYPE_RINGBUF; }
    [[nodiscard]] static std::uint32_t map_key_size() {
        return GetParam().type == BPF_MAP_TYPE_QUEUE || GetParam().type == BPF_MAP_TYPE_STACK ||
                       is_ring()
                   ? 0
                   : 8;
    }
    static std::string print(const std::vector<Event<Operation>>& history) {
        std::ostringstream text;
        for (const Event<Operation>& event : history) {
            const Operation& operation = event.operation;
            text << event.begin << " to " << event.end << ": "
                 << Operation::kNames[static_cast<std::size_t>(operation.kind)] << " key "
                 << int(operation.key) << " value " << operation.value << " -> "
                 << static_cast<int>(operation.result) << "\n";
        }
        return text.str();
    }

    Stage stage_;
};

TEST_P(Histories, are_those_of_one_operation_after_the_other) {
    const Subject& subject = GetParam();
    const bool is_stack = subject.type == BPF_MAP_TYPE_STACK;
    if (is_stack || subject.type == BPF_MAP_TYPE_QUEUE) {
        record_and_check(SequenceModel(subject.entries, is_stack));
    } else if (subject.type == BPF_MAP_TYPE_RINGBUF) {
        // It is never filled to the last 8 bytes (the kernel's rule).
        record_and_check(RingModel((kRingBytes - 8) / (kRecordBytes + BPF_RINGBUF_HDR_SZ)));
    } else {
        record_and_check(HashModel(subject.entries, subject.type == BPF_MAP_TYPE_LRU_HASH));
    }
}

const std::vector<Kind> kOfHash = {Kind::update, Kind::insert, Kind::replace, Kind::remove,
                                   Kind::lookup, Kind::lookup, Kind::take};
const std::vector<Kind> kOfSequence = {Kind::push, Kind::push, Kind::push_over,
                                       Kind::pop,  Kind::pop,  Kind::peek};

INSTANTIATE_TEST_SUITE_P(Of, Histories,
                         testing::Values(Subject{"hash", BPF_MAP_TYPE_HASH, 4, kOfHash},
                                         Subject{"full_hash", BPF_MAP_TYPE_HASH, 2, kOfHash},
                                         Subject{"hash_on_demand", BPF_MAP_TYPE_HASH, 4, kOfHash,
                                                 BPF_F_NO_PREALLOC},
                                         Subject{"lru", BPF_MAP_TYPE_LRU_HASH, 2, kOfHash},
                                         Subject{"roomy_lru", BPF_MAP_TYPE_LRU_HASH, 3, kOfHash},
                                         Subject{"queue", BPF_MAP_TYPE_QUEUE, 3, kOfSequence},
                                         Subject{"stack", BPF_MAP_TYPE_STACK, 3, kOfSequence},
                                         Subject{"ring", BPF_MAP_TYPE_RINGBUF, kRingBytes, {}}),
                         [](const auto& instance) { return std::string(instance.param.name); });

}  // namespace
}  // namespace taskwork::maps
