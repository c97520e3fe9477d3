// SPDX-License-Identifier: Apache-2.0
//
// Executions in native code: helpers and callbacks, frames, faults, limits, events on top.
#include <unistd.h>

#include <cstddef>

#include "bpf/interpreter.hpp"
#include "bpf/statistics.hpp"
#include "bpf/task_view.hpp"
#include "map/ring_buffer.hpp"
#include "tests/native/native_domain.hpp"

namespace taskwork::bpf {
namespace {

using namespace test;

class NativeMachine : public NativeTest {
protected:
    map::Map& task_work_map(std::uint32_t value_size, std::int32_t offset) {
        map::MapSpec spec;
        spec.type = BPF_MAP_TYPE_ARRAY;
        spec.key_size = 4;
        spec.value_size = value_size;
        spec.max_entries = 1;
        spec.fields.task_work = offset;
        spec.btf_value_type_id = 1;
        return domain.add_map(spec);
    }
    void expect_fault(Program& program, FaultKind kind, std::uint64_t insn) {
        const std::uint64_t faults = program.faults.load(std::memory_order_relaxed);
        EXPECT_EQ(domain.run_in_nmi(program), 0u);  // where the limit is near
        EXPECT_TRUE(domain.execution.faulted);
        EXPECT_EQ(program.faults.load(std::memory_order_relaxed), faults + 1);
        EXPECT_STREQ(describe(static_cast<FaultKind>(
                         program.last_fault_kind.load(std::memory_order_relaxed))),
                     describe(kind));
        EXPECT_EQ(program.last_fault_insn.load(std::memory_order_relaxed), insn + 1);
    }
    static std::uint64_t* value(map::Map& map, std::uint32_t key = 0) {
        return static_cast<std::uint64_t*>(map::lookup(map, &key));
    }

