// SPDX-License-Identifier: Apache-2.0
//
// The programs of tests/bpf/spin_locks.bpf.c on the real kernel: what the table says of them is so.

#include "tests/bpf/spin_locks.hpp"

#include <gtest/gtest.h>

#include "kernel.hpp"

namespace taskwork::test {
namespace {

class SpinLocksOfTheKernel : public testing::TestWithParam<LockProgram> {};

TEST_P(SpinLocksOfTheKernel, do_what_the_table_says) {
    if (const std::string reason = no_reference_because(); !reason.empty()) {
        GTEST_SKIP() << "not here: " << reason;
    }
    const LockProgram& program = GetParam();
    const LockObject object(program);
    if (program.refused == nullptr) {
        ASSERT_EQ(object.load_error(), 0) << object.log();
        EXPECT_EQ(object.run(), program.result);
        return;
    }
    EXPECT_EQ(object.load_error(), program.error);
    EXPECT_NE(object.log().find(program.refused), std::string::npos) << object.log();
}

INSTANTIATE_TEST_SUITE_P(Programs, SpinLocksOfTheKernel, testing::ValuesIn(kLockPrograms),
                         [](const auto& parameter) { return std::string(parameter.param.name); });

}  // namespace
}  // namespace taskwork::test
