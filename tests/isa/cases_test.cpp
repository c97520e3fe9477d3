// SPDX-License-Identifier: Apache-2.0
#include "tests/isa/cases.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <set>
#include <tuple>

#include "bpf/instruction.hpp"
#include "tests/isa/engine.hpp"

namespace taskwork::isa {
namespace {

/// The cases of a file; fails the test if they cannot be read.
std::vector<Case> cases_of(const std::string& file) {
    Result<std::vector<Case>> cases = read_cases(file);
    EXPECT_TRUE(cases.has_value()) << cases.error().text;
    return cases ? *cases : std::vector<Case>{};
}

// ---- Results ------------------------------------------------------------------------------------

using FileAndEngine = std::tuple<std::string, Engine>;

class Cases : public ::testing::TestWithParam<FileAndEngine> {};

TEST_P(Cases, have_the_results_of_the_specification) {
    const auto& [file, engine] = GetParam();
    if (const std::optional<std::string> absent = why_absent(engine)) {
        GTEST_SKIP() << *absent;
    }
    Runner runner;
    for (const Case& one : cases_of(file)) {
        if (one.expected.kind == Expectation::Kind::fault && !checks_accesses(engine)) {
            continue;
        }
        SCOPED_TRACE(one.place + ": " + one.name);
        const Outcome outcome = runner.run(engine, one.program, one.memory);
        ASSERT_EQ(static_cast<int>(outcome.kind), static_cast<int>(one.expected.kind))
            << "r0 " << std::hex << outcome.r0 << ", " << outcome.text;
        if (outcome.kind == Outcome::Kind::result) {
            EXPECT_EQ(outcome.r0, one.expected.r0)
                << std::hex << "r0 is 0x" << outcome.r0 << " and not 0x" << one.expected.r0;
        } else {
            EXPECT_NE(outcome.text.find(one.expected.words), std::string::npos) << outcome.text;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(
    , Cases, ::testing::Combine(::testing::ValuesIn(case_files()), ::testing::ValuesIn(kEngines)),
    [](const ::testing::TestParamInfo<FileAndEngine>& with) {
        return std::get<0>(with.param) + "_" + name_of(std::get<1>(with.param));
    });

// ---- Completeness -------------------------------------------------------------------------------

/// An instruction but for its registers, distances and operands: what tells it from the others.
using Form = std::tuple<unsigned, unsigned, int, std::int32_t>;  // code, source kind, off, imm

Form form_of(const bpf_insn& insn) {
    const unsigned code = insn.code;
    switch (BPF_CLASS(code)) {
    case BPF_ALU:
    case BPF_ALU64:
        return {code, 0, insn.off, BPF_OP(code) == BPF_END ? insn.imm : 0};
    case BPF_STX:
        return {code, 0, 0, BPF_MODE(code) == bpf::kModeAtomic ? insn.imm : 0};
    case BPF_LD:
        return {code, insn.src_reg, 0, 0};
    default:
        return {code, code == (BPF_JMP | BPF_CALL) ? insn.src_reg : 0, 0, 0};
    }
}

/// What needs more than an instruction set: addresses of maps, kernel functions.
bool is_linux(const bpf_insn& insn) {
    using bpf::Pseudo;
    if (insn.code == bpf::kLoadImmediate64) {
        return insn.src_reg != static_cast<unsigned>(Pseudo::none) &&
               insn.src_reg != static_cast<unsigned>(Pseudo::function);
    }
    return insn.code == (BPF_JMP | BPF_CALL) &&
           insn.src_reg == static_cast<unsigned>(bpf::CallKind::kfunc);
}

/// Every form that the loader lets through.
std::set<Form> all_forms() {
    std::set<Form> forms;
    for (unsigned code = 0; code < 256; ++code) {
        // Elsewhere it is an operand.
        const bool selects = BPF_CLASS(code) == BPF_STX || BPF_OP(code) == BPF_END;
        for (unsigned src = 0; src < 8; ++src) {
            for (int off : {0, 1, 8, 16, 32}) {
                for (std::int32_t imm = 0; imm <= (selects ? bpf::kAtomicStoreRelease : 0); ++imm) {
                    const bpf_insn insn{static_cast<__u8>(code), 0, static_cast<__u8>(src & 15),
                                        static_cast<__s16>(off), imm};
                    if (!is_linux(insn) &&
                        bpf::fault_of_form({insn, bpf_insn{}}, 0, bpf::InstructionSet::whole)
                            .empty()) {
                        forms.insert(form_of(insn));
                    }
                }
            }
        }
    }
    return forms;
}

std::set<Form> forms_of(const std::vector<std::uint8_t>& program) {
    std::set<Form> forms;
    for (std::size_t at = 0; at + sizeof(bpf_insn) <= program.size(); at += sizeof(bpf_insn)) {
        bpf_insn insn;
        std::memcpy(&insn, &program[at], sizeof(insn));
        forms.insert(form_of(insn));
        if (insn.code == bpf::kLoadImmediate64) {
            at += sizeof(bpf_insn);
        }
    }
    return forms;
}

TEST(AllCases, know_each_form_of_each_instruction) {
    std::set<Form> known;
    for (const std::string& file : case_files()) {
        for (const Case& one : cases_of(file)) {
            if (one.expected.kind == Expectation::Kind::result) {
                known.merge(forms_of(one.program));
            }
        }
    }
    const std::set<Form> forms = all_forms();
    EXPECT_GT(forms.size(), 150u);
    for (const auto& [code, src, off, imm] : forms) {
        EXPECT_TRUE(known.contains({code, src, off, imm}))
            << "no case has opcode 0x" << std::hex << code << ", source " << src << ", offset "
            << off << ", immediate 0x" << imm;
    }
}

TEST(AllCases, are_more_than_a_thousand) {
    std::size_t count = 0;
    std::set<std::tuple<std::vector<std::uint8_t>, std::vector<std::uint8_t>>> different;
    for (const std::string& file : case_files()) {
        for (const Case& one : cases_of(file)) {
            EXPECT_TRUE(different.emplace(one.program, one.memory).second)
                << one.place << ": there already";
            ++count;
        }
    }
    EXPECT_GT(count, 1000u);
    RecordProperty("cases", static_cast<int>(count));
}

}  // namespace
}  // namespace taskwork::isa
