// SPDX-License-Identifier: Apache-2.0
//
// Tail calls in the interpreter. What the kernel does with the same programs:
// tests/conformance/tail_calls_test.cpp.
#include <gtest/gtest.h>

#include "bpf/statistics.hpp"
#include "bpf/test_program.hpp"
#include "map/program_array.hpp"
#include "task/worker.hpp"

namespace taskwork::bpf {
namespace {

using namespace taskwork::bpf::test;

using Code = std::vector<Piece>;

class TailCalls : public testing::Test {
protected:
    TailCalls() {
        map::set_program_release(
            [](void* program) noexcept { put_program(*static_cast<Program*>(program)); });
        programs_ = &domain_.add_map(array_of_programs());
        numbers_ = &domain_.array(16, 1);
    }
    static map::MapSpec array_of_programs() {
        map::MapSpec spec;
        spec.type = BPF_MAP_TYPE_PROG_ARRAY;
        spec.key_size = 4;
        spec.value_size = 4;
        spec.max_entries = 4;
        return spec;
    }
    Program& program(std::initializer_list<Code> parts) { return domain_.load(together(parts)); }
    static Code together(std::initializer_list<Code> parts) {
        Code whole;
        for (const Code& part : parts) {
            whole.insert(whole.end(), part.begin(), part.end());
        }
        return whole;
    }
    void put(std::uint32_t index, Program& program) {
        get_program(program);
        ASSERT_EQ(
            map::put_entry(*programs_, &index, {&program, program.id, {program.type, 0}, nullptr}),
            no_error);
    }
    /// Calls the program at `index`; R1 is the context still. Four instructions.
    [[nodiscard]] Code call_at(std::int32_t index) const {
        return {domain_.wide_map(R2, *programs_), set(R3, index), call(BPF_FUNC_tail_call)};
    }
    /// Adds 1 to a number. Four instructions.
    [[nodiscard]] Code count(std::uint32_t which) const {
        return {domain_.wide_value(R4, *numbers_, which * 8), set(R5, 1),
                atomic(BPF_DW, R4, 0, R5, BPF_ADD)};
    }
    std::uint64_t number(std::uint32_t which) {
        void* values = nullptr;
        std::size_t bytes = 0;
        EXPECT_EQ(map::direct_values(*numbers_, &values, &bytes), no_error);
        return static_cast<std::uint64_t*>(values)[which];
    }
    static Code result(std::int32_t value) { return {set(R0, value), leave()}; }

