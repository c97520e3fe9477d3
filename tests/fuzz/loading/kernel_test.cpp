// SPDX-License-Identifier: Apache-2.0
//
// Malformed tables, all written by hand, given to the kernel: what it says is what ours must say.
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "../../reference/kernel.hpp"
#include "uapi/btf_check.hpp"
#include "uapi/test_malformed.hpp"
#include "uapi/test_tables.hpp"

namespace taskwork::uapi {
namespace {

long kernel_bpf(int command, union bpf_attr& attr) {
    const long result = syscall(SYS_bpf, command, &attr, sizeof attr);
    return result < 0 ? -errno : result;
}

class MalformedTypesInTheKernel : public testing::TestWithParam<MalformedBtf> {};

TEST_P(MalformedTypesInTheKernel, are_refused_as_here_word_for_word) {
    if (const std::string reason = test::no_reference_because(); !reason.empty()) {
        GTEST_SKIP() << "not here: " << reason;
    }
    const MalformedBtf& types = GetParam();
    std::vector<char> said(1 << 20);
    union bpf_attr attr;
    std::memset(&attr, 0, sizeof attr);
    attr.btf = reinterpret_cast<std::uintptr_t>(types.bytes.data());
    attr.btf_size = static_cast<std::uint32_t>(types.bytes.size());
    attr.btf_log_level = 1;
    attr.btf_log_buf = reinterpret_cast<std::uintptr_t>(said.data());
    attr.btf_log_size = static_cast<std::uint32_t>(said.size());
    const long result = kernel_bpf(BPF_BTF_LOAD, attr);
    if (result >= 0) {
        close(static_cast<int>(result));
    }
    std::string ours;
    const int error = check_btf(types.bytes, &ours);
    if (!types.difference.empty()) {
        EXPECT_NE(ours, said.data()) << "no difference";
        return;
    }
    EXPECT_EQ(std::min(result, 0L), error);
    EXPECT_EQ(said.data(), ours);
}

INSTANTIATE_TEST_SUITE_P(Btf, MalformedTypesInTheKernel, testing::ValuesIn(malformed_btf()),
                         [](const auto& parameter) { return parameter.param.name; });

class MalformedTablesInTheKernel : public testing::TestWithParam<MalformedTables> {};

TEST_P(MalformedTablesInTheKernel, are_refused_with_the_same_cause) {
    if (const std::string reason = test::no_reference_because(); !reason.empty()) {
        GTEST_SKIP() << "not here: " << reason;
    }
    ProgramTables tables = right_tables();
    GetParam().change(tables);
    const LoadResult result = load_with_tables(tables);
    EXPECT_EQ(result.error, -GetParam().error) << result.log;
    // Where it has no words for it there are statistics only, or nothing.
    EXPECT_TRUE(result.log.starts_with(GetParam().message)) << result.log;
}

INSTANTIATE_TEST_SUITE_P(Programs, MalformedTablesInTheKernel,
                         testing::ValuesIn(malformed_tables()),
                         [](const auto& parameter) { return parameter.param.name; });

}  // namespace
}  // namespace taskwork::uapi
