// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cerrno>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "bpf/test_helpers.hpp"
#include "map/map_in_map.hpp"
#include "map/ring_buffer.hpp"

namespace taskwork::bpf {
namespace {

using namespace test;

// ---- Maps ---------------------------------------------------------------------------------------

TEST_F(HelperTest, looks_up_updates_and_deletes_with_the_kernels_results) {
    map::Map& map = domain.hash(8, 8, 2);
    const auto with_key = [&](int id, std::uint64_t key, std::uint64_t flags) {
        return domain.run(
            domain.load({wide(R1, key), store(BPF_DW, R10, -8, R1), store_imm(BPF_DW, R10, -16, 7),
                         domain.wide_map(R1, map), copy(R2, R10), add(R2, -8), copy(R3, R10),
                         add(R3, -16), wide(R4, flags), call(id), leave()}));
    };
    EXPECT_EQ(with_key(BPF_FUNC_map_lookup_elem, 1, 0), 0u);
    EXPECT_EQ(with_key(BPF_FUNC_map_update_elem, 1, BPF_EXIST), negative(ENOENT));
    EXPECT_EQ(with_key(BPF_FUNC_map_update_elem, 1, BPF_NOEXIST), 0u);
    EXPECT_EQ(with_key(BPF_FUNC_map_update_elem, 1, BPF_NOEXIST), negative(EEXIST));
    EXPECT_EQ(with_key(BPF_FUNC_map_update_elem, 1, 1000), negative(EINVAL));
    EXPECT_NE(with_key(BPF_FUNC_map_lookup_elem, 1, 0), 0u);
    EXPECT_EQ(with_key(BPF_FUNC_map_update_elem, 2, 0), 0u);
    EXPECT_EQ(with_key(BPF_FUNC_map_update_elem, 3, 0), negative(E2BIG));
    EXPECT_EQ(with_key(BPF_FUNC_map_delete_elem, 1, 0), 0u);
    EXPECT_EQ(with_key(BPF_FUNC_map_delete_elem, 1, 0), negative(ENOENT));
}

TEST_F(HelperTest, faults_on_map_arguments_that_the_verifier_would_refuse) {
    map::Map& map = domain.hash(8, 8, 2);
    map::Map& other = domain.hash(8, 8, 2);
    // Not a map, a map of somebody else, a key that is partly outside of the frame.
    expect_bad_argument(
        {set(R1, 0), copy(R2, R10), add(R2, -8), call(BPF_FUNC_map_lookup_elem), leave()}, 3);
    expect_bad_argument({wide(R1, reinterpret_cast<std::uint64_t>(&other)), copy(R2, R10),
                         add(R2, -8), call(BPF_FUNC_map_lookup_elem), leave()},
                        4);
    expect_bad_argument({domain.wide_map(R1, map), copy(R2, R10), add(R2, -7),
                         call(BPF_FUNC_map_lookup_elem), leave()},
                        4);
    expect_bad_argument({domain.wide_map(R1, map), copy(R2, R10), add(R2, -8), copy(R3, R10),
                         add(R3, -7), set(R4, 0), call(BPF_FUNC_map_update_elem), leave()},
                        7);
    map::Map& ring = domain.ring(4096);
    expect_bad_argument({domain.wide_map(R1, ring), copy(R2, R10), add(R2, -8),
                         call(BPF_FUNC_map_lookup_elem), leave()},
                        4);
    map::Map& constant = domain.array(8, 1, BPF_F_RDONLY_PROG);
    expect_bad_argument({domain.wide_map(R1, constant), copy(R2, R10), add(R2, -8), copy(R3, R2),
                         set(R4, 0), call(BPF_FUNC_map_update_elem), leave()},
                        6);
}

TEST_F(HelperTest, push_peek_and_pop_are_for_maps_without_keys_alone) {
    map::MapSpec spec;
    spec.type = BPF_MAP_TYPE_QUEUE;
    spec.value_size = 8;
    spec.max_entries = 1;
    map::Map& queue = domain.add_map(spec);
    map::Map& hash = domain.hash(8, 8, 2);
    const auto with = [&](map::Map& map, int id) {
        return std::vector<Piece>{store_imm(BPF_DW, R10, -8, 5),
                                  domain.wide_map(R1, map),
                                  copy(R2, R10),
                                  add(R2, -8),
                                  set(R3, 0),
                                  call(id),
                                  leave()};
    };
    const auto expect_refused = [&](map::Map& map, int id) {
        domain.expect_fault(domain.load_sleepable(with(map, id)), FaultKind::bad_argument, 6);
    };
    for (const int id : {BPF_FUNC_map_push_elem, BPF_FUNC_map_peek_elem, BPF_FUNC_map_pop_elem}) {
        EXPECT_EQ(domain.run(domain.load(with(queue, id))), 0u);
        expect_refused(hash, id);
        // A value that is partly outside of the frame.
        expect_bad_argument(
            {domain.wide_map(R1, queue), copy(R2, R10), add(R2, -7), set(R3, 0), call(id), leave()},
            5);
    }
    for (const int id :
         {BPF_FUNC_map_lookup_elem, BPF_FUNC_map_update_elem, BPF_FUNC_map_delete_elem}) {
        expect_refused(queue, id);
    }
    spec.flags = BPF_F_RDONLY_PROG;
    map::Map& constant = domain.add_map(spec);
    expect_refused(constant, BPF_FUNC_map_push_elem);
    expect_refused(constant, BPF_FUNC_map_pop_elem);
    EXPECT_EQ(domain.run(domain.load(with(constant, BPF_FUNC_map_peek_elem))), negative(ENOENT));
}

TEST_F(HelperTest, some_maps_are_not_for_programs_that_may_sleep) {
    map::MapSpec spec;
    spec.type = BPF_MAP_TYPE_BLOOM_FILTER;
    spec.value_size = 8;
    spec.max_entries = 1;
    map::Map& filter = domain.add_map(spec);
    const std::vector<Piece> push = {store_imm(BPF_DW, R10, -8, 5),
                                     domain.wide_map(R1, filter),
                                     copy(R2, R10),
                                     add(R2, -8),
                                     set(R3, 0),
                                     call(BPF_FUNC_map_push_elem),
                                     leave()};
    EXPECT_EQ(domain.run(domain.load(push)), 0u);
    EXPECT_FALSE(domain.try_load(domain.sleepable_spec(), push).has_value());
    EXPECT_NE(domain.log.find("Sleepable programs can only use"), std::string::npos) << domain.log;
    // The value may be anywhere that can be read; a filter gives none back.
    domain.expect_fault(domain.load({domain.wide_map(R1, filter), copy(R2, R10), add(R2, -8),
                                     call(BPF_FUNC_map_pop_elem), leave()}),
                        FaultKind::bad_argument, 4);
}

TEST_F(HelperTest, takes_no_value_with_a_slot_as_the_source_of_an_update) {
    map::Map& map = domain.array(16, 1, 0, 8);
    expect_bad_argument({store_imm(BPF_W, R10, -4, 0), domain.wide_map(R1, map), copy(R2, R10),
                         add(R2, -4), call(BPF_FUNC_map_lookup_elem), copy(R3, R0),
                         domain.wide_map(R1, map), copy(R2, R10), add(R2, -4), set(R4, 0),
                         call(BPF_FUNC_map_update_elem), leave()},
                        12);
}

TEST_F(HelperTest, maps_of_maps_are_looked_into_and_no_more) {
    map::Map& inner = domain.array(8, 2);
    map::Map& stranger = domain.array(16, 2);
    map::MapSpec spec;
    spec.type = BPF_MAP_TYPE_HASH_OF_MAPS;
    spec.key_size = 4;
    spec.value_size = 4;
    spec.max_entries = 1;
    spec.inner = &inner;
    map::Map& outer = domain.add_map(spec);
    const std::uint32_t key = 0;
    ASSERT_EQ(map::put_inner(outer, &key, inner, BPF_ANY), no_error);
    const std::uint64_t seven = 7;
    ASSERT_EQ(map::update(inner, &key, &seven, BPF_ANY), no_error);
    // The program has the outer map alone, and reads and writes the value of the inner one.
    const auto through = [&](Piece between) {
        return std::vector<Piece>{store_imm(BPF_W, R10, -4, 0),
                                  domain.wide_map(R1, outer),
                                  copy(R2, R10),
                                  add(R2, -4),
                                  call(BPF_FUNC_map_lookup_elem),
                                  between,
                                  copy(R1, R0),
                                  copy(R2, R10),
                                  add(R2, -4),
                                  call(BPF_FUNC_map_lookup_elem),
                                  load(BPF_DW, R1, R0, 0),
                                  store_imm(BPF_DW, R0, 0, 8),
                                  copy(R0, R1),
                                  leave()};
    };
    EXPECT_EQ(domain.run(domain.load(through(set(R3, 0)))), 7u);
    EXPECT_EQ(domain.run_in_nmi(domain.load(through(set(R3, 0)))), 8u);
    // A map that could not be in it, and what is no map.
    domain.expect_fault(domain.load(through(wide(R0, reinterpret_cast<std::uint64_t>(&stranger)))),
                        FaultKind::bad_argument, 11);
    domain.expect_fault(domain.load(through(add(R0, 8))), FaultKind::bad_argument, 10);
    // The map itself is not for programs to touch; nor is the outer one to be changed.
    domain.expect_fault(domain.load({store_imm(BPF_W, R10, -4, 0), domain.wide_map(R1, outer),
                                     copy(R2, R10), add(R2, -4), call(BPF_FUNC_map_lookup_elem),
                                     load(BPF_DW, R0, R0, 0), leave()}),
                        FaultKind::bad_load, 6);
    for (const int id :
         {BPF_FUNC_map_update_elem, BPF_FUNC_map_delete_elem, BPF_FUNC_for_each_map_elem}) {
        expect_bad_argument({store_imm(BPF_DW, R10, -8, 0), domain.wide_map(R1, outer),
                             copy(R2, R10), add(R2, -4), copy(R3, R2), set(R4, 0), call(id),
                             leave()},
                            7);
    }
}

// Executions in nmi are preempted in their middle here. One that shares a number may undo any
// number of increments of the others, so what counts is rounds in which nobody did: with two
// threads, and two processors, those in which none was preempted just where it matters; in most
// none is.
TEST_F(HelperTest, plain_increments_of_a_per_cpu_value_are_not_lost_in_nmi) {
    map::MapSpec spec;
    spec.type = BPF_MAP_TYPE_PERCPU_ARRAY;
    spec.key_size = 4;
    spec.value_size = 8;
    spec.max_entries = 1;
    map::Map& map = domain.add_map(spec);
    // value = value + 1, with a moment between load and store.
    Program& increment =
        domain.load({store_imm(BPF_W, R10, -4, 0), domain.wide_map(R1, map), copy(R2, R10),
                     add(R2, -4), call(BPF_FUNC_map_lookup_elem), jump_if(BPF_JEQ, R0, 0, 5),
                     copy(R6, R0), load(BPF_DW, R7, R6, 0), call(BPF_FUNC_ktime_get_ns), add(R7, 1),
                     store(BPF_DW, R6, 0, R7), set(R0, 0), leave()});
    const map::Processors& processors = map::MapTable::get().processors;
    const unsigned threads_of_all = std::clamp(processors.count(), 1U, 4U);
    constexpr std::uint64_t kEach = 2000;
    const auto sum_of_slots = [&] {
        std::vector<std::uint64_t> slots(processors.count());
        const std::uint32_t key = 0;
        EXPECT_EQ(map::lookup_copy(map, &key, slots.data(), 0), no_error);
        return std::accumulate(slots.begin(), slots.end(), std::uint64_t{0});
    };
    unsigned unshared = 0;
    for (unsigned round = 0; unshared < 3; ++round) {
        ASSERT_LT(round, 1000U) << "there is no round without a shared number";
        const std::uint64_t shared = processors.shared();
        const std::uint64_t before = sum_of_slots();
        std::vector<std::thread> threads;
        for (unsigned thread = 0; thread < threads_of_all; ++thread) {
            threads.push_back(task::task_thread([&] {
                for (std::uint64_t i = 0; i < kEach; ++i) {
                    Execution execution;
                    execution.task = task::current();
                    execution.program = &increment;
                    const task::NmiScope scope(*execution.task, platform::stack_pointer(), false);
                    ASSERT_TRUE(scope.entered());
                    bpf::run(execution);
                }
            }));
        }
        for (std::thread& thread : threads) {
            thread.join();
        }
        const std::uint64_t added = sum_of_slots() - before;
        EXPECT_EQ(increment.faults.load(std::memory_order_relaxed), 0U);
        EXPECT_LE(added, threads_of_all * kEach);
        if (processors.shared() == shared) {
            ++unshared;
            EXPECT_EQ(added, threads_of_all * kEach);
        }
    }
}

TEST_F(HelperTest, a_program_keeps_its_processor_and_finds_the_slots_of_the_others) {
    map::MapSpec spec;
    spec.type = BPF_MAP_TYPE_PERCPU_HASH;
    spec.key_size = 4;
    spec.value_size = 8;
    spec.max_entries = 1;
    map::Map& map = domain.add_map(spec);
    const std::uint32_t key = 0;
    const std::uint32_t count = map::MapTable::get().processors.count();
    std::vector<std::uint64_t> slots(count);
    std::iota(slots.begin(), slots.end(), 100);
    ASSERT_EQ(map::update_by_user(map, &key, slots.data(), BPF_ANY), no_error);
    // The value of its own slot - 100 is its number, in either way of asking.
    const auto lookup = [&](int id, Piece third) {
        return std::vector<Piece>{store_imm(BPF_W, R10, -4, 0),
                                  call(BPF_FUNC_get_smp_processor_id),
                                  copy(R7, R0),
                                  domain.wide_map(R1, map),
                                  copy(R2, R10),
                                  add(R2, -4),
                                  third,
                                  call(id),
                                  jump_if(BPF_JEQ, R0, 0, 2),
                                  load(BPF_DW, R0, R0, 0),
                                  alu(BPF_SUB, R0, R7),
                                  leave()};
    };
    EXPECT_EQ(domain.run(domain.load(lookup(BPF_FUNC_map_lookup_elem, set(R3, 0)))), 100u);
    EXPECT_EQ(domain.run_in_nmi(domain.load(lookup(BPF_FUNC_map_lookup_elem, set(R3, 0)))), 100u);
    EXPECT_EQ(domain.run(domain.load(lookup(BPF_FUNC_map_lookup_percpu_elem, copy(R3, R7)))), 100u);
    EXPECT_EQ(domain.run(domain.load(lookup(BPF_FUNC_map_lookup_percpu_elem, set(R3, count)))), 0u);
    map::Map& plain = domain.array(8, 1);
    expect_bad_argument({store_imm(BPF_W, R10, -4, 0), domain.wide_map(R1, plain), copy(R2, R10),
                         add(R2, -4), set(R3, 0), call(BPF_FUNC_map_lookup_percpu_elem), leave()},
                        6);
}

// ---- Callbacks in place -------------------------------------------------------------------------

TEST_F(HelperTest, loops_until_the_callback_says_stop) {
    const auto loop_with = [&](std::uint64_t count, std::int64_t stop_at, std::uint64_t flags) {
        // context at R10-16: {sum, stop_at}
        return domain.run(domain.load({
            store_imm(BPF_DW, R10, -16, 0),
            store_imm(BPF_DW, R10, -8, stop_at),  // 0
            wide(R1, count),
            function(R2, 7),
            copy(R3, R10),
            add(R3, -16),  // 2
            wide(R4, flags),
            call(BPF_FUNC_loop),
            leave(),  // 8
            set(R0, 0),
            load(BPF_DW, R3, R2, 8),
            jump_if(BPF_JNE, R3, R1, 1),  // 12
            set(R0, 1),
            leave(),
        }));
    };
    EXPECT_EQ(loop_with(0, -1, 0), 0u);
    EXPECT_EQ(loop_with(10, -1, 0), 10u);
    EXPECT_EQ(loop_with(10, 4, 0), 5u);
    EXPECT_EQ(loop_with((1 << 23) + 1, -1, 0), negative(E2BIG));
    EXPECT_EQ(loop_with(10, -1, 1), negative(EINVAL));
}

TEST_F(HelperTest, gives_loop_callbacks_the_index_and_their_context) {
    Program& program = domain.load({
        store_imm(BPF_DW, R10, -8, 0),
        set(R1, 100),
        function(R2, 7),
        copy(R3, R10),  // 0
        add(R3, -8),
        set(R4, 0),
        call(BPF_FUNC_loop),
        load(BPF_DW, R0, R10, -8),
        leave(),
        load(BPF_DW, R3, R2, 0),
        alu(BPF_ADD, R3, R1),
        store(BPF_DW, R2, 0, R3),
        set(R0, 0),
        leave(),
    });
    EXPECT_EQ(domain.run(program), 4950u);
}

TEST_F(HelperTest, ends_the_execution_when_a_callback_faults_or_is_no_function) {
    domain.expect_fault(
        domain.load({set(R1, 5), function(R2, 5), set(R3, 0), set(R4, 0), call(BPF_FUNC_loop),
                     leave(), load(BPF_B, R0, R2, 0), leave()}),
        FaultKind::bad_load, 7);
    expect_bad_argument(
        {set(R1, 5), set(R2, 1), set(R3, 0), set(R4, 0), call(BPF_FUNC_loop), leave()}, 4);
    // A value that looks like a function, of another program or in the middle of one.
    Program& other = domain.load({set(R0, 0), leave()});
    expect_bad_argument({set(R1, 5), wide(R2, function_value(other.id, 0)), set(R3, 0), set(R4, 0),
                         call(BPF_FUNC_loop), leave()},
                        5);
    const std::uint32_t next = ProgramTable::get().next_id.load(std::memory_order_relaxed);
    expect_bad_argument({set(R1, 5), wide(R2, function_value(next, 1)), set(R3, 0), set(R4, 0),
                         call(BPF_FUNC_loop), leave()},
                        5);
}

TEST_F(HelperTest, bounds_nested_loops_by_frames_and_instructions) {
    // A callback that loops over itself.
    domain.expect_fault(domain.load({set(R1, 1), function(R2, 5), set(R3, 0), set(R4, 0),
                                     call(BPF_FUNC_loop), leave(),                          // 5
                                     set(R1, 1), function(R2, -2), set(R3, 0), set(R4, 0),  // 7
                                     call(BPF_FUNC_loop), leave()}),
                        FaultKind::too_deep, 12);
    Program& endless = domain.load({set(R1, 1 << 23), function(R2, 5), set(R3, 0), set(R4, 0),
                                    call(BPF_FUNC_loop), leave(), set(R0, 0), leave()});
    domain.run_in_nmi(endless);
    EXPECT_TRUE(domain.execution.faulted);
    EXPECT_EQ(endless.last_fault_kind.load(std::memory_order_relaxed),
              static_cast<std::uint64_t>(FaultKind::too_long));
}

TEST_F(HelperTest, walks_the_elements_of_arrays_and_hash_maps) {
    map::Map& array = domain.array(8, 4);
    map::Map& hash = domain.hash(4, 8, 4);
    for (map::Map* map : {&array, &hash}) {
        for (std::uint32_t key = 0; key < 4; ++key) {
            const std::uint64_t value = 100 * key;
            const task::ReadSection section(*task::current(), sync::Flavour::sleepable);
            ASSERT_EQ(map::update(*map, &key, &value, 0), no_error);
        }
        // Sums keys and values, doubles the values.
        Program& program = domain.load({
            store_imm(BPF_DW, R10, -8, 0),
            store_imm(BPF_DW, R10, -16, 0),  // 0
            domain.wide_map(R1, *map),
            function(R2, 12),
            copy(R3, R10),
            add(R3, -16),  // 2
            set(R4, 0),
            call(BPF_FUNC_for_each_map_elem),  // 8
            load(BPF_DW, R1, R10, -8),
            alu(BPF_MUL, R1, 1000),
            alu(BPF_MUL, R0, 1000000),
            alu(BPF_ADD, R0, R1),
            load(BPF_DW, R1, R10, -16),
            alu(BPF_ADD, R0, R1),
            leave(),
            // 17: callback(map, key, value, context)
            load(BPF_DW, R5, R4, 8),
            load(BPF_W, R0, R2, 0),
            alu(BPF_ADD, R5, R0),
            store(BPF_DW, R4, 8, R5),
            load(BPF_DW, R5, R4, 0),
            load(BPF_DW, R0, R3, 0),
            alu(BPF_ADD, R5, R0),
            store(BPF_DW, R4, 0, R5),
            alu(BPF_ADD, R0, R0),
            store(BPF_DW, R3, 0, R0),
            set(R0, 0),
            leave(),
        });
        EXPECT_EQ(domain.run(program), 4u * 1000000 + 6 * 1000 + 600);
        EXPECT_EQ(domain.run(program), 4u * 1000000 + 6 * 1000 + 1200);
    }
}

TEST_F(HelperTest, stops_a_walk_when_the_callback_says_so_and_lets_it_not_write_keys) {
    map::Map& map = domain.hash(4, 8, 4);
    for (std::uint32_t key = 0; key < 4; ++key) {
        const std::uint64_t value = key;
        const task::ReadSection section(*task::current(), sync::Flavour::sleepable);
        ASSERT_EQ(map::update(map, &key, &value, 0), no_error);
    }
    const auto with = [&](std::uint64_t flags, std::initializer_list<Piece> callback) -> Program& {
        std::vector<Piece> pieces{
            domain.wide_map(R1, map),         function(R2, 6), set(R3, 0), wide(R4, flags),
            call(BPF_FUNC_for_each_map_elem), leave()};
        pieces.insert(pieces.end(), callback.begin(), callback.end());
        return domain.load_sleepable(pieces);
    };
    EXPECT_EQ(domain.run(with(0, {set(R0, 1), leave()})), 1u);
    EXPECT_EQ(domain.run(with(1, {set(R0, 1), leave()})), negative(EINVAL));
    domain.expect_fault(with(0, {store_imm(BPF_W, R2, 0, 9), leave()}), FaultKind::bad_store, 9);
    domain.expect_fault(with(0, {load(BPF_DW, R0, R2, 0), leave()}), FaultKind::bad_load, 9);
}

// ---- Ring buffer --------------------------------------------------------------------------------

std::vector<std::string> consume(map::Map& ring) {
    std::vector<std::string> records;
    const long consumed = map::ring_consume(
        ring,
        [](void* argument, void* data, std::size_t size) -> long {
            static_cast<std::vector<std::string>*>(argument)->emplace_back(
                static_cast<const char*>(data), size);
            return 0;
        },
        &records);
    EXPECT_EQ(consumed, static_cast<long>(records.size()));
    return records;
}

TEST_F(HelperTest, outputs_reserves_submits_and_discards_ring_records) {
    map::Map& ring = domain.ring(4096);
    Program& program = domain.load({
        store_imm(BPF_DW, R10, -8, 0x41414141),
        domain.wide_map(R1, ring),
        copy(R2, R10),
        add(R2, -8),
        set(R3, 4),
        set(R4, 0),
        call(BPF_FUNC_ringbuf_output),
        copy(R8, R0),
        // Discarded.
        domain.wide_map(R1, ring),
        set(R2, 8),
        set(R3, 0),
        call(BPF_FUNC_ringbuf_reserve),
        jump_if(BPF_JEQ, R0, std::int64_t{0}, 14),
        store_imm(BPF_DW, R0, 0, 0x42424242),
        copy(R1, R0),
        set(R2, 0),
        call(BPF_FUNC_ringbuf_discard),
        // Submitted.
        domain.wide_map(R1, ring),
        set(R2, 4),
        set(R3, 0),
        call(BPF_FUNC_ringbuf_reserve),
        jump_if(BPF_JEQ, R0, std::int64_t{0}, 4),
        store_imm(BPF_W, R0, 0, 0x43434343),
        copy(R1, R0),
        set(R2, 0),
        call(BPF_FUNC_ringbuf_submit),
        copy(R0, R8),
        leave(),
    });
    EXPECT_EQ(domain.run(program), 0u);
    EXPECT_FALSE(domain.execution.faulted);
    EXPECT_EQ(consume(ring), (std::vector<std::string>{"AAAA", "CCCC"}));
}

TEST_F(HelperTest, keeps_a_program_inside_the_records_it_holds) {
    map::Map& ring = domain.ring(4096);
    const auto with_record = [&](bpf_insn insn, bool submit_first) -> Program& {
        std::vector<Piece> pieces{domain.wide_map(R1, ring), set(R2, 16), set(R3, 0),
                                  call(BPF_FUNC_ringbuf_reserve), copy(R6, R0)};
        const std::vector<Piece> submit{copy(R1, R6), set(R2, 0), call(BPF_FUNC_ringbuf_submit)};
        if (submit_first) {
            pieces.insert(pieces.end(), submit.begin(), submit.end());
        }
        pieces.push_back(insn);
        if (!submit_first) {
            pieces.insert(pieces.end(), submit.begin(), submit.end());
        }
        pieces.insert(pieces.end(), {set(R0, 1), leave()});
        return domain.load_sleepable(pieces);
    };
    EXPECT_EQ(domain.run(with_record(store_imm(BPF_DW, R6, 8, 1), false)), 1u);
    domain.expect_fault(with_record(store_imm(BPF_DW, R6, 9, 1), false), FaultKind::bad_store, 6);
    domain.expect_fault(with_record(store_imm(BPF_DW, R6, -8, 1), false), FaultKind::bad_store, 6);
    domain.expect_fault(with_record(load(BPF_B, R0, R6, 0), true), FaultKind::bad_load, 9);
    // The faulting ones left nothing behind that would stop the others.
    EXPECT_EQ(consume(ring).size(), 2u);
}

TEST_F(HelperTest, counts_a_record_that_is_never_submitted_as_a_fault_and_discards_it) {
    map::Map& ring = domain.ring(4096);
    Program& leaks = domain.load({domain.wide_map(R1, ring), set(R2, 8), set(R3, 0),
                                  call(BPF_FUNC_ringbuf_reserve), set(R0, 1), leave()});
    EXPECT_EQ(domain.run(leaks), 0u);
    EXPECT_TRUE(domain.execution.faulted);
    EXPECT_EQ(leaks.last_fault_kind.load(std::memory_order_relaxed),
              static_cast<std::uint64_t>(FaultKind::record_leaked));
    EXPECT_TRUE(consume(ring).empty());
    // A record that it does not hold, or no more.
    expect_bad_argument({copy(R1, R10), set(R2, 0), call(BPF_FUNC_ringbuf_submit), leave()}, 2);
    expect_bad_argument({domain.wide_map(R1, ring), set(R2, 8), set(R3, 0),
                         call(BPF_FUNC_ringbuf_reserve), copy(R6, R0), copy(R1, R6), set(R2, 0),
                         call(BPF_FUNC_ringbuf_submit), copy(R1, R6), set(R2, 0),
                         call(BPF_FUNC_ringbuf_discard), leave()},
                        11);
}

TEST_F(HelperTest, reports_ring_errors_as_the_kernel_does) {
    map::Map& ring = domain.ring(4096);
    const auto reserve = [&](std::uint64_t size, std::uint64_t flags) {
        return domain.run(domain.load({domain.wide_map(R1, ring), wide(R2, size), wide(R3, flags),
                                       call(BPF_FUNC_ringbuf_reserve), leave()}));
    };
    EXPECT_EQ(reserve(4096, 0), 0u);
    EXPECT_FALSE(domain.execution.faulted);
    EXPECT_EQ(reserve(8, 1), 0u);
    EXPECT_FALSE(domain.execution.faulted);
    Program& query = domain.load({domain.wide_map(R1, ring), set(R2, BPF_RB_RING_SIZE),
                                  call(BPF_FUNC_ringbuf_query), leave()});
    EXPECT_EQ(domain.run(query), 4096u);
    map::Map& hash = domain.hash(4, 4, 1);
    expect_bad_argument({domain.wide_map(R1, hash), set(R2, 8), set(R3, 0),
                         call(BPF_FUNC_ringbuf_reserve), leave()},
                        4);
}

}  // namespace
}  // namespace taskwork::bpf
