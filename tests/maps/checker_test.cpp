// SPDX-License-Identifier: Apache-2.0
//
// The checker itself: histories that are right, and ones with each kind of fault that it is for.
#include <gtest/gtest.h>

#include "tests/maps/linearizability.hpp"
#include "tests/maps/models.hpp"

namespace taskwork::maps {
namespace {

using Kind = Operation::Kind;
using History = std::vector<Event<Operation>>;

constexpr std::errc kNone = std::errc::no_such_file_or_directory;
constexpr std::errc kFull = std::errc::argument_list_too_long;
constexpr std::errc kNoMemory = std::errc::not_enough_memory;
constexpr std::errc kNoRoom = std::errc::resource_unavailable_try_again;

Event<Operation> event(std::uint64_t begin, std::uint64_t end, Kind kind, std::uint8_t key,
                       std::uint64_t value, std::errc result = no_error) {
    return {begin, end, {kind, key, value, result}};
}
template <class Model>
bool is_linearizable(const Model& model, const History& history) {
    return Linearization<Model, Operation>(model, history).exists(typename Model::State{});
}

const HashModel kHash(2);
const HashModel kLru(2, true);
const SequenceModel kQueue(2, false);
const SequenceModel kStack(2, true);
const RingModel kRing(2);

TEST(Linearizability, overlapping_operations_may_have_come_in_either_order) {
    EXPECT_TRUE(
        is_linearizable(kHash, {event(0, 3, Kind::update, 0, 7), event(1, 2, Kind::lookup, 0, 7)}));
    EXPECT_TRUE(is_linearizable(
        kHash, {event(0, 3, Kind::update, 0, 7), event(1, 2, Kind::lookup, 0, 0, kNone)}));
}

TEST(Linearizability, what_has_ended_comes_before_what_begins) {
    EXPECT_FALSE(is_linearizable(
        kHash, {event(0, 1, Kind::update, 0, 7), event(2, 3, Kind::lookup, 0, 0, kNone)}));
    // Seen by one, and then not by another.
    EXPECT_FALSE(
        is_linearizable(kHash, {event(0, 5, Kind::update, 0, 7), event(1, 2, Kind::lookup, 0, 7),
                                event(3, 4, Kind::lookup, 0, 0, kNone)}));
}

TEST(Linearizability, a_lost_update_is_found) {
    EXPECT_FALSE(
        is_linearizable(kHash, {event(0, 2, Kind::update, 0, 7), event(1, 3, Kind::update, 0, 8),
                                event(4, 5, Kind::lookup, 0, 0, kNone)}));
    EXPECT_FALSE(
        is_linearizable(kHash, {event(0, 2, Kind::insert, 0, 7), event(1, 3, Kind::insert, 0, 8)}));
}

TEST(Linearizability, a_map_that_was_never_full_refuses_nothing) {
    EXPECT_FALSE(is_linearizable(
        kHash, {event(0, 1, Kind::update, 0, 7), event(2, 3, Kind::update, 1, 8, kFull)}));
    EXPECT_TRUE(
        is_linearizable(kHash, {event(0, 1, Kind::update, 0, 7), event(2, 5, Kind::update, 1, 8),
                                event(3, 4, Kind::update, 2, 9, kFull)}));
}

TEST(Linearizability, a_map_may_seem_full_beside_an_insertion_and_not_without_one) {
    History history = {event(0, 1, Kind::update, 0, 7), event(2, 5, Kind::update, 1, 8),
                       event(3, 4, Kind::update, 1, 9, kFull)};
    EXPECT_FALSE(is_linearizable(kHash, history));
    history[2].operation.rivals = 1;
    EXPECT_TRUE(is_linearizable(kHash, history));
    history[0].operation.kind = Kind::lookup;
    history[0].operation.result = kNone;
    EXPECT_FALSE(is_linearizable(kHash, history)) << "two places were free";
}

TEST(Linearizability, one_element_is_taken_once) {
    EXPECT_FALSE(
        is_linearizable(kHash, {event(0, 1, Kind::update, 0, 7), event(2, 5, Kind::take, 0, 7),
                                event(3, 4, Kind::remove, 0, 0)}));
}

TEST(Linearizability, a_full_map_that_evicts_loses_one_key_for_each_insertion) {
    const auto then = [](std::uint64_t first, std::uint64_t second) -> History {
        return {event(0, 1, Kind::update, 0, 7), event(2, 3, Kind::update, 1, 8),
                event(4, 7, Kind::update, 2, 9),
                event(8, 9, Kind::lookup, 0, first, first == 0 ? kNone : no_error),
                event(10, 11, Kind::lookup, 1, second, second == 0 ? kNone : no_error)};
    };
    EXPECT_TRUE(is_linearizable(kLru, then(7, 0)));
    EXPECT_TRUE(is_linearizable(kLru, then(0, 8)));
    EXPECT_FALSE(is_linearizable(kLru, then(7, 8))) << "three in a map of two";
    History history = then(7, 0);
    history.push_back(event(12, 13, Kind::lookup, 2, 0, kNone));
    EXPECT_FALSE(is_linearizable(kLru, history)) << "what was put there has gone";
    history = then(0, 8);
    // It has gone before the other one is there.
    history.push_back(event(5, 6, Kind::lookup, 0, 0, kNone));
    EXPECT_TRUE(is_linearizable(kLru, history));
    history.push_back(event(5, 6, Kind::lookup, 2, 0, kNone));
    EXPECT_TRUE(is_linearizable(kLru, history));
    history.back().operation = {Kind::lookup, 1, 0, kNone};
    EXPECT_FALSE(is_linearizable(kLru, history)) << "and is found again later";
}

TEST(Linearizability, a_map_that_evicts_loses_nothing_unless_it_is_full) {
    EXPECT_FALSE(is_linearizable(
        kLru, {event(0, 1, Kind::update, 0, 7), event(2, 3, Kind::lookup, 0, 0, kNone)}));
    History history = {event(0, 1, Kind::update, 0, 7), event(2, 5, Kind::update, 1, 8),
                       event(6, 7, Kind::lookup, 0, 0, kNone)};
    EXPECT_FALSE(is_linearizable(kLru, history)) << "a place was free";
    history[1].operation.rivals = 1;
    EXPECT_TRUE(is_linearizable(kLru, history)) << "somebody may have held it";
    history.push_back(event(8, 9, Kind::lookup, 0, 7));
    EXPECT_FALSE(is_linearizable(kLru, history)) << "nothing comes back";
}

TEST(Linearizability, a_map_that_evicts_refuses_only_if_others_hold_all_places) {
    History history = {event(0, 1, Kind::update, 0, 7), event(2, 3, Kind::update, 1, 8, kNoMemory)};
    EXPECT_FALSE(is_linearizable(kLru, history));
    history[1].operation.rivals = 2;
    EXPECT_TRUE(is_linearizable(kLru, history));
    history[1].operation.result = kFull;
    EXPECT_FALSE(is_linearizable(kLru, history));
}

TEST(Linearizability, records_leave_a_ring_in_the_order_of_reservation) {
    const auto consumed = [](std::uint64_t first, std::uint64_t second) -> History {
        return {event(0, 1, Kind::reserve, 0, 7),       event(2, 3, Kind::reserve, 0, 8),
                event(4, 5, Kind::submit, 0, 8),        event(6, 7, Kind::consume, 0, 0, kNone),
                event(8, 9, Kind::submit, 0, 7),        event(10, 11, Kind::consume, 0, first),
                event(12, 13, Kind::consume, 0, second)};
    };
    EXPECT_TRUE(is_linearizable(kRing, consumed(7, 8)));
    EXPECT_FALSE(is_linearizable(kRing, consumed(8, 7)));
    EXPECT_FALSE(is_linearizable(kRing, consumed(7, 7)));
    History history = consumed(7, 8);
    history[3].operation = {Kind::consume, 0, 8, no_error};
    EXPECT_FALSE(is_linearizable(kRing, history)) << "the one before it was not finished";
}

TEST(Linearizability, discarded_records_are_passed_by_the_consumer_and_take_room_until_then) {
    const History history = {
        event(0, 1, Kind::reserve, 0, 7),        event(2, 3, Kind::reserve, 0, 8),
        event(4, 5, Kind::discard, 0, 7),        event(6, 7, Kind::reserve, 0, 9, kNoRoom),
        event(8, 9, Kind::consume, 0, 0, kNone), event(10, 11, Kind::reserve, 0, 9)};
    EXPECT_TRUE(is_linearizable(kRing, history));
    History changed = history;
    changed[4].operation = {Kind::consume, 0, 7, no_error};
    EXPECT_FALSE(is_linearizable(kRing, changed)) << "a discarded record is not seen";
    changed = history;
    changed[4] = event(8, 9, Kind::submit, 0, 8);
    EXPECT_FALSE(is_linearizable(kRing, changed)) << "nobody has passed it";
    changed = history;
    changed[3].operation.result = no_error;
    EXPECT_FALSE(is_linearizable(kRing, changed)) << "three in a ring of two";
    changed = {event(0, 1, Kind::reserve, 0, 7), event(2, 3, Kind::reserve, 0, 8, kNoRoom)};
    EXPECT_FALSE(is_linearizable(kRing, changed)) << "there was room";
}

TEST(Linearizability, queues_and_stacks_have_an_order) {
    const auto two_out = [](std::uint64_t first, std::uint64_t second) -> History {
        return {event(0, 1, Kind::push, 0, 7), event(2, 3, Kind::push, 0, 8),
                event(4, 5, Kind::pop, 0, first), event(6, 7, Kind::pop, 0, second)};
    };
    EXPECT_TRUE(is_linearizable(kQueue, two_out(7, 8)));
    EXPECT_FALSE(is_linearizable(kQueue, two_out(8, 7)));
    EXPECT_TRUE(is_linearizable(kStack, two_out(8, 7)));
    EXPECT_FALSE(is_linearizable(kStack, two_out(7, 8)));
    EXPECT_FALSE(is_linearizable(kQueue, two_out(7, 7)));
    EXPECT_FALSE(is_linearizable(
        kQueue, {event(0, 1, Kind::push, 0, 7), event(2, 3, Kind::pop, 0, 0, kNone)}));
    EXPECT_TRUE(is_linearizable(
        kQueue, {event(0, 1, Kind::push, 0, 7), event(2, 3, Kind::push, 0, 8),
                 event(4, 5, Kind::push_over, 0, 9), event(6, 7, Kind::pop, 0, 8)}));
}

}  // namespace
}  // namespace taskwork::maps