    const Statistics statistics_;
};

TEST_F(NativeMachine, looks_up_and_changes_values) {
    map::Map& map = domain.array(16, 4);
    Program& program =
        native({store_imm(BPF_W, R10, -4, 3), domain.wide_map(R1, map), copy(R2, R10), add(R2, -4),
                call(BPF_FUNC_map_lookup_elem), jump_if(BPF_JEQ, R0, 0, 4), load(BPF_DW, R1, R0, 8),
                add(R1, 5), store(BPF_DW, R0, 8, R1), copy(R0, R1), leave()});
    EXPECT_EQ(run(program), 5u);
    EXPECT_EQ(run(program, true), 10u);
    EXPECT_EQ(run(program), 15u);
    EXPECT_EQ(value(map, 3)[1], 15u);
    EXPECT_EQ(program.runs.load(std::memory_order_relaxed), 3u);
}

TEST_F(NativeMachine, hands_helpers_memory_of_its_frames) {
    map::Map& map = domain.hash(8, 8, 4);
    // The called function puts a value of its own frame under a key of its caller's.
    Program& program = native(linked(
        {{store_imm(BPF_DW, R10, -8, 11), copy(R1, R10), add(R1, -8), call_function(1), leave()},
         {copy(R2, R1), store_imm(BPF_DW, R10, -8, 22), copy(R3, R10), add(R3, -8),
          domain.wide_map(R1, map), set(R4, 0), call(BPF_FUNC_map_update_elem), leave()}}));
    EXPECT_EQ(run(program), 0u);
    EXPECT_FALSE(domain.execution.faulted);
    const std::uint64_t key = 11;
    const task::ReadSection section(*task::current(), sync::Flavour::sleepable);
    const auto* found = static_cast<const std::uint64_t*>(map::lookup(map, &key));
    ASSERT_NE(found, nullptr);
    EXPECT_EQ(*found, 22u);
}

TEST_F(NativeMachine, calls_back_from_loops_and_walks_of_maps) {
    map::Map& map = domain.array(8, 5);
    for (std::uint32_t key = 0; key < 5; ++key) {
        *value(map, key) = key + 1;
    }
    Program& program =
        native(linked({{store_imm(BPF_DW, R10, -8, 0),
                        set(R1, 10),
                        function(R2, 1),
                        copy(R3, R10),
                        add(R3, -8),
                        set(R4, 0),
                        call(BPF_FUNC_loop),
                        copy(R6, R0),
                        domain.wide_map(R1, map),
                        function(R2, 2),
                        copy(R3, R10),
                        add(R3, -8),
                        set(R4, 0),
                        call(BPF_FUNC_for_each_map_elem),
                        alu(BPF_LSH, R0, 16),
                        alu(BPF_LSH, R6, 8),
                        alu(BPF_OR, R0, R6),
                        load(BPF_DW, R1, R10, -8),
                        alu(BPF_OR, R0, R1),
                        leave()},
                       // Adds the number of the round, and ends after the eighth.
                       {load(BPF_DW, R3, R2, 0), alu(BPF_ADD, R3, R1), store(BPF_DW, R2, 0, R3),
                        set(R0, 0), jump_if(BPF_JLT, R1, 7, 1), set(R0, 1), leave()},
                       // Adds a value.
                       {load(BPF_DW, R3, R3, 0), load(BPF_DW, R1, R4, 0), alu(BPF_ADD, R1, R3),
                        store(BPF_DW, R4, 0, R1), set(R0, 0), leave()}}));
    const std::uint64_t expected = 5 << 16 | 8 << 8 | (28 + 15);
    EXPECT_EQ(run(program, true), expected);
    EXPECT_EQ(run(program), expected);
}

/// A regression: each round made a frame, and the return led into one of them.
TEST_F(NativeMachine, goes_round_from_the_first_instruction_of_a_function) {
    Program& program =
        native(linked({{load(BPF_DW, R6, R1, 0), alu(BPF_AND, R6, 15), add(R6, 20), copy(R1, R6),
                        call_function(1), alu(BPF_ADD, R0, R6), leave()},
                       {add(R1, -3), jump_if(BPF_JSGT, R1, 0, -2), store(BPF_DW, R10, -8, R1),
                        load(BPF_DW, R0, R10, -8), leave()}}));
    EXPECT_EQ(run(program), 20u - 1u);
    EXPECT_EQ(run(program, true), 20u - 1u);
}

TEST_F(NativeMachine, runs_the_callback_of_a_task_work_on_top_of_a_program_too) {
    map::Map& map = task_work_map(32, 8);
    // Schedules, and the callback notes its ids.
    Program& program = native(linked(
        {{store_imm(BPF_W, R10, -4, 0), domain.wide_map(R1, map), copy(R2, R10), add(R2, -4),
          call(BPF_FUNC_map_lookup_elem), jump_if(BPF_JEQ, R0, 0, 12), copy(R6, R0),
          call(BPF_FUNC_get_current_task_btf), copy(R1, R0), copy(R2, R6), add(R2, 8),
          domain.wide_map(R3, map), function(R4, 1), set(R5, 0),
          BpfDomain::call_kfunc("bpf_task_work_schedule_signal"), leave(), set(R0, 1), leave()},
         {copy(R6, R3), call(BPF_FUNC_get_current_pid_tgid), store(BPF_DW, R6, 24, R0),
          load(BPF_DW, R1, R6, 0), add(R1, 1), store(BPF_DW, R6, 0, R1), set(R0, 0), leave()}}));
    EXPECT_EQ(run(program), 0u);  // The section's end runs it.
    EXPECT_EQ(value(map)[0], 1u);
    EXPECT_EQ(domain.run_in_nmi(program), 0u);
    EXPECT_EQ(value(map)[0], 2u);
    EXPECT_EQ(value(map)[3] & 0xffffffff, static_cast<std::uint64_t>(gettid()));
    EXPECT_EQ(program.callbacks.load(std::memory_order_relaxed), 2u);
    EXPECT_EQ(program.faults.load(std::memory_order_relaxed), 0u);
}

TEST_F(NativeMachine, reads_0_behind_pointers_that_are_null) {
    // A kernel thread has no mm; here it is one that the test makes.
    task_struct& view = task_view(*task::current());
    const auto* const mm = view.mm;
    Program& program =
        native({call(BPF_FUNC_get_current_task_btf),
                load(BPF_DW, R1, R0, static_cast<int>(offsetof(task_struct, mm))),
                load(BPF_DW, R0, R1, static_cast<int>(offsetof(mm_struct, arg_start))), leave()});
    EXPECT_EQ(run(program), mm->arg_start);
    view.mm = nullptr;
    EXPECT_EQ(run(program), 0u);
    EXPECT_FALSE(domain.execution.faulted);
    EXPECT_EQ(run(program, true), 0u);
    EXPECT_FALSE(domain.execution.faulted);
    view.mm = const_cast<mm_struct*>(mm);
}

TEST_F(NativeMachine, ends_by_a_fault_of_a_helper_whatever_is_on_the_stack) {
    // The rounds of the inner loop, in a callback of the outer one, are too many together.
    Program& program = native(linked(
        {{set(R1, 8 << 20), function(R2, 1), set(R3, 0), set(R4, 0), call(BPF_FUNC_loop), leave()},
         {set(R6, 1), set(R1, 8 << 20), function(R2, 2), set(R3, 0), set(R4, 0),
          call(BPF_FUNC_loop), alu(BPF_ADD, R0, R6), set(R0, 0), leave()},
         {set(R0, 0), leave()}}));
    const auto before = static_cast<unsigned>(task::current_level(*task::current()));
    // One of the innermost callbacks is what went too far; those that asked for it end with it.
    expect_fault(program, FaultKind::too_long, 17);
    EXPECT_EQ(static_cast<unsigned>(task::current_level(*task::current())), before);
    Program& other = native({set(R0, 9), leave()});
    EXPECT_EQ(run(other), 9u);
}

TEST_F(NativeMachine, gives_back_the_records_that_a_fault_leaves) {
    map::Map& ring = domain.ring(4096);
    Program& program = native(
        linked({{domain.wide_map(R1, ring), set(R2, 16), set(R3, 0), call(BPF_FUNC_ringbuf_reserve),
                 jump_if(BPF_JEQ, R0, 0, 12), copy(R6, R0), set(R1, 8 << 20), function(R2, 1),
                 set(R3, 0), set(R4, 0), call(BPF_FUNC_loop), copy(R1, R6), set(R2, 0),
                 call(BPF_FUNC_ringbuf_submit), set(R0, 0), leave(), set(R0, 1), leave()},
                {set(R1, 8 << 20), function(R2, 2), set(R3, 0), set(R4, 0), call(BPF_FUNC_loop),
                 set(R0, 0), leave()},
                {set(R0, 0), leave()}}));
    for (int i = 0; i < 3; ++i) {
        expect_fault(program, FaultKind::too_long, 28);
    }
    unsigned records = 0;
    const auto count = [](void* argument, void*, std::size_t) -> long {
        ++*static_cast<unsigned*>(argument);
        return 0;
    };
    map::ring_consume(ring, count, &records);
    EXPECT_EQ(records, 0u);
    EXPECT_EQ(map::ring_query(ring, 0), 0u);
}

TEST_F(NativeMachine, is_bounded_in_its_loops_as_an_interpreted_one_is) {
    const auto may_goto = [](int over) {
        return make(BPF_JMP | kOpConditionalPseudo, 0, 0, over, 0);
    };
    map::Map& map = domain.array(8, 1);
    // Counts its rounds, in a value.
    Program& program =
        native({store_imm(BPF_W, R10, -4, 0), domain.wide_map(R1, map), copy(R2, R10), add(R2, -4),
                call(BPF_FUNC_map_lookup_elem), jump_if(BPF_JEQ, R0, 0, 6), may_goto(4),
                load(BPF_DW, R1, R0, 0), add(R1, 1), store(BPF_DW, R0, 0, R1), jump(-5), set(R0, 7),
                leave()});
    EXPECT_EQ(run(program), 7u);
    EXPECT_EQ(*value(map), std::uint64_t{kMayGotoMax});
    *value(map) = 0;
    EXPECT_EQ(domain.run_in_nmi(program), 7u);
    const std::uint64_t rounds = *value(map);
    EXPECT_GT(rounds, kInsnsMax[static_cast<unsigned>(Level::nmi)] / 2);
    EXPECT_LT(rounds, kInsnsMax[static_cast<unsigned>(Level::nmi)]);
    EXPECT_FALSE(domain.execution.faulted);
}

TEST_F(NativeMachine, as_many_rounds_as_there_may_be_are_within_the_limit_of_a_task) {
    Program& program = native(linked(
        {{set(R1, 8 << 20), function(R2, 1), set(R3, 0), set(R4, 0), call(BPF_FUNC_loop), leave()},
         {set(R0, 0), leave()}}));
    EXPECT_EQ(run(program), std::uint64_t{8 << 20});
    EXPECT_FALSE(domain.execution.faulted);
    EXPECT_EQ(domain.run_in_nmi(program), 0u);  // In nmi they are not.
    EXPECT_TRUE(domain.execution.faulted);
}

}  // namespace
}  // namespace taskwork::bpf
