// SPDX-License-Identifier: Apache-2.0
//
// An event after an instruction of what producers of a ring do, and a death there: of whole
// outputs, of each of the three steps of a record, of the search for room. With TASKWORK_PROVE in
// the environment: after every instruction.
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <vector>

#include "map/ring_buffer.hpp"
#include "map/test_map.hpp"
#include "map/test_steps.hpp"
#include "task/single_step.hpp"

namespace taskwork::map {
namespace {

class SteppedRing : public MapTest {
protected:
    using List = std::vector<std::uint64_t>;

    void SetUp() override {
        if (!task::kCanSingleStep) {
            GTEST_SKIP() << "no single step under this sanitizer";
        }
    }
    static Map& ring(std::uint32_t bytes = 4096) {
        return make(spec(BPF_MAP_TYPE_RINGBUF, 0, 0, bytes));
    }
    static std::uint64_t every(std::uint64_t stride) {
        return std::getenv("TASKWORK_PROVE") != nullptr ? 1 : stride * kStepFactor;
    }
    static std::errc output(Map& map, std::uint64_t value) {
        return ring_output(map, &value, sizeof value, 0, task::current()->process);
    }
    /// Everything that is ready: the first word of each record.
    static List consume(Map& map) {
        List found;
        ring_consume(
            map,
            [](void* argument, void* data, std::size_t) {
                static_cast<List*>(argument)->push_back(*static_cast<std::uint64_t*>(data));
                return 0L;
            },
            &found);
        return found;
    }
};

// ---- Whole outputs ------------------------------------------------------------------------------

struct Nested {
    Map* map;
    std::uint64_t value;
    bool done;
};

void output_nested(void* argument) {
    auto* nested = static_cast<Nested*>(argument);
    nested->done =
        ring_output(*nested->map, &nested->value, 8, 0, task::current()->process) == no_error;
}

TEST_F(SteppedRing, a_handler_after_any_instruction_of_an_output_makes_its_own) {
    Map& map = ring();
    for (std::uint64_t at = 1;; at += every(7)) {
        Nested body{&map, 1000, false};
        Nested event{&map, 2000, false};
        const std::uint64_t steps =
            task::single_step(output_nested, &body, output_nested, &event, at, 0);
        ASSERT_TRUE(body.done);
        if (steps < at) {
            EXPECT_EQ(consume(map), List{1000});
            break;
        }
        ASSERT_TRUE(event.done) << "after instruction " << at;
        const List found = consume(map);
        ASSERT_TRUE(found == (List{1000, 2000}) || found == (List{2000, 1000}))
            << "after instruction " << at;
    }
    EXPECT_EQ(ring_dropped(map), 0U);
}

struct Many {
    Map* map;
    std::uint64_t count;
    std::uint64_t done;
};

void output_many(void* argument) {
    auto* many = static_cast<Many*>(argument);
    for (std::uint64_t i = 0; i < many->count; ++i) {
        many->done +=
            ring_output(*many->map, &i, 8, BPF_RB_NO_WAKEUP, task::current()->process) == no_error;
    }
}

/// RB.3: those behind it wait in the table of reservations, which grows with the ring.
TEST_F(SteppedRing,
       behind_a_producer_that_was_interrupted_a_large_ring_takes_thousands_of_records) {
    constexpr std::uint64_t kFit = ((1U << 20) / 64) - 1;
    Map& map = ring(1U << 20);
    for (std::uint64_t at = 1;; at += every(41)) {
        Nested body{&map, 1000, false};
        Many event{&map, kFit, 0};
        const std::uint64_t steps =
            task::single_step(output_nested, &body, output_many, &event, at, 0);
        ASSERT_TRUE(body.done);
        EXPECT_EQ(consume(map).size(), 1 + (steps < at ? 0 : kFit)) << "after instruction " << at;
        if (steps < at) {
            break;
        }
    }
    EXPECT_EQ(ring_dropped(map), 0U);
}

// ---- The steps of a record ----------------------------------------------------------------------

enum class Step { reserve, submit, discard };

struct Record {
    Map* map;
    std::uint64_t number;
    std::uint64_t* data = nullptr;

