// SPDX-License-Identifier: Apache-2.0
//
// A program of two functions with its func_info and line_info, right and wrong in each way that
// there is, with the errno and the words by which it is refused. Held against ours by
// tables_wrapped_test.cpp, and against the kernel's by tests/fuzz/loading/kernel_test.cpp: there
// syscall() is what it says.
#pragma once

#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "uapi/test_malformed.hpp"

namespace taskwork::uapi {

struct ProgramTables {
    /// Words a record, so that records may be longer than the headers know.
    std::vector<std::vector<std::uint32_t>> functions;
    std::vector<std::vector<std::uint32_t>> lines;
    std::uint32_t function_bytes = 8;
    std::uint32_t line_bytes = 16;
    std::uint32_t function_count = 0;  ///< 0: as many as there are.
    std::uint32_t line_count = 0;
    bool has_types = true;
    bool readable = true;  ///< Whether there is memory where the tables are said to be.
};

struct LoadResult {
    long error = 0;  ///< Negative errno, or 0.
    std::string log;
    std::uint32_t function_bytes = 0;  ///< As attr has them afterwards.
    std::uint32_t line_bytes = 0;
};

/// Offsets of names that the tables may use.
struct TableNames {
    static constexpr std::uint32_t kFile = 5;  ///< Behind "\0int\0".
    static constexpr std::uint32_t kMain = 12;
    static constexpr std::uint32_t kCallee = 20;
    static constexpr std::uint32_t kNowhere = 1000;
};

/// 1: int; 3: the first function; 4: the second; 5: nothing.
inline std::vector<std::byte> types_of_tables() {
    RawBtf btf;
    btf.integer();
    btf.name("file.c");
    const std::uint32_t prototype = btf.type("", BTF_KIND_FUNC_PROTO, 0, 1);
    btf.type("program", BTF_KIND_FUNC, BTF_FUNC_STATIC, prototype);
    btf.type("callee", BTF_KIND_FUNC, BTF_FUNC_STATIC, prototype);
    return btf.bytes();
}

inline ProgramTables right_tables() {
    ProgramTables tables;
    tables.functions = {{0, 3}, {4, 4}};
    tables.lines = {{0, TableNames::kFile, TableNames::kMain, 1 << 10},
                    {4, TableNames::kFile, TableNames::kCallee, 2 << 10}};
    return tables;
}

/// Loads `return callee();`, a wide constant in the first function.
inline LoadResult load_with_tables(const ProgramTables& tables) {
    const bpf_insn insns[] = {
        {.code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
        {.code = 0, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
        {.code = BPF_JMP | BPF_CALL, .dst_reg = 0, .src_reg = 1, .off = 0, .imm = 1},
        {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
        {.code = BPF_ALU64 | BPF_MOV, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
        {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
    const std::vector<std::byte> types = types_of_tables();
    union bpf_attr load_types;
    std::memset(&load_types, 0, sizeof load_types);
    load_types.btf = reinterpret_cast<std::uintptr_t>(types.data());
    load_types.btf_size = static_cast<std::uint32_t>(types.size());
    const long types_fd = syscall(SYS_bpf, BPF_BTF_LOAD, &load_types, sizeof load_types);

    const auto flat = [](const std::vector<std::vector<std::uint32_t>>& records) {
        std::vector<std::uint32_t> words;
        for (const std::vector<std::uint32_t>& record : records) {
            words.insert(words.end(), record.begin(), record.end());
        }
        return words;
    };
    const std::vector<std::uint32_t> functions = flat(tables.functions);
    const std::vector<std::uint32_t> lines = flat(tables.lines);
    std::vector<char> said(1 << 16);
    const auto address = [&tables](const void* data) {
        return tables.readable ? reinterpret_cast<std::uintptr_t>(data) : std::uintptr_t{8};
    };
    const auto count = [](std::uint32_t wanted, std::size_t have) {
        return wanted == 0 ? static_cast<std::uint32_t>(have) : wanted;
    };
    union bpf_attr attr;
    std::memset(&attr, 0, sizeof attr);
    attr.prog_type = BPF_PROG_TYPE_SYSCALL;
    attr.prog_flags = BPF_F_SLEEPABLE;
    attr.insns = reinterpret_cast<std::uintptr_t>(insns);
    attr.insn_cnt = std::size(insns);
    attr.license = reinterpret_cast<std::uintptr_t>("GPL");
    attr.log_level = 1;
    attr.log_buf = reinterpret_cast<std::uintptr_t>(said.data());
    attr.log_size = static_cast<std::uint32_t>(said.size());
    attr.prog_btf_fd = tables.has_types ? static_cast<std::uint32_t>(types_fd) : 0;
    attr.func_info = address(functions.data());
    attr.func_info_cnt = count(tables.function_count, tables.functions.size());
    attr.func_info_rec_size = tables.function_bytes;
    attr.line_info = address(lines.data());
    attr.line_info_cnt = count(tables.line_count, tables.lines.size());
    attr.line_info_rec_size = tables.line_bytes;

    LoadResult result;
    result.error = syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof attr);
    if (result.error < 0) {
        result.error = -errno;
    } else {
        close(static_cast<int>(result.error));
        result.error = 0;
    }
    close(static_cast<int>(types_fd));
    result.log = said.data();
    result.function_bytes = attr.func_info_rec_size;
    result.line_bytes = attr.line_info_rec_size;
    return result;
}

struct MalformedTables {
    std::string name;
    int error;            ///< Positive; 0: right.
    std::string message;  ///< A line of the log; empty: the kernel has none.
    std::function<void(ProgramTables&)> change;
};

inline std::vector<MalformedTables> malformed_tables() {
    using Tables = ProgramTables;
    return {
        {"nothing_wrong", 0, "", [](Tables&) {}},
        {"no_functions", 0, "", [](Tables& t) { t.functions.clear(); }},
        {"no_lines", 0, "", [](Tables& t) { t.lines.clear(); }},
        {"functions_without_types", EINVAL, "", [](Tables& t) { t.has_types = false; }},
        {"functions_that_cannot_be_read", EFAULT, "", [](Tables& t) { t.readable = false; }},
        {"function_records_of_0_bytes", EINVAL, "invalid func info rec size 0",
         [](Tables& t) { t.function_bytes = 0; }},
        {"function_records_of_4_bytes", EINVAL, "invalid func info rec size 4",
         [](Tables& t) { t.function_bytes = 4; }},
        {"function_records_of_9_bytes", EINVAL, "invalid func info rec size 9",
         [](Tables& t) { t.function_bytes = 9; }},
        {"function_records_of_256_bytes", EINVAL, "invalid func info rec size 256",
         [](Tables& t) { t.function_bytes = 256; }},
        {"function_records_of_a_negative_size", EINVAL, "invalid func info rec size 4294967288",
         [](Tables& t) { t.function_bytes = static_cast<std::uint32_t>(-8); }},
        {"longer_function_records_with_zeros", 0, "",
         [](Tables& t) {
             t.functions = {{0, 3, 0}, {4, 4, 0}};
             t.function_bytes = 12;
         }},
        {"longer_function_records_with_more", E2BIG, "nonzero tailing record in func info",
         [](Tables& t) {
             t.functions = {{0, 3, 0}, {4, 4, 1}};
             t.function_bytes = 12;
         }},
        {"first_function_not_at_the_beginning", EINVAL,
         "nonzero insn_off 1 for the first func info record",
         [](Tables& t) { t.functions[0][0] = 1; }},
        {"functions_not_ascending", EINVAL,
         "same or smaller insn offset (0) than previous func info record (0)",
         [](Tables& t) { t.functions[1][0] = 0; }},
        {"function_of_a_type_id_out_of_range", EINVAL, "invalid type id 5 in func info",
         [](Tables& t) { t.functions[1][1] = 5; }},
        {"function_of_a_negative_type_id", EINVAL, "invalid type id -1 in func info",
         [](Tables& t) { t.functions[1][1] = 0xffffffff; }},
        {"function_of_a_type_that_is_none", EINVAL, "invalid type id 1 in func info",
         [](Tables& t) { t.functions[1][1] = 1; }},
        {"one_function_of_two", EINVAL,
         "number of funcs in func_info doesn't match number of subprogs",
         [](Tables& t) { t.functions.pop_back(); }},
        {"three_functions_of_two", EINVAL,
         "number of funcs in func_info doesn't match number of subprogs",
         [](Tables& t) { t.functions.push_back({5, 4}); }},
        {"function_not_at_the_start_of_one", EINVAL,
         "func_info BTF section doesn't match subprog layout in BPF program",
         [](Tables& t) { t.functions[1][0] = 5; }},
        {"function_behind_the_program", EINVAL,
         "func_info BTF section doesn't match subprog layout in BPF program",
         [](Tables& t) { t.functions[1][0] = 0xffffffff; }},
        {"line_records_of_12_bytes", EINVAL, "", [](Tables& t) { t.line_bytes = 12; }},
        {"line_records_of_18_bytes", EINVAL, "", [](Tables& t) { t.line_bytes = 18; }},
        {"line_records_of_256_bytes", EINVAL, "", [](Tables& t) { t.line_bytes = 256; }},
        {"longer_line_records_with_more", E2BIG, "nonzero tailing record in line_info",
         [](Tables& t) {
             t.lines[0].push_back(7);
             t.lines[1].push_back(0);
             t.line_bytes = 20;
         }},
        {"lines_not_ascending", EINVAL,
         "Invalid line_info[1].insn_off:0 (prev_offset:0 prog->len:6)",
         [](Tables& t) { t.lines[1][0] = 0; }},
        {"line_behind_the_program", EINVAL,
         "Invalid line_info[1].insn_off:6 (prev_offset:0 prog->len:6)",
         [](Tables& t) { t.lines[1][0] = 6; }},
        {"line_at_a_negative_offset", EINVAL,
         "Invalid line_info[0].insn_off:4294967295 (prev_offset:0 prog->len:6)",
         [](Tables& t) { t.lines[0][0] = 0xffffffff; }},
        {"line_inside_a_wide_instruction", EINVAL, "Invalid insn code at line_info[1].insn_off",
         [](Tables& t) { t.lines[1][0] = 1; }},
        {"line_whose_text_is_out_of_range", EINVAL,
         "Invalid line_info[0].line_off or .file_name_off",
         [](Tables& t) { t.lines[0][2] = TableNames::kNowhere; }},
        {"line_whose_file_is_out_of_range", EINVAL,
         "Invalid line_info[1].line_off or .file_name_off",
         [](Tables& t) { t.lines[1][1] = TableNames::kNowhere; }},
        {"no_line_of_the_first_function", EINVAL, "missing bpf_line_info for func#0",
         [](Tables& t) { t.lines[0][0] = 2; }},
        {"no_line_of_the_second_function", EINVAL,
         "missing bpf_line_info for 1 funcs starting from func#1",
         [](Tables& t) { t.lines.pop_back(); }},
        {"no_line_at_the_start_of_the_second_function", EINVAL, "missing bpf_line_info for func#1",
         [](Tables& t) { t.lines[1][0] = 5; }},
    };
}

}  // namespace taskwork::uapi
