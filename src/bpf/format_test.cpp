// SPDX-License-Identifier: Apache-2.0
#include "bpf/format.hpp"

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "bpf/task_view.hpp"
#include "bpf/test_program.hpp"
#include "bpf/trace.hpp"

namespace taskwork::bpf {
namespace {

using namespace test;

class FormatTest : public ::testing::Test {
protected:
    FormatTest() : program(domain.load({set(R0, 0), leave()})) {
        execution.task = task::current();
        execution.program = &program;
    }
    /// The text, or "EINVAL".
    std::string text(const char* format, std::vector<std::uint64_t> arguments = {}) {
        Machine machine(execution, Level::task);
        char out[512];
        const long length = format_text(machine, out, sizeof(out), format, std::strlen(format) + 1,
                                        arguments.data(), arguments.size());
        if (length == -EINVAL) {
            return "EINVAL";
        }
        EXPECT_EQ(static_cast<std::size_t>(length), std::strlen(out));
        return out;
    }

    BpfDomain domain;
    Program& program;
    Execution execution;
};

constexpr std::uint64_t minus(std::int64_t value) { return static_cast<std::uint64_t>(-value); }
std::uint64_t address(const char* string) { return reinterpret_cast<std::uint64_t>(string); }

TEST_F(FormatTest, prints_integers_of_both_widths) {
    EXPECT_EQ(text("%d %u %x %X %i", {minus(2), minus(2), 255, 255, 7}), "-2 4294967294 ff FF 7");
    EXPECT_EQ(text("%ld %llu %lx", {minus(2), minus(2), 0xabcdef0123456789}),
              "-2 18446744073709551614 abcdef0123456789");
    EXPECT_EQ(text("%lld", {std::uint64_t{1} << 63}), "-9223372036854775808");
    EXPECT_EQ(text("%d", {0x100000001}), "1");
    EXPECT_EQ(text("%u", {0}), "0");
}

TEST_F(FormatTest, pads_to_a_width) {
    EXPECT_EQ(text("[%5d][%-5d][%05d]", {42, 42, 42}), "[   42][42   ][00042]");
    EXPECT_EQ(text("[%05d][%+d][% d]", {minus(42), 42, 42}), "[-0042][+42][ 42]");
    EXPECT_EQ(text("[%6s][%-6s]", {address("abc"), address("abc")}), "[   abc][abc   ]");
}

TEST_F(FormatTest, prints_characters_addresses_strings_and_percent_signs) {
    EXPECT_EQ(text("%c%c 100%%", {'o', 'k'}), "ok 100%");
    EXPECT_EQ(text("%p %px", {0x1234, 0xffffffff81000000}), "0000000000001234 ffffffff81000000");
    EXPECT_EQ(text("%s|%pus", {address("user"), address("user")}), "user|user");
    EXPECT_EQ(text("<%s>", {0}), "<>");
    // User memory is no kernel memory.
    EXPECT_EQ(text("<%pks>", {address("user")}), "<>");
    // The name in the task's view is both.
    const auto name = address(task_view(*task::current()).comm);
    EXPECT_EQ(text("%s", {name}), task_view(*task::current()).comm);
    EXPECT_EQ(text("%pks", {name}), task_view(*task::current()).comm);
}

TEST_F(FormatTest, refuses_what_the_kernel_refuses) {
    for (const char* format :
         {"%e", "%", "%q", "%lld %s", "%n", "%hd", "%lls", "\x80", "\x01", "%pQ", "%999999d"}) {
        EXPECT_EQ(text(format, {1}), "EINVAL") << format;
    }
    EXPECT_EQ(text("%d", {}), "EINVAL");
    EXPECT_EQ(text("line\n\ttab", {}), "line\n\ttab");
    Machine machine(execution, Level::task);
    char out[8];
    // No NUL inside.
    EXPECT_EQ(format_text(machine, out, sizeof(out), "abc", 3, nullptr, 0), -EINVAL);
    EXPECT_EQ(format_text(machine, out, sizeof(out), "abc", 0, nullptr, 0), -EINVAL);
}

TEST_F(FormatTest, cuts_what_does_not_fit_and_returns_the_whole_length) {
    Machine machine(execution, Level::task);
    char out[8];
    EXPECT_EQ(format_text(machine, out, sizeof(out), "0123456789", 11, nullptr, 0), 10);
    EXPECT_STREQ(out, "0123456");
    EXPECT_EQ(format_text(machine, out, 0, "0123456789", 11, nullptr, 0), 10);
    EXPECT_EQ(format_text(machine, out, sizeof(out), "0123456", 8, nullptr, 0), 7);
    EXPECT_STREQ(out, "0123456");
}

// A walk once went on by `at != end`, past an end that had become part of a "%%" meanwhile.
TEST_F(FormatTest, reads_nothing_behind_the_end_of_a_format_that_its_own_text_overwrites) {
    Machine machine(execution, Level::task);
    const std::vector<std::pair<const char*, long>> cases = {
        {"%s", 8}, {"%sx", 9}, {"%s%%", 9}, {"%s %%", 10}, {"%sxy", -EINVAL}, {"%s%% ", -EINVAL}};
    for (const auto& [format, expected] : cases) {
        // The text begins in the format's second byte; eight percent signs go over its end. What
        // lies behind them would be printed as well.
        char memory[64];
        std::memset(memory, 'Z', sizeof(memory));
        memory[sizeof(memory) - 1] = '\0';
        std::strcpy(memory, format);
        const std::uint64_t argument = address("%%%%%%%%");
        EXPECT_EQ(format_text(machine, memory + 1, sizeof(memory) - 1, memory,
                              std::strlen(format) + 1, &argument, 1),
                  expected)
            << format;
    }
}

TEST_F(FormatTest, ends_where_a_format_has_come_to_end_meanwhile) {
    Machine machine(execution, Level::task);
    // The character that %c prints ends the format behind the `a`.
    char memory[64] = "%ca%d%d%d";
    const std::uint64_t nul = 0;
    EXPECT_EQ(format_text(machine, memory + 3, 8, memory, 10, &nul, 1), 2);
    EXPECT_EQ(std::memcmp(memory, "%ca\0a", 5), 0);
}

// ---- bpf_snprintf and the trace -----------------------------------------------------------------

class TraceTest : public FormatTest {
protected:
    std::vector<std::string> drain() {
        std::vector<std::string> lines;
        drain_trace(
            [](void* argument, const char* line, std::size_t size) {
                static_cast<std::vector<std::string>*>(argument)->emplace_back(line, size);
            },
            &lines);
        return lines;
    }
    map::Map& constant(const char* string) {
        map::Map& map = domain.array(64, 1, BPF_F_RDONLY_PROG);
        const std::uint32_t key = 0;
        std::strcpy(static_cast<char*>(map::lookup(map, &key)), string);
        return map;
    }
};

TEST_F(TraceTest, prints_into_the_buffer_of_a_program) {
    Program& prints = domain.load({
        store_imm(BPF_DW, R10, -8, 7),
        store_imm(BPF_DW, R10, -16, 42),
        copy(R1, R10),
        add(R1, -48),
        set(R2, 16),
        domain.wide_value(R3, constant("%d and %u"), 0),
        copy(R4, R10),
        add(R4, -16),
        set(R5, 16),
        call(BPF_FUNC_snprintf),
        leave(),
    });
    EXPECT_EQ(domain.run(prints), 9u);  // with the NUL
    EXPECT_STREQ(reinterpret_cast<const char*>(task::current()->bpf_stack[0]) + kFrameBytes - 48,
                 "42 and 7");
}

TEST_F(TraceTest, hands_the_lines_of_trace_printk_to_the_host_in_order) {
    Program& prints = domain.load({
        domain.wide_value(R1, constant("first %d\n"), 0),
        set(R2, 10),
        set(R3, -5),
        call(BPF_FUNC_trace_printk),
        copy(R6, R0),
        store_imm(BPF_DW, R10, -8, 9),
        domain.wide_value(R1, constant("second %llu"), 0),
        set(R2, 12),
        copy(R3, R10),
        add(R3, -8),
        set(R4, 8),
        call(BPF_FUNC_trace_vprintk),
        copy(R0, R6),
        leave(),
    });
    EXPECT_EQ(domain.run(prints), 9u);
    EXPECT_EQ(domain.run_in_nmi(prints), 9u);
    const std::vector<std::string> lines = drain();
    ASSERT_EQ(lines.size(), 4u);
    const std::string name = std::to_string(gettid());
    for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_NE(lines[i].find("-" + name + " "), std::string::npos) << lines[i];
        EXPECT_NE(lines[i].find(i % 2 == 0 ? ": bpf_trace_printk: first -5\n"
                                           : ": bpf_trace_printk: second 9\n"),
                  std::string::npos)
            << lines[i];
        EXPECT_EQ(lines[i].back(), '\n');
        EXPECT_EQ(lines[i].find('\n'), lines[i].size() - 1);
    }
    EXPECT_TRUE(drain().empty());
}

TEST_F(TraceTest, prints_nothing_for_a_bad_format) {
    Program& prints = domain.load({domain.wide_value(R1, constant("%e\n"), 0), set(R2, 4),
                                   call(BPF_FUNC_trace_printk), leave()});
    EXPECT_EQ(domain.run(prints), static_cast<std::uint64_t>(-EINVAL));
    EXPECT_TRUE(drain().empty());
    domain.expect_fault(domain.load({set(R1, 0), set(R2, 4), call(BPF_FUNC_trace_printk), leave()}),
                        FaultKind::bad_argument, 2);
}

TEST_F(TraceTest, counts_lines_that_found_no_room_and_says_so) {
    Program& prints = domain.load({domain.wide_value(R1, constant("x"), 0), set(R2, 2),
                                   call(BPF_FUNC_trace_printk), leave()});
    for (std::uint32_t i = 0; i < TraceRing::kLines + 3; ++i) {
        EXPECT_EQ(domain.run(prints), 1u);
    }
    const std::vector<std::string> lines = drain();
    ASSERT_EQ(lines.size(), TraceRing::kLines + 1);
    EXPECT_EQ(lines.back(), "taskwork: 3 lines of trace were dropped\n");
    EXPECT_TRUE(drain().empty());
    EXPECT_EQ(domain.run(prints), 1u);
    EXPECT_EQ(drain().size(), 1u);
}

}  // namespace
}  // namespace taskwork::bpf