    void reserve() noexcept {
        data = static_cast<std::uint64_t*>(
            ring_reserve(*map, sizeof number, 0, task::current()->process));
        if (data != nullptr) {
            *data = number;
        }
    }
};

void run_reserve(void* argument) { static_cast<Record*>(argument)->reserve(); }
void run_submit(void* argument) { ring_submit(static_cast<Record*>(argument)->data, 0); }
void run_discard(void* argument) { ring_discard(static_cast<Record*>(argument)->data, 0); }
void event_submit(void* argument) {
    auto* record = static_cast<Record*>(argument);
    record->reserve();
    if (record->data != nullptr) {
        ring_submit(record->data, 0);
    }
}
void event_discard(void* argument) {
    auto* record = static_cast<Record*>(argument);
    record->reserve();
    if (record->data != nullptr) {
        ring_discard(record->data, 0);
    }
}

TEST_F(SteppedRing, the_steps_of_a_record_and_the_event_happen_one_after_the_other) {
    Map& map = ring();
    std::uint64_t points = 0;
    for (Step step : {Step::reserve, Step::submit, Step::discard}) {
        for (bool submits : {true, false}) {
            for (std::uint64_t at = 1;; at += every(5)) {
                Record x{&map, 1000};
                Record y{&map, 2000};
                if (step != Step::reserve) {
                    x.reserve();
                }
                const std::uint64_t steps =
                    task::single_step(step == Step::reserve  ? run_reserve
                                      : step == Step::submit ? run_submit
                                                             : run_discard,
                                      &x, submits ? event_submit : event_discard, &y, at, 0);
                ASSERT_NE(x.data, nullptr);
                if (step == Step::reserve) {
                    // What lies behind a record under way is held back, what lies before is not.
                    const List early = consume(map);
                    const bool is_before = submits && steps >= at && y.data < x.data;
                    ASSERT_EQ(early, is_before ? List{2000} : List{}) << "after " << at;
                    run_submit(&x);
                    ASSERT_EQ(consume(map), submits && steps >= at && !is_before
                                                ? (List{1000, 2000})
                                                : List{1000})
                        << "after " << at;
                } else {
                    List expected;
                    if (step == Step::submit) {
                        expected.push_back(1000);
                    }
                    if (submits && steps >= at) {
                        expected.push_back(2000);
                    }
                    ASSERT_EQ(consume(map), expected) << "after " << at;
                }
                ASSERT_EQ(ring_query(map, BPF_RB_AVAIL_DATA), 0U);
                if (steps < at) {
                    break;
                }
                ASSERT_NE(y.data, nullptr);
                ++points;
            }
        }
    }
    EXPECT_EQ(ring_dropped(map), 0U);
    EXPECT_GT(points, 20U);
    RecordProperty("points", static_cast<int>(points));
}

/// Two records: the consumer is past where the interrupted reservation wanted to end.
void event_submit_and_consume(void* argument) {
    auto* record = static_cast<Record*>(argument);
    event_submit(record);
    event_submit(record);
    ring_consume(*record->map, [](void*, void*, std::size_t) { return 0L; }, nullptr);
}

// What a reservation has read of the ring may be old when it comes to decide: the records that
// others have put behind it meanwhile may even have been consumed.
TEST_F(SteppedRing, reservations_find_room_that_the_consumer_has_passed) {
    Map& map = ring();
    for (std::uint64_t at = 1;; ++at) {
        Record x{&map, 1000};
        Record y{&map, 2000};
        const std::uint64_t steps =
            task::single_step(run_reserve, &x, event_submit_and_consume, &y, at, 0);
        ASSERT_NE(x.data, nullptr) << "after " << at;
        run_submit(&x);
        consume(map);
        ASSERT_EQ(ring_query(map, BPF_RB_AVAIL_DATA), 0U);
        if (steps < at) {
            break;
        }
        ASSERT_NE(y.data, nullptr) << "after " << at;
    }
    EXPECT_EQ(ring_dropped(map), 0U);
}

// ---- The search for room ------------------------------------------------------------------------

/// Two laps of records whose bytes, taken for a header, say that it is busy. Where one of those
/// before lay, such bytes are then.
void event_laps(void* argument) {
    constexpr std::size_t kRecordBytes = 704;
    static_assert(4096 % (kRecordBytes + 8) != 0 && 8192 % (kRecordBytes + 8) != 0);
    std::array<std::uint64_t, kRecordBytes / 8> bytes;
    bytes.fill(UINT64_MAX);
    Map& map = *static_cast<Record*>(argument)->map;
    for (int i = 0; i < 12; ++i) {
        (void)ring_output(map, bytes.data(), sizeof bytes, BPF_RB_NO_WAKEUP,
                          task::current()->process);
        ring_consume(map, [](void*, void*, std::size_t) { return 0L; }, nullptr);
    }
}
void run_reserve_behind(void* argument) {
    auto* record = static_cast<Record*>(argument);
    record->data =
        static_cast<std::uint64_t*>(ring_reserve(*record->map, 1080, 0, task::current()->process));
}

/// What it has found finished is the past when it comes to write that down: others have, and are
/// laps ahead.
TEST_F(SteppedRing, reservations_never_take_back_how_far_records_are_finished) {
    const std::array<std::uint64_t, 1000 / 8> before{};
    for (std::uint64_t at = 1;; ++at) {
        Map& map = ring();
        for (int i = 0; i < 3; ++i) {  // 3024 bytes, which nobody has looked at yet
            ASSERT_EQ(ring_output(map, before.data(), sizeof before, 0, task::current()->process),
                      no_error);
        }
        ASSERT_EQ(consume(map).size(), 3U);
        Record x{&map, 1000};
        const std::uint64_t steps =
            task::single_step(run_reserve_behind, &x, event_laps, &x, at, 0);
        ASSERT_NE(x.data, nullptr) << "after instruction " << at;
        run_submit(&x);
        consume(map);
        ASSERT_EQ(ring_query(map, BPF_RB_AVAIL_DATA), 0U);
        for (std::uint64_t number = 0; number < 8; ++number) {
            ASSERT_EQ(output(map, number), no_error) << "after instruction " << at;
            ASSERT_EQ(consume(map), List{number});
        }
        put_user(map);
        task::Worker::synchronize();
        if (steps < at) {
            EXPECT_GT(at, 50U);
            break;
        }
    }
}

// ---- Deaths -------------------------------------------------------------------------------------

void run_submit_all(void* argument) {
    auto* record = static_cast<Record*>(argument);
    record->reserve();
    ring_submit(record->data, 0);
}
void run_discard_all(void* argument) {
    auto* record = static_cast<Record*>(argument);
    record->reserve();
    ring_discard(record->data, 0);
}

TEST_F(SteppedRing, the_record_of_a_dead_producer_is_discarded_wherever_he_died) {
    Map& map = ring();
    for (const bool submits : {true, false}) {
        unsigned deaths = 0;
        for (std::uint64_t at = 1;; at += every(17)) {
            ASSERT_EQ(output(map, 1), no_error);
            Record x{&map, 1000};
            const bool died = die_in(submits ? run_submit_all : run_discard_all, &x, at,
                                     [&] { ASSERT_EQ(output(map, 2), no_error); });
            ASSERT_EQ(output(map, 3), no_error);
            const List found = consume(map);
            const bool is_whole = submits && found == List{1, 1000, 2, 3};
            ASSERT_TRUE(is_whole || (found == List{1, 2, 3} && (died || !submits)))
                << "after instruction " << at;
            ASSERT_EQ(ring_query(map, BPF_RB_AVAIL_DATA), 0U);
            if (!died) {
                break;
            }
            ++deaths;
        }
        EXPECT_GT(deaths, 5U);
    }
    EXPECT_EQ(ring_dropped(map), 0U);
}

}  // namespace
}  // namespace taskwork::map
