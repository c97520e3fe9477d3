// SPDX-License-Identifier: Apache-2.0
#include "tests/isa/assembler.hpp"

#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cstring>

#include "bpf/isa.hpp"
#include "bpf/verifier/log.hpp"
#include "tests/isa/cases.hpp"
#include "tests/isa/text.hpp"

namespace taskwork::isa {
namespace {

/// The bytes in hexadecimal, or the error.
std::string assembled(const std::vector<std::string>& lines) {
    Result<std::vector<std::uint8_t>> bytes = assemble(lines);
    return bytes ? hex_of(*bytes) : bytes.error().text;
}

// Encodings as `llvm-mc -triple bpfel -mcpu=v4` has them.
TEST(Assembler, encodes_as_other_assemblers_do) {
    const std::pair<const char*, const char*> lines[] = {
        {"r0 = 5", "b7 00 00 00 05 00 00 00"},
        {"r0 += r1", "0f 10 00 00 00 00 00 00"},
        {"w0 s/= w1", "3c 10 01 00 00 00 00 00"},
        {"r0 s%= -3", "97 00 01 00 fd ff ff ff"},
        {"w0 s>>= 3", "c4 00 00 00 03 00 00 00"},
        {"r0 = (s8)r1", "bf 10 08 00 00 00 00 00"},
        {"w0 = (s16)w1", "bc 10 10 00 00 00 00 00"},
        {"r0 = bswap32 r0", "d7 00 00 00 20 00 00 00"},
        {"r0 = be16 r0", "dc 00 00 00 10 00 00 00"},
        {"r0 = -r0", "87 00 00 00 00 00 00 00"},
        {"r0 = 0x123456789abc ll", "18 00 00 00 bc 9a 78 56 00 00 00 00 34 12 00 00"},
        {"r0 = *(s8 *)(r1 +2)", "91 10 02 00 00 00 00 00"},
        {"*(u32 *)(r1 -4) = r2", "63 21 fc ff 00 00 00 00"},
        {"*(u32 *)(r1 -4) = 7", "62 01 fc ff 07 00 00 00"},
        {"lock *(u64 *)(r10 -8) += r1", "db 1a f8 ff 00 00 00 00"},
        {"r1 = atomic64_fetch_add((u64 *)(r10 -8), r1)", "db 1a f8 ff 01 00 00 00"},
        {"r1 = atomic_fetch_add((u32 *)(r10 -8), r1)", "c3 1a f8 ff 01 00 00 00"},
        {"r1 = atomic64_xchg((u64 *)(r10 -8), r1)", "db 1a f8 ff e1 00 00 00"},
        {"r0 = atomic64_cmpxchg((u64 *)(r10 -8), r0, r2)", "db 2a f8 ff f1 00 00 00"},
        {"if w1 s< -3 goto +2", "c6 01 02 00 fd ff ff ff"},
        {"if r1 & r2 goto pc+2", "4d 21 02 00 00 00 00 00"},
        {"gotol +3", "06 00 00 00 03 00 00 00"},
        {"goto -1", "05 00 ff ff 00 00 00 00"},
        {"may_goto +1", "e5 00 01 00 00 00 00 00"},
        {"call 3", "85 00 00 00 03 00 00 00"},
        {"callx r6", "8d 06 00 00 00 00 00 00"},
        {"exit", "95 00 00 00 00 00 00 00"},
    };
    for (const auto& [line, bytes] : lines) {
        EXPECT_EQ(assembled({line}), bytes) << line;
    }
}

TEST(Assembler, resolves_labels_over_wide_loads) {
    EXPECT_EQ(assembled({"call f", "if r0 == 1 goto end", "r1 = 2 ll", "end:", "exit",
                         "f:", "r6 = &f", "exit"}),
              "85 10 00 00 04 00 00 00 15 00 02 00 01 00 00 00 "
              "18 01 00 00 02 00 00 00 00 00 00 00 00 00 00 00 95 00 00 00 00 00 00 00 "
              "18 46 00 00 ff ff ff ff 00 00 00 00 00 00 00 00 95 00 00 00 00 00 00 00");
}

TEST(Assembler, takes_raw_bytes_of_any_number) {
    EXPECT_EQ(assembled({"raw b7 00", "raw 00 00 0500"}), "b7 00 00 00 05 00");
}

TEST(Assembler, repeats_an_instruction) {
    EXPECT_EQ(assembled({"times 2 exit", "times 0 exit"}),
              "95 00 00 00 00 00 00 00 95 00 00 00 00 00 00 00");
    EXPECT_EQ(assembled({"times 100001 exit"}), "'times 100001 exit': more than 100000 times");
}

TEST(Assembler, says_which_line_is_wrong_and_why) {
    EXPECT_EQ(assembled({"exit", "r0 = "}), "'r0 = ': expected a number before ''");
    EXPECT_EQ(assembled({"r0 = 0x100000000"}),
              "'r0 = 0x100000000': the immediate has more than 32 bits");
    EXPECT_EQ(assembled({"r0 += w1"}), "'r0 += w1': expected a number before 'w1'");
    EXPECT_EQ(assembled({"r0 = *(u64 *)(r1 +40000)"}),
              "'r0 = *(u64 *)(r1 +40000)': the offset has more than 16 bits");
    EXPECT_EQ(assembled({"goto nowhere"}), "there is no label 'nowhere'");
    EXPECT_EQ(assembled({"a:", "a:"}), "'a:': no label, or one that is there already");
    EXPECT_EQ(assembled({"exit 1"}), "'exit 1': expected the end of the line before '1'");
    EXPECT_EQ(assembled({"raw b"}), "'raw b': an odd number of hexadecimal digits");
    EXPECT_EQ(assembled({"raw zz"}), "'raw zz': 'zz' is no hexadecimal byte");
    EXPECT_EQ(assembled({"r0 = atomic64_xchg((u64 *)(r1 +0), r2)"}),
              "'r0 = atomic64_xchg((u64 *)(r1 +0), r2)': there is no such atomic instruction");
}

TEST(Assembler, reads_numbers_of_64_bits) {
    EXPECT_EQ(*parse_number("0xffffffffffffffff"), UINT64_MAX);
    EXPECT_EQ(*parse_number("-9223372036854775808"), std::uint64_t{1} << 63);
    EXPECT_EQ(*parse_number("+7"), 7u);
    for (const char* text : {"", "-", "0x", "7a", "18446744073709551616", "-9223372036854775809"}) {
        EXPECT_FALSE(parse_number(text).has_value()) << text;
    }
}

/// What the log prints stands for the instruction itself, but for wide loads, whose text leaves out
/// that they are wide, and callx, which the kernel does not have.
TEST(Assembler, reads_what_the_log_of_the_verifier_prints) {
    std::size_t compared = 0;
    for (const std::string& file : case_files()) {
        Result<std::vector<Case>> cases = read_cases(file);
        ASSERT_TRUE(cases.has_value()) << cases.error().text;
        for (const Case& one : *cases) {
            if (one.expected.kind == Expectation::Kind::refused) {
                continue;
            }
            std::vector<bpf_insn> insns(one.program.size() / sizeof(bpf_insn));
            std::memcpy(insns.data(), one.program.data(), one.program.size());
            for (std::uint32_t i = 0; i < insns.size(); ++i) {
                const bool wide = insns[i].code == bpf::kLoadImmediate64;
                if (wide || insns[i].code == (BPF_JMP | BPF_CALL | BPF_X)) {
                    i += wide ? 1 : 0;
                    continue;
                }
                const std::string text =
                    bpf::verifier::describe(insns, i).substr(std::strlen("(b7) "));
                const std::vector<std::uint8_t> bytes(one.program.begin() + i * 8,
                                                      one.program.begin() + i * 8 + 8);
                ASSERT_EQ(assembled({text}), hex_of(bytes)) << one.place << ": " << text;
                ++compared;
            }
        }
    }
    EXPECT_GT(compared, 2500u);
}

}  // namespace
}  // namespace taskwork::isa
