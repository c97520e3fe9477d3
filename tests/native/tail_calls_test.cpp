// SPDX-License-Identifier: Apache-2.0
//
// Tail calls in native code, beside the interpreter: into native programs, and into one that has
// none.
#include <utility>

#include "map/program_array.hpp"
#include "task/single_step.hpp"
#include "tests/native/native_domain.hpp"

namespace taskwork::bpf {
namespace {

using namespace test;

using Code = std::vector<Piece>;

class NativeTailCalls : public NativeTest {
protected:
    NativeTailCalls() {
        map::set_program_release(
            [](void* program) noexcept { put_program(*static_cast<Program*>(program)); });
        map::MapSpec spec;
        spec.type = BPF_MAP_TYPE_PROG_ARRAY;
        spec.key_size = 4;
        spec.value_size = 4;
        spec.max_entries = 4;
        programs_ = &domain.add_map(spec);
        numbers_ = &domain.array(8, 4);
    }
    /// Of functions, each of which has a type that says int.
    Program& program(const std::vector<Code>& functions) {
        LoadSpec with = spec();
        std::uint32_t insn = 0;
        for (const Code& function : functions) {
            with.functions.push_back({.insn = insn, .name = "function"});
            for (const Piece& piece : function) {
                insn += static_cast<std::uint32_t>(piece.count);
            }
        }
        Program& loaded = domain.load(with, linked(functions));
        EXPECT_NE(loaded.native.code, nullptr);
        return loaded;
    }
    void put(std::uint32_t index, Program& program) {
        get_program(program);
        ASSERT_EQ(
            map::put_entry(*programs_, &index, {&program, program.id, {program.type, 0}, nullptr}),
            no_error);
    }
    static Code joined(Code first, const Code& second) {
        first.insert(first.end(), second.begin(), second.end());
        return first;
    }
    /// Calls the program at `index`, then goes on.
    Code with_call(std::int32_t index, const Code& then) const {
        return joined({domain.wide_map(R2, *programs_), set(R3, index), call(BPF_FUNC_tail_call)},
                      then);
    }
    Code with_count(std::uint32_t which, const Code& then) {
        return joined({store_imm(BPF_W, R10, -4, which), copy(R6, R1), copy(R2, R10), add(R2, -4),
                       domain.wide_map(R1, *numbers_), call(BPF_FUNC_map_lookup_elem),
                       jump_if(BPF_JEQ, R0, 0, 2), set(R1, 1), atomic(BPF_DW, R0, 0, R1, BPF_ADD),
                       copy(R1, R6)},
                      then);
    }
    std::uint64_t take_number(std::uint32_t which) {
        auto* const value = static_cast<std::uint64_t*>(map::lookup(*numbers_, &which));
        return std::exchange(*value, 0);
    }

