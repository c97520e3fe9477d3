// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cerrno>
#include <cstdio>
#include <map>
#include <memory>
#include <set>
#include <string>

#include <gmock/gmock.h>

#include "bpf/kernel_btf/task_struct.h"
#include "bpf/task_view.hpp"
#include "bpf/test_program.hpp"

namespace taskwork::bpf {
namespace {

using namespace test;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// ---- The code -----------------------------------------------------------------------------------

/// Which of Machine's questions about what a program may touch are asked, by object file.
std::map<std::string, std::set<std::string>> questions(const std::string& files) {
    const std::string command = TASKWORK_TEST_NM " -C --undefined-only " + files;
    const std::unique_ptr<FILE, int (*)(FILE*)> lines(::popen(command.c_str(), "r"), ::pclose);
    std::map<std::string, std::set<std::string>> found;
    std::string object;
    std::array<char, 4096> buffer{};
    while (std::fgets(buffer.data(), buffer.size(), lines.get()) != nullptr) {
        std::string line = buffer.data();
        line.erase(line.find_last_not_of("\n") + 1);
        if (line.ends_with(".o:")) {
            object = line.substr(line.rfind('/') + 1);
            object.resize(object.find('.'));
            found[object];
            continue;
        }
        for (const char* name : {"may_access_elsewhere", "map_of", "is_function", "find_lock"}) {
            if (line.find(std::string("Machine::") + name + "(") != std::string::npos) {
                found[object].insert(name);
            }
        }
    }
    return found;
}

constexpr const char* kProven[] = {"interpreter", "helper_call",   "helpers_map", "helpers_task",
                                   "kfuncs",      "helpers_print", "spin_locks"};

TEST(Shipped, code_that_runs_programs_asks_nothing_that_is_proven) {
    auto shipped = questions(TASKWORK_TEST_SHIPPED);
    for (const char* object : kProven) {
        ASSERT_TRUE(shipped.contains(object)) << object;
        EXPECT_THAT(shipped[object], IsEmpty()) << object;
    }
    // Of an address that a program makes up, nobody can say before what it is the address of.
    EXPECT_THAT(shipped["helpers_memory"], Contains("may_access_elsewhere"));

    auto checking = questions(TASKWORK_TEST_CHECKING);
    EXPECT_THAT(checking["interpreter"], Contains("may_access_elsewhere"));
    EXPECT_THAT(checking["helpers_map"], Contains("map_of"));
    EXPECT_THAT(checking["kfuncs"], Contains("is_function"));
    EXPECT_THAT(checking["spin_locks"], Contains("find_lock"));
}

// ---- Programs -----------------------------------------------------------------------------------

class ShippedTest : public ::testing::Test {
protected:
    LoadSpec spec(std::uint32_t type = BPF_PROG_TYPE_PERF_EVENT) const {
        LoadSpec spec = domain.spec();
        spec.unverified = false;
        spec.type = type;
        spec.flags = type == BPF_PROG_TYPE_SYSCALL ? BPF_F_SLEEPABLE : 0;
        return spec;
    }

    BpfDomain domain;
};

TEST_F(ShippedTest, a_program_that_nobody_verifies_is_not_loaded) {
    LoadSpec unverified = spec();
    unverified.unverified = true;
    const auto loaded = domain.try_load(unverified, {set(R0, 0), leave()});
    ASSERT_FALSE(loaded.has_value());
    EXPECT_EQ(loaded.error().code, std::errc::invalid_argument);
    EXPECT_THAT(loaded.error().text, HasSubstr("not verified"));
    EXPECT_TRUE(domain.try_load(spec(), {set(R0, 0), leave()}).has_value());
    EXPECT_FALSE(domain.try_load(spec(), {load(BPF_DW, R0, R1, 400), leave()}).has_value());
}

TEST_F(ShippedTest, fields_behind_a_null_pointer_of_a_task_are_0) {
    const auto of_task = [](std::size_t offset) { return static_cast<int>(offset); };
    task_struct& self = task_view(*task::current());
    const task_struct before = self;
    // Unsigned, sign-extended and acquiring loads; and a pointer that is behind one.
    Program& program = domain.load(
        spec(), {call(BPF_FUNC_get_current_task_btf),
                 load(BPF_DW, R6, R0, of_task(offsetof(task_struct, parent))),
                 load(BPF_W, R7, R6, of_task(offsetof(task_struct, pid))),
                 load_signed(BPF_W, R8, R6, of_task(offsetof(task_struct, pid))),
                 alu(BPF_ADD, R7, R8), load(BPF_DW, R8, R6, of_task(offsetof(task_struct, mm))),
                 load(BPF_DW, R8, R8, of_task(offsetof(mm_struct, arg_start))),
                 alu(BPF_ADD, R7, R8), load(BPF_DW, R8, R6, of_task(offsetof(task_struct, parent))),
                 load(BPF_W, R8, R8, of_task(offsetof(task_struct, tgid))), alu(BPF_ADD, R7, R8),
                 make(BPF_STX | kModeAtomic | BPF_W, R8, R6, of_task(offsetof(task_struct, tgid)),
                      kAtomicLoadAcquire),
                 alu(BPF_ADD, R7, R8), copy(R0, R7), leave()});
    self.parent = nullptr;
    EXPECT_EQ(domain.run(program), 0u);
    EXPECT_EQ(domain.run_in_nmi(program), 0u);
    EXPECT_FALSE(domain.execution.faulted);

    // What stands for a parent outside has no memory.
    task_struct& outside = process_view(*task::current()).outside_parent;
    const task_struct outside_before = outside;
    outside.pid = -5;
    outside.tgid = 100;
    outside.mm = nullptr;
    outside.parent = nullptr;
    self.parent = &outside;
    EXPECT_EQ(domain.run(program), 0xfffffffbU - std::uint64_t{5} + 100);
    outside = outside_before;
    self = before;
}

TEST_F(ShippedTest, user_memory_that_is_not_there_is_an_error_and_zeros) {
    for (const int helper : {BPF_FUNC_probe_read_user, BPF_FUNC_probe_read_user_str,
                             BPF_FUNC_probe_read, BPF_FUNC_copy_from_user}) {
        Program& program =
            domain.load(spec(BPF_PROG_TYPE_SYSCALL),
                        {store_imm(BPF_DW, R10, -8, -1), copy(R1, R10), add(R1, -8), set(R2, 8),
                         set(R3, 8), call(helper), load(BPF_DW, R1, R10, -8),
                         jump_if(BPF_JEQ, R1, std::int64_t{0}, 1), set(R0, 0), leave()});
        EXPECT_EQ(domain.run(program), negative(EFAULT)) << helper;
        EXPECT_FALSE(domain.execution.faulted);
    }
}

TEST_F(ShippedTest, an_execution_without_end_is_stopped_still) {
    // Rounds of rounds, 2 ** 46 instructions: bpf_loop() in a callback of bpf_loop().
    Program& program = domain.load(spec(), {set(R1, 8 << 20), function(R2, 6), set(R3, 0),
                                            set(R4, 0), call(BPF_FUNC_loop), set(R0, 0), leave(),
                                            // The outer callback,
                                            set(R1, 8 << 20), function(R2, 6), set(R3, 0),
                                            set(R4, 0), call(BPF_FUNC_loop), set(R0, 0), leave(),
                                            // and the inner one.
                                            set(R0, 0), leave()});
    EXPECT_EQ(domain.run_in_nmi(program), 0u);
    EXPECT_TRUE(domain.execution.faulted);
}

}  // namespace
}  // namespace taskwork::bpf