    BpfDomain domain_;
    map::Map* programs_ = nullptr;
    map::Map* numbers_ = nullptr;
};

TEST_F(TailCalls, lead_to_the_other_program_with_the_context_and_do_not_come_back) {
    put(1, program({{load(BPF_DW, R0, R1, 0), leave()}}));
    Program& caller = program({call_at(1), result(7)});
    const Statistics statistics;
    std::uint64_t context = 42;
    EXPECT_EQ(domain_.run(caller, &context, sizeof(context)), 42u);
    EXPECT_FALSE(domain_.execution.faulted);
    EXPECT_EQ(domain_.run_in_nmi(caller, &context, sizeof(context)), 42u);
    // Runs are counted where they begin, as by the kernel.
    EXPECT_EQ(caller.runs.load(std::memory_order_relaxed), 2u);
}

TEST_F(TailCalls, do_nothing_where_there_is_no_program) {
    put(3, program({result(1)}));
    for (const std::int32_t index : {0, 4, 5, INT32_MAX, -1}) {
        Program& caller = program({call_at(index), result(7)});
        EXPECT_EQ(domain_.run(caller), 7u) << index;
        EXPECT_FALSE(domain_.execution.faulted);
    }
    // An index has 32 bits.
    Program& caller = program({{domain_.wide_map(R2, *programs_),
                                wide(R3, std::uint64_t{9} << 32 | 3), call(BPF_FUNC_tail_call)},
                               result(7)});
    EXPECT_EQ(domain_.run(caller), 1u);
}

TEST_F(TailCalls, do_nothing_once_there_have_been_33_in_the_execution) {
    Program& itself = program({count(0), call_at(0), result(7)});
    put(0, itself);
    EXPECT_EQ(domain_.run(itself), 7u);
    EXPECT_EQ(number(0), 34u);
    EXPECT_EQ(domain_.run(itself), 7u);
    EXPECT_EQ(number(0), 68u);
}

TEST_F(TailCalls, of_a_function_return_to_the_caller_of_the_function) {
    // The called program has registers, a stack and numbers of its own.
    map::Map& other = domain_.array(8, 1);
    put(2, program({{domain_.wide_value(R1, other, 0), store_imm(BPF_DW, R1, 0, 9), set(R6, 1),
                     store_imm(BPF_DW, R10, -8, 3)},
                    result(40)}));
    Program& caller =
        program({{set(R6, 2), store_imm(BPF_DW, R10, -8, 5), call_function(8), alu(BPF_ADD, R0, R6),
                  load(BPF_DW, R1, R10, -8), alu(BPF_ADD, R0, R1)},
                 count(1),
                 {leave()},
                 // the function
                 {set(R6, 70), store_imm(BPF_DW, R10, -8, 90)},
                 call_at(2),
                 result(1000)});
    EXPECT_EQ(domain_.run(caller), 47u);
    EXPECT_FALSE(domain_.execution.faulted);
    EXPECT_EQ(number(1), 1u);
}

TEST_F(TailCalls, reach_no_map_but_those_of_the_program_that_runs) {
    // It finds the address of a number of the caller's in the caller's register.
    Program& thief = program({{load(BPF_DW, R0, R1, 0), load(BPF_DW, R0, R0, 0), leave()}});
    put(0, thief);
    Program& caller = program({{domain_.wide_value(R4, *numbers_, 0), load(BPF_DW, R5, R4, 0),
                                store(BPF_DW, R10, -8, R4), copy(R1, R10), add(R1, -8)},
                               call_at(0),
                               result(7)});
    EXPECT_EQ(domain_.run(caller), 0u);
    // The fault is that of the program that did it.
    EXPECT_EQ(thief.faults.load(std::memory_order_relaxed), 1u);
    EXPECT_EQ(thief.last_fault_insn.load(std::memory_order_relaxed), 2u);
    EXPECT_EQ(caller.faults.load(std::memory_order_relaxed), 0u);
}

TEST_F(TailCalls, of_a_function_do_nothing_where_the_frames_of_the_other_program_find_no_room) {
    // Each round keeps the frame that called its function: the eighth would need a ninth frame.
    Program& program =
        this->program({{copy(R6, R1), call_function(1), leave()}, count(0), call_at(0), result(7)});
    program.frames = 2;  // as the verifier finds it
    put(0, program);
    std::uint64_t context[23] = {};
    EXPECT_EQ(domain_.run(program, context, sizeof(context)), 7u);
    EXPECT_FALSE(domain_.execution.faulted);
    EXPECT_EQ(number(0), 7u);
}

TEST_F(TailCalls, find_a_program_until_it_is_taken_out_whoever_let_go_of_it) {
    Program& other = program({result(1)});
    put(0, other);
    put_program(other);
    Program& caller = program({call_at(0), result(7)});
    task::Worker::synchronize();
    EXPECT_EQ(domain_.run(caller), 1u);
    const std::uint32_t index = 0;
    EXPECT_EQ(map::remove(*programs_, &index), no_error);
    EXPECT_EQ(domain_.run(caller), 7u);
    task::wait_until([&other] {
        const std::uint8_t state = sync::Pool::load(&other).state();
        return state != kProgramLive && state != kProgramDying;
    });
}

TEST_F(TailCalls, are_between_programs_of_one_kind) {
    Program& caller = program({call_at(0), result(7)});
    LoadSpec other_kind = domain_.spec();
    other_kind.expected_attach_type = BPF_CGROUP_INET_EGRESS;
    Program& other = domain_.load(other_kind, result(1));
    const std::uint32_t index = 0;
    EXPECT_EQ(map::put_entry(*programs_, &index,
                             {&other, other.id, {other.type, other.expected_attach_type}, nullptr}),
              std::errc::invalid_argument);
    const auto refused = domain_.try_load(other_kind, together({call_at(0), result(7)}));
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, std::errc::invalid_argument);
    EXPECT_EQ(domain_.run(caller), 7u);
}

TEST_F(TailCalls, go_by_an_array_of_programs) {
    domain_.expect_fault(
        program(
            {{domain_.wide_map(R2, *numbers_), set(R3, 0), call(BPF_FUNC_tail_call)}, result(7)}),
        FaultKind::bad_argument, 3);
}

}  // namespace
}  // namespace taskwork::bpf