    map::Map* programs_ = nullptr;
    map::Map* numbers_ = nullptr;
};

TEST_F(NativeTailCalls, lead_to_the_other_program_with_the_context) {
    put(1, program({{load(BPF_DW, R0, R1, 8), add(R0, 42), leave()}}));
    Program& caller = program({with_call(1, {set(R0, 7), leave()})});
    EXPECT_EQ(run(caller), 42u);
    EXPECT_EQ(run(caller, true), 42u);
    for (const std::int32_t absent : {0, 4, -1}) {
        Program& stays = program({with_call(absent, {set(R0, 7), leave()})});
        EXPECT_EQ(run(stays), 7u);
        EXPECT_FALSE(domain.execution.faulted);
    }
}

TEST_F(NativeTailCalls, do_nothing_once_there_have_been_33) {
    Program& itself = program({with_count(0, with_call(0, {set(R0, 7), leave()}))});
    put(0, itself);
    for (const bool interpret : {false, true, false}) {
        EXPECT_EQ(run(itself, interpret), 7u);
        EXPECT_EQ(take_number(0), 34u);
    }
}

TEST_F(NativeTailCalls, of_a_function_return_to_its_caller_whose_program_goes_on) {
    // The other program walks over numbers with a callback of its own, as the caller does then.
    const auto walk = [this](int callback, const Code& then) {
        return joined({domain.wide_map(R1, *numbers_), function(R2, callback), set(R3, 0),
                       set(R4, 0), call(BPF_FUNC_for_each_map_elem)},
                      then);
    };
    Program& other = program(
        {walk(1, {set(R6, 1), set(R7, 2), add(R0, 40), leave()}),
         {load(BPF_DW, R1, R3, 0), add(R1, 1), store(BPF_DW, R3, 0, R1), set(R0, 0), leave()}});
    put(2, other);
    Program& caller = program(
        {joined({set(R6, 100), store_imm(BPF_DW, R10, -8, 1000), call_function(1),
                 alu(BPF_ADD, R6, R0), load(BPF_DW, R7, R10, -8)},
                walk(2, {alu(BPF_ADD, R0, R6), alu(BPF_ADD, R0, R7), leave()})),
         with_call(2, {set(R0, 7), leave()}),
         {load(BPF_DW, R1, R3, 0), add(R1, 16), store(BPF_DW, R3, 0, R1), set(R0, 0), leave()}});
    for (const bool interpret : {false, true}) {
        EXPECT_EQ(run(caller, interpret), 100u + 44u + 1000u + 4u);
        EXPECT_FALSE(domain.execution.faulted);
        EXPECT_EQ(take_number(3), 17u);
        take_number(0);
        take_number(1);
        take_number(2);
    }
    // The same where the other one is interpreted.
    const std::byte* const code = std::exchange(other.native.code, nullptr);
    EXPECT_EQ(run(caller), 100u + 44u + 1000u + 4u);
    EXPECT_EQ(take_number(3), 17u);
    other.native.code = code;
}

TEST_F(NativeTailCalls, into_an_interpreted_program_and_on_into_another_keep_their_frames) {
    // The last of three walks over numbers from a function, with a callback: three frames.
    const auto walk = [this](int callback, const Code& then) {
        return joined({domain.wide_map(R1, *numbers_), function(R2, callback), set(R3, 0),
                       set(R4, 0), call(BPF_FUNC_for_each_map_elem)},
                      then);
    };
    Program& third = program(
        {{store_imm(BPF_DW, R10, -8, 1000), call_function(1), load(BPF_DW, R7, R10, -8),
          alu(BPF_ADD, R0, R7), leave()},
         joined({store_imm(BPF_DW, R10, -8, 300)}, walk(2, {load(BPF_DW, R0, R10, -8), leave()})),
         {store_imm(BPF_DW, R10, -8, 1), set(R0, 0), leave()}});
    put(2, third);
    Program& second = program({with_call(2, {set(R0, 7), leave()})});
    put(1, second);
    Program& first = program({with_call(1, {set(R0, 8), leave()})});
    EXPECT_EQ(run(first), 1300u);
    EXPECT_EQ(run(first, true), 1300u);
    const std::byte* const code = std::exchange(second.native.code, nullptr);
    EXPECT_EQ(run(first), 1300u);
    second.native.code = code;
}

TEST_F(NativeTailCalls, of_what_a_callback_calls_return_to_the_interpreter_of_its_program) {
    Program& last = program({{set(R0, 40), leave()}});
    put(3, last);
    // Interpreted itself, its callback native; what that calls leads to an interpreted one.
    Program& caller = program({{store(BPF_DW, R10, -8, R1), domain.wide_map(R1, *numbers_),
                                function(R2, 1), copy(R3, R10), add(R3, -8), set(R4, 0),
                                call(BPF_FUNC_for_each_map_elem), add(R0, 1000), leave()},
                               {load(BPF_DW, R1, R4, 0), call_function(2), set(R0, 0), leave()},
                               with_call(3, {set(R0, 7), leave()})});
    put(2, caller);
    Program& between = program({with_call(2, {set(R0, 7), leave()})});
    put(1, between);
    Program& first = program({with_call(1, {set(R0, 8), leave()})});
    EXPECT_EQ(run(first), 1004u);
    const std::byte* const code = std::exchange(between.native.code, nullptr);
    const std::byte* const other = std::exchange(last.native.code, nullptr);
    EXPECT_EQ(run(first), 1004u);
    between.native.code = code;
    last.native.code = other;
}

TEST_F(NativeTailCalls, are_counted_together_in_both_engines) {
    // Calls itself, interpreted, as often as it may; native code has called it.
    Program& itself = program({with_count(0, with_call(0, {set(R0, 7), leave()}))});
    put(0, itself);
    Program& first = program({with_call(0, {set(R0, 8), leave()})});
    for (const bool interpret : {true, false}) {
        EXPECT_EQ(run(first, interpret), 7u);
        EXPECT_EQ(take_number(0), 33u);
    }
    const std::byte* const code = std::exchange(itself.native.code, nullptr);
    EXPECT_EQ(run(first), 7u);
    EXPECT_EQ(take_number(0), 33u);
    itself.native.code = code;
}

TEST_F(NativeTailCalls, of_a_function_do_nothing_where_frames_find_no_room) {
    Program& itself =
        program({{call_function(1), leave()}, with_count(0, with_call(0, {set(R0, 7), leave()}))});
    EXPECT_EQ(itself.frames, 2u);
    put(0, itself);
    for (const bool interpret : {false, true}) {
        EXPECT_EQ(run(itself, interpret), 7u);
        EXPECT_EQ(take_number(0), 7u);
    }
}

TEST_F(NativeTailCalls, may_be_interrupted_after_every_instruction_by_some) {
    if (!task::kCanSingleStep) {
        GTEST_SKIP() << "not under sanitizers";
    }
    Program& itself = program({with_count(0, with_call(0, {set(R0, 7), leave()}))});
    put(0, itself);
    put(1, program({with_count(1, {set(R0, 42), leave()})}));
    Program& of_function =
        program({{set(R6, 100), store_imm(BPF_DW, R10, -8, 1000), call_function(1),
                  alu(BPF_ADD, R0, R6), load(BPF_DW, R6, R10, -8), alu(BPF_ADD, R0, R6), leave()},
                 with_count(2, with_call(1, {set(R0, 7), leave()}))});
    Scene scene;
    // Through the same array, another entry.
    scene.nested = &program({with_call(1, {set(R0, 7), leave()})});
    scene.nested_result = 42;
    for (const std::uint64_t stride : {1, 2, 3, 5}) {
        SCOPED_TRACE(stride);
        scene.nested_runs = 0;
        scene.outer = &itself;
        const std::uint64_t steps =
            task::single_step(Scene::body, &scene, Scene::event, &scene, 1, stride);
        EXPECT_GT(steps, 34u * 20u);
        EXPECT_GT(scene.nested_runs, steps / stride / 2);
        EXPECT_EQ(scene.nested_wrong, 0u);
        EXPECT_EQ(scene.result, 7u);
        EXPECT_FALSE(scene.faulted);
        EXPECT_EQ(take_number(0), 34u);
        EXPECT_EQ(take_number(1), scene.nested_runs);

        scene.nested_runs = 0;
        scene.outer = &of_function;
        task::single_step(Scene::body, &scene, Scene::event, &scene, 1, stride);
        EXPECT_GT(scene.nested_runs, 50u / stride);
        EXPECT_EQ(scene.nested_wrong, 0u);
        EXPECT_EQ(scene.result, 42u + 100u + 1000u);
        EXPECT_FALSE(scene.faulted);
        EXPECT_EQ(take_number(2), 1u);
        EXPECT_EQ(take_number(1), scene.nested_runs + 1);
    }
}

}  // namespace
}  // namespace taskwork::bpf
