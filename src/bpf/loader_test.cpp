// SPDX-License-Identifier: Apache-2.0
#include <cerrno>

#include <gmock/gmock.h>

#include "bpf/helpers.hpp"
#include "bpf/test_program.hpp"

namespace taskwork::bpf {
namespace {

using namespace test;
using ::testing::HasSubstr;

class Loader : public ::testing::Test {
protected:
    void expect_refused(std::initializer_list<Piece> pieces, const char* text,
                        std::errc code = std::errc::invalid_argument) {
        expect_refused(domain.spec(), pieces, text, code);
    }
    void expect_refused(const LoadSpec& spec, std::initializer_list<Piece> pieces, const char* text,
                        std::errc code = std::errc::invalid_argument) {
        auto loaded = domain.try_load(spec, pieces);
        ASSERT_FALSE(loaded.has_value()) << "accepted, wanted: " << text;
        EXPECT_THAT(loaded.error().text, HasSubstr(text));
        EXPECT_THAT(loaded.error().text, HasSubstr("'test'"));
        EXPECT_THAT(domain.log, HasSubstr(text));
        EXPECT_EQ(loaded.error().code, code);
    }
    void expect_accepted(std::initializer_list<Piece> pieces) {
        auto loaded = domain.try_load(pieces);
        EXPECT_TRUE(loaded.has_value()) << loaded.error().text;
    }

