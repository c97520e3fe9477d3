// SPDX-License-Identifier: Apache-2.0
//
// func_info and line_info of BPF_PROG_LOAD, and BTF through BPF_BTF_LOAD: what is wrong is refused
// by name, and costs neither time nor memory.
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "uapi/test_host.hpp"
#include "uapi/test_tables.hpp"

namespace taskwork::uapi {
namespace {

/// A line of the log.
bool has_line(const std::string& log, const std::string& line) {
    return ("\n" + log).find("\n" + line + "\n") != std::string::npos;
}

class MalformedTablesOfPrograms : public HostTest,
                                  public testing::WithParamInterface<MalformedTables> {};

TEST_P(MalformedTablesOfPrograms, are_refused_with_the_cause) {
    ProgramTables tables = right_tables();
    GetParam().change(tables);
    const LoadResult result = load_with_tables(tables);
    EXPECT_EQ(result.error, -GetParam().error) << result.log;
    if (!GetParam().message.empty()) {
        EXPECT_TRUE(has_line(result.log, GetParam().message)) << result.log;
        EXPECT_NE(last_diagnosis().find(GetParam().message), std::string::npos) << last_diagnosis();
    }
}

INSTANTIATE_TEST_SUITE_P(Programs, MalformedTablesOfPrograms, testing::ValuesIn(malformed_tables()),
                         [](const auto& parameter) { return parameter.param.name; });

class Tables : public HostTest {
protected:
    static long load_types(const std::vector<std::byte>& types, std::string* log = nullptr) {
        std::vector<char> said(1 << 16);
        union bpf_attr attr;
        std::memset(&attr, 0, sizeof attr);
        attr.btf = reinterpret_cast<std::uintptr_t>(types.data());
        attr.btf_size = static_cast<std::uint32_t>(types.size());
        if (log != nullptr) {
            attr.btf_log_level = 1;
            attr.btf_log_buf = reinterpret_cast<std::uintptr_t>(said.data());
            attr.btf_log_size = static_cast<std::uint32_t>(said.size());
        }
        const long result = syscall(SYS_bpf, BPF_BTF_LOAD, &attr, sizeof attr);
        if (log != nullptr) {
            *log = said.data();
        }
        return result < 0 ? -errno : result;
    }
};

TEST_F(Tables, tell_the_caller_how_long_records_are_here_when_his_have_more_in_them) {
    ProgramTables tables = right_tables();
    tables.functions = {{0, 3, 7}, {4, 4, 7}};
    tables.function_bytes = 12;
    EXPECT_EQ(load_with_tables(tables).function_bytes, 8u);
    tables = right_tables();
    tables.lines[0].push_back(7);
    tables.lines[1].push_back(7);
    tables.line_bytes = 20;
    EXPECT_EQ(load_with_tables(tables).line_bytes, 16u);
}

// Each was copied by a system call of its own, and room was made for as many as were said to be.
TEST_F(Tables, of_more_records_than_instructions_are_not_read_to_the_end) {
    ProgramTables tables = right_tables();
    tables.line_count = UINT32_MAX;
    tables.lines.resize(2);
    LoadResult result = load_with_tables(tables);
    EXPECT_TRUE(result.error == -EINVAL || result.error == -EFAULT) << result.error;
    tables = right_tables();
    for (std::uint32_t i = 5; i < 4096; ++i) {
        tables.functions.push_back({i, 3});
    }
    result = load_with_tables(tables);
    EXPECT_EQ(result.error, -EINVAL);
    EXPECT_TRUE(
        has_line(result.log, "number of funcs in func_info doesn't match number of subprogs"));
}

// btf__new() of libbpf takes types that refer to what there is not; a value's special field could
// lie behind the value.
TEST_F(Tables, of_types_that_are_malformed_are_refused_by_name) {
    for (const MalformedBtf& types : malformed_btf()) {
        std::string log;
        const long result = load_types(types.bytes, &log);
        if (types.error == 0) {
            EXPECT_GE(result, 0) << types.name << ": " << log;
            close(static_cast<int>(result));
        } else {
            EXPECT_EQ(result, -types.error) << types.name << ": " << log;
            EXPECT_NE(log.find(types.message), std::string::npos) << types.name << ": " << log;
        }
    }
}

TEST_F(Tables, of_types_without_a_log_are_refused_by_name_too) {
    RawBtf btf;
    btf.integer();
    btf.type("t", BTF_KIND_TYPEDEF, 0, 2);
    EXPECT_EQ(load_types(btf.bytes()), -EEXIST);
    EXPECT_NE(last_diagnosis().find("[2] TYPEDEF t type_id=2 Loop detected"), std::string::npos)
        << last_diagnosis();
}

/// 24 structs, each of which holds the next one twice: 2^24 ints.
void add_doubling_structs(RawBtf& btf) {
    std::uint32_t inner = 1;
    for (std::uint32_t depth = 1; depth <= 24; ++depth) {
        const std::uint32_t inner_bits = 32U << (depth - 1);
        inner = btf.type("", BTF_KIND_STRUCT, 2, 4U << depth, {0, inner, 0, 0, inner, inner_bits});
    }
}

// Each struct with a lock was searched anew, up to a million fields deep.
TEST_F(Tables, of_many_structs_with_locks_and_millions_of_fields_are_refused_at_a_bound) {
    RawBtf btf;
    btf.integer();
    add_doubling_structs(btf);
    const std::uint32_t large = btf.last_id;
    const std::uint32_t lock =
        btf.type("bpf_spin_lock", BTF_KIND_STRUCT, 1, 4, {btf.name("val"), 1, 0});
    for (unsigned i = 0; i < 2000; ++i) {
        btf.type("", BTF_KIND_STRUCT, 2, (4U << 24) + 4, {0, lock, 0, 0, large, 32});
    }
    const std::uint64_t start = platform::now_ns();
    EXPECT_EQ(load_types(btf.bytes()), -E2BIG);
    EXPECT_LT(platform::now_ns() - start, 20'000'000'000u);  // 2 G fields take minutes
}

}  // namespace
}  // namespace taskwork::uapi