    BpfDomain domain;
};

TEST_F(Loader, keeps_what_the_program_is_called_and_made_of) {
    LoadSpec spec = domain.spec();
    spec.name = "a_name_of_more_than_15_characters";
    auto loaded = domain.try_load(spec, {set(R0, 1), leave()});
    ASSERT_TRUE(loaded.has_value());
    EXPECT_STREQ((*loaded)->name, "a_name_of_more_");
    EXPECT_EQ((*loaded)->insn_count, 2u);
    EXPECT_EQ((*loaded)->type, static_cast<std::uint32_t>(BPF_PROG_TYPE_PERF_EVENT));
    EXPECT_EQ((*loaded)->references.load(std::memory_order_relaxed), 1u);
    EXPECT_GT(domain.load({set(R0, 1), leave()}).id, (*loaded)->id);
}

TEST_F(Loader, names_a_program_type_that_it_does_not_have) {
    LoadSpec spec = domain.spec();
    spec.type = BPF_PROG_TYPE_KPROBE;
    expect_refused(spec, {set(R0, 0), leave()}, "BPF_PROG_TYPE_KPROBE");
    spec.type = 4000;
    expect_refused(spec, {set(R0, 0), leave()}, "program type 4000");
    spec.probe = true;
    EXPECT_TRUE(domain.try_load(spec, {set(R0, 0), leave()}).has_value());
}

TEST_F(Loader, wants_syscall_programs_to_be_sleepable) {
    LoadSpec spec = domain.spec();
    spec.type = BPF_PROG_TYPE_SYSCALL;
    expect_refused(spec, {set(R0, 0), leave()}, "Syscall programs can only be sleepable");
    EXPECT_TRUE(domain.try_load(domain.sleepable_spec(), {set(R0, 0), leave()}).has_value());
}

TEST_F(Loader, wants_programs_of_events_not_to_be_sleepable) {
    LoadSpec spec = domain.spec();
    spec.flags = BPF_F_SLEEPABLE;
    expect_refused(spec, {set(R0, 0), leave()}, "programs can be sleepable");
}

TEST_F(Loader, refuses_a_program_without_instructions) {
    LoadSpec spec = domain.spec();
    auto loaded = load_program(spec, domain.log);
    ASSERT_FALSE(loaded.has_value());
    EXPECT_EQ(loaded.error().code, std::errc::argument_list_too_long);
}

TEST_F(Loader, knows_each_of_the_256_opcodes_or_refuses_it_by_name) {
    // The opcodes of RFC 9669 with ISA v4, without legacy packet access: by class and operation.
    const auto is_valid = [](unsigned code) {
        const unsigned op = code & 0xf0;
        const bool by_register = (code & 8) != 0;
        const unsigned size = code & 0x18;
        const unsigned mode = code & 0xe0;
        switch (code & 7) {
        case BPF_LD:
            return code == 0x18;
        case BPF_LDX:
            return mode == 0x60 || (mode == 0x80 && size != 0x18);
        case BPF_ST:
            return mode == 0x60;
        case BPF_STX:
            return mode == 0x60 || (mode == 0xc0 && (size == 0 || size == 0x18));
        case BPF_ALU:
            return op <= 0xd0 && !(op == 0x80 && by_register);
        case BPF_ALU64:
            return op <= 0xd0 && !(op == 0x80 && by_register) && !(op == 0xd0 && by_register);
        case BPF_JMP:
            return (op <= 0xd0 && !(by_register && (op == 0 || op == 0x80 || op == 0x90))) ||
                   code == 0xe5;
        default:  // JMP32
            return op <= 0xd0 && op != 0x80 && op != 0x90 && !(op == 0 && by_register);
        }
    };
    for (unsigned code = 0; code < 256; ++code) {
        SCOPED_TRACE(::testing::Message() << "opcode " << std::hex << code);
        bpf_insn insn = make(code, R0, 0, 0, 0);
        const unsigned op = code & 0xf0;
        const unsigned instruction_class = code & 7;
        const bool alu_class = instruction_class == BPF_ALU || instruction_class == BPF_ALU64;
        if (alu_class && op == BPF_END) {
            insn.imm = 16;
        } else if (alu_class && (op == BPF_DIV || op == BPF_MOD) && (code & 8) == 0) {
            insn.imm = 1;
        } else if (code == (BPF_JMP | BPF_CALL)) {
            insn.imm = BPF_FUNC_ktime_get_ns;
        }
        auto loaded = code == 0x18 ? domain.try_load({wide(R0, 1), leave()})
                                   : domain.try_load({insn, set(R0, 0), leave()});
        EXPECT_EQ(loaded.has_value(), is_valid(code))
            << (loaded.has_value() ? "accepted" : loaded.error().text);
        if (loaded.has_value()) {
            put_program(**loaded);
        }
        task::Worker::synchronize();
    }
}

TEST_F(Loader, refuses_registers_that_do_not_exist_and_writes_of_the_frame_pointer) {
    expect_refused({make(BPF_ALU64 | BPF_MOV | BPF_X, 11, 0, 0, 0), leave()}, "R11 is invalid");
    expect_refused({make(BPF_ALU64 | BPF_MOV | BPF_X, 0, 15, 0, 0), leave()}, "R15 is invalid");
    expect_refused({set(R10, 0), leave()}, "frame pointer is read only");
    expect_refused({load(BPF_W, R10, R1, 0), leave()}, "frame pointer is read only");
    expect_refused({wide(R10, 0), leave()}, "frame pointer is read only");
    expect_refused({atomic(BPF_DW, R10, -8, R10, BPF_ADD | BPF_FETCH), leave()},
                   "frame pointer is read only");
    expect_accepted({atomic(BPF_DW, R10, -8, R10, BPF_ADD), set(R0, 0), leave()});
}

TEST_F(Loader, refuses_reserved_fields_that_are_not_zero) {
    const auto refused = [&](bpf_insn insn, const char* text) {
        expect_refused({insn, set(R0, 0), leave()}, text);
    };
    refused(make(BPF_ALU64 | BPF_ADD | BPF_K, 0, 1, 0, 1), "BPF_ALU uses reserved fields");
    refused(make(BPF_ALU64 | BPF_ADD | BPF_X, 0, 1, 0, 1), "BPF_ALU uses reserved fields");
    refused(make(BPF_ALU64 | BPF_ADD | BPF_K, 0, 0, 1, 1), "BPF_ALU uses reserved fields");
    refused(make(BPF_ALU64 | BPF_DIV | BPF_K, 0, 0, 2, 1), "BPF_ALU uses reserved fields");
    refused(make(BPF_ALU64 | BPF_MOV | BPF_X, 0, 1, 7, 0), "BPF_MOV uses reserved fields");
    refused(make(BPF_ALU | BPF_MOV | BPF_X, 0, 1, 32, 0), "BPF_MOV uses reserved fields");
    refused(make(BPF_ALU64 | BPF_MOV | BPF_X, 0, 1, 0, 7), "BPF_MOV uses reserved fields");
    refused(make(BPF_ALU64 | BPF_NEG, 0, 0, 0, 1), "BPF_NEG uses reserved fields");
    refused(make(BPF_ALU | BPF_END, 0, 0, 0, 8), "BPF_END uses reserved fields");
    refused(make(BPF_LDX | BPF_MEM | BPF_W, 0, 1, 0, 1), "BPF_LDX uses reserved fields");
    refused(make(BPF_STX | BPF_MEM | BPF_W, 10, 1, -4, 1), "BPF_STX uses reserved fields");
    refused(make(BPF_ST | BPF_MEM | BPF_W, 10, 1, -4, 1), "BPF_ST uses reserved fields");
    refused(make(BPF_JMP | BPF_JA, 0, 0, 0, 1), "BPF_JA uses reserved fields");
    refused(make(BPF_JMP32 | BPF_JA, 0, 0, 1, 0), "BPF_JA uses reserved fields");
    refused(make(BPF_JMP | BPF_EXIT, 1, 0, 0, 0), "BPF_EXIT uses reserved fields");
    refused(make(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0, 0), "BPF_JMP/JMP32 uses reserved fields");
    refused(make(BPF_JMP | BPF_JEQ | BPF_X, 0, 1, 0, 1), "BPF_JMP/JMP32 uses reserved fields");
    refused(make(BPF_JMP | BPF_CALL, 1, 0, 0, 1), "BPF_CALL uses reserved fields");
    refused(make(BPF_JMP | BPF_CALL, 0, 3, 0, 1), "BPF_CALL uses reserved fields");
    refused(make(BPF_JMP | kOpConditionalPseudo, 0, 1, 0, 0), "invalid may_goto imm 0");
    refused(make(BPF_JMP | kOpConditionalPseudo, 1, 0, 0, 0), "invalid may_goto imm 0");
    refused(make(BPF_JMP | kOpConditionalPseudo, 0, 0, 0, 7), "invalid may_goto imm 7");
    refused(make(BPF_STX | kModeAtomic | BPF_DW, 10, 1, -8, 0x21), "invalid atomic opcode");
    refused(make(BPF_STX | kModeAtomic | BPF_H, 10, 1, -8, BPF_ADD), "invalid atomic operand size");
}

TEST_F(Loader, refuses_constant_divisors_of_zero_and_shifts_beyond_the_width) {
    expect_refused({alu(BPF_DIV, R0, std::int64_t{0}), leave()}, "div by zero");
    expect_refused({alu32(BPF_MOD, R0, std::int64_t{0}), leave()}, "div by zero");
    expect_refused({alu(BPF_LSH, R0, 64), leave()}, "invalid shift 64");
    expect_refused({alu32(BPF_ARSH, R0, 32), leave()}, "invalid shift 32");
    expect_refused({alu(BPF_RSH, R0, -1), leave()}, "invalid shift -1");
    expect_accepted({alu(BPF_LSH, R0, 63), alu32(BPF_ARSH, R0, 31), leave()});
}

TEST_F(Loader, keeps_jumps_inside_their_function_and_off_second_halves) {
    expect_refused({jump(1), leave()}, "jump out of range from insn 0 to 2");
    expect_refused({jump(-2), leave()}, "jump out of range from insn 0 to -1");
    expect_refused({jump(1), wide(R0, 1), leave()}, "jump into the middle of ldimm64 insn 1");
    expect_accepted({jump(2), wide(R0, 1), leave()});
    // Functions: 0-1 and 2-3.
    expect_refused({call_function(1), leave(), jump(-2), leave()}, "jump out of range");
    expect_refused({call_function(3), jump(2), set(R0, 0), leave(), set(R0, 1), leave()},
                   "jump out of range from insn 1 to 4");
    expect_refused({make(BPF_JMP32 | BPF_JA, 0, 0, 0, INT32_MAX), leave()}, "jump out of range");
}

TEST_F(Loader, wants_every_function_to_end_in_an_exit_or_a_jump) {
    expect_refused({set(R0, 0)}, "last insn is not an exit or jmp");
    expect_refused({wide(R0, 0)}, "last insn is not an exit or jmp");
    expect_refused({call_function(1), set(R0, 0), set(R0, 0), leave()},
                   "last insn is not an exit or jmp");
    expect_accepted({jump(1), leave(), jump(-2)});
}

TEST_F(Loader, checks_the_halves_of_wide_immediates) {
    expect_refused({make(kLoadImmediate64, 0, 0, 0, 0)}, "invalid bpf_ld_imm64 insn");
    expect_refused({Piece(make(kLoadImmediate64, 0, 0, 0, 0), set(R0, 0)), leave()},
                   "invalid bpf_ld_imm64 insn");
    expect_refused({wide(R0, 0, 9), leave()}, "unrecognized bpf_ld_imm64 insn");
    expect_refused({wide(R0, 0, BPF_PSEUDO_MAP_IDX), leave()}, "fd_array");
    expect_refused({make(BPF_LD | BPF_ABS | BPF_W, 0, 0, 0, 0), leave()},
                   "BPF_LD_[ABS|IND] instructions not allowed for this program type");
}

TEST_F(Loader, refuses_calls_and_references_to_what_is_no_function) {
    expect_refused({call_function(5), leave()}, "call to invalid destination");
    expect_refused({call_function(-9), leave()}, "call to invalid destination");
    expect_refused({call_function(1), wide(R0, 1), leave()}, "call to invalid destination");
    expect_refused({function(R2, 50), leave()}, "call to invalid destination");
}

TEST_F(Loader, names_a_helper_that_it_does_not_have) {
    expect_refused({call(BPF_FUNC_xdp_output), leave()}, "unknown func bpf_xdp_output#121");
    expect_refused({call(BPF_FUNC_perf_event_read_value), leave()},
                   "unknown func bpf_perf_event_read_value#55");
    expect_refused({call(99999), leave()}, "invalid func unknown#99999");
    expect_refused({call(-5), leave()}, "invalid func unknown#-5");
    expect_refused({call(0), leave()}, "invalid func unknown#0");
}

TEST_F(Loader, lets_poisoned_instructions_stand_until_they_are_reached) {
    Program& program = domain.load(
        {jump_if(BPF_JEQ, R1, std::int64_t{0}, 1), call(kPoisonedCall), set(R0, 3), leave()});
    EXPECT_EQ(domain.run(program), 3u);
    std::uint64_t context = 0;
    domain.expect_fault(program, FaultKind::bad_call, 1, &context, sizeof(context));

    Program& absent = domain.load(
        {jump_if(BPF_JEQ, R1, std::int64_t{0}, 1), call(kAbsentFunction + 1), set(R0, 3), leave()});
    EXPECT_EQ(domain.run(absent), 3u);
    domain.expect_fault(absent, FaultKind::bad_call, 1, &context, sizeof(context));

    const bpf_insn not_found = make(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, 0);
    domain.expect_fault(domain.load({not_found, leave()}), FaultKind::bad_call, 0);
}

TEST_F(Loader, names_a_kfunc_that_it_does_not_have) {
    LoadSpec spec = domain.spec();
    spec.kfunc_name = [](std::uint32_t) { return std::string("bpf_wq_start"); };
    expect_refused(spec, {make(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, 77), leave()},
                   "'bpf_wq_start'");
    expect_refused({make(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, 77), leave()},
                   "btf_id#77");
    expect_refused(spec, {wide(R0, 77, BPF_PSEUDO_BTF_ID), leave()}, "btf id 77");
}

TEST_F(Loader, gives_the_address_of_a_weak_kfunc_a_value_that_is_not_null) {
    const auto id = static_cast<std::uint32_t>(1000 + kfunc_by_name("bpf_task_acquire"));
    EXPECT_NE(domain.run(domain.load({wide(R0, id, BPF_PSEUDO_BTF_ID), leave()})), 0u);
    domain.expect_fault(
        domain.load({wide(R1, id, BPF_PSEUDO_BTF_ID), load(BPF_B, R0, R1, 0), leave()}),
        FaultKind::bad_load, 2);
}

TEST_F(Loader, lets_only_gpl_compatible_programs_call_kernel_functions) {
    LoadSpec spec = domain.spec();
    spec.license = "Apache-2.0";
    expect_refused(spec, {BpfDomain::call_kfunc("bpf_rcu_read_lock"), set(R0, 0), leave()},
                   "cannot call kernel function from non-GPL compatible program",
                   std::errc::permission_denied);
    expect_refused(spec, {call(BPF_FUNC_get_current_task), leave()},
                   "cannot call GPL-restricted function from non-GPL compatible program");
    EXPECT_TRUE(domain.try_load(spec, {call(BPF_FUNC_ktime_get_ns), leave()}).has_value());
    for (const char* license : {"GPL", "GPL v2", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"}) {
        spec.license = license;
        EXPECT_TRUE(
            domain.try_load(spec, {BpfDomain::call_kfunc("bpf_rcu_read_lock"), set(R0, 0), leave()})
                .has_value())
            << license;
    }
}

TEST_F(Loader, refuses_sleeping_in_programs_that_may_not_but_not_in_their_callbacks) {
    expect_refused({call(BPF_FUNC_copy_from_user), leave()},
                   "sleepable helper bpf_copy_from_user#148 in non-sleepable prog");
    expect_refused({BpfDomain::call_kfunc("bpf_copy_from_user_str"), leave()},
                   "program must be sleepable to call sleepable kfunc bpf_copy_from_user_str");
    // In a function that is called, behind another.
    expect_refused({call_function(1), leave(), call_function(1), leave(),
                    call(BPF_FUNC_copy_from_user), leave()},
                   "sleepable helper");
    // In one that is only referred to.
    expect_accepted({function(R2, 3), set(R0, 0), leave(), call(BPF_FUNC_copy_from_user), leave()});
    EXPECT_TRUE(domain.try_load(domain.sleepable_spec(), {call(BPF_FUNC_copy_from_user), leave()})
                    .has_value());
}

TEST_F(Loader, resolves_maps_by_their_descriptor_and_holds_them) {
    map::Map& map = domain.array(8, 2);
    const std::uint32_t before = map.references.load(std::memory_order_relaxed);
    Program& program = domain.load({domain.wide_map(R0, map), domain.wide_map(R1, map), leave()});
    EXPECT_EQ(domain.run(program), reinterpret_cast<std::uint64_t>(&map));
    EXPECT_EQ(program.map_count, 1u);
    EXPECT_EQ(map.references.load(std::memory_order_relaxed), before + 1);
    expect_refused({wide(R0, 7, BPF_PSEUDO_MAP_FD), leave()},
                   "fd 7 is not pointing to valid bpf_map", std::errc::bad_file_descriptor);
}

TEST_F(Loader, resolves_addresses_of_values_inside_arrays_only) {
    map::Map& map = domain.array(16, 1);
    const std::uint32_t key = 0;
    EXPECT_EQ(domain.run(domain.load({domain.wide_value(R0, map, 8), leave()})),
              reinterpret_cast<std::uint64_t>(map::lookup(map, &key)) + 8);
    expect_refused({domain.wide_value(R0, map, 16), leave()}, "direct value offset of 16");
    expect_refused({domain.wide_value(R0, domain.array(16, 2), 0), leave()},
                   "no direct value access");
    expect_refused({domain.wide_value(R0, domain.hash(4, 8, 1), 0), leave()},
                   "no direct value access");
}

TEST_F(Loader, frees_a_program_that_nobody_holds_with_its_maps) {
    map::Map& map = domain.array(8, 1);
    const std::uint32_t references = map.references.load(std::memory_order_relaxed);
    const std::uint32_t free = ProgramTable::get().programs.count_free();
    Program& program = domain.load({domain.wide_map(R0, map), leave()});
    EXPECT_EQ(ProgramTable::get().programs.count_free(), free - 1);
    get_program(program);
    put_program(program);
    EXPECT_EQ(sync::Pool::load(&program).state(), kProgramLive);
    put_program(program);
    task::wait_until([&] { return ProgramTable::get().programs.count_free() == free; });
    EXPECT_EQ(map.references.load(std::memory_order_relaxed), references);
}

TEST_F(Loader, says_when_there_is_room_for_no_more_programs) {
    std::vector<Program*> programs;
    for (std::uint32_t i = 0; i < ProgramTable::kProgramsMax; ++i) {
        programs.push_back(&domain.load({set(R0, 0), leave()}));
    }
    expect_refused({set(R0, 0), leave()}, "more than 256 programs", std::errc::not_enough_memory);
    put_program(*programs.back());
    task::wait_until([&] { return ProgramTable::get().programs.count_free() == 1; });
    expect_accepted({set(R0, 0), leave()});
}

TEST(Helpers, are_named_as_in_the_kernel) {
    EXPECT_EQ(helper_name(BPF_FUNC_map_lookup_elem), "bpf_map_lookup_elem#1");
    EXPECT_EQ(helper_name(BPF_FUNC_loop), "bpf_loop#181");
    EXPECT_EQ(helper_name(-1), "unknown#-1");
}

}  // namespace
}  // namespace taskwork::bpf
