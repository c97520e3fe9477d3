// SPDX-License-Identifier: Apache-2.0
#include "cli/processes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace taskwork::cli {
namespace {

using Kind = FamilyRecord::Kind;
using ::testing::HasSubstr;

// Pids that no machine gives out, so that /proc has nothing to say of them.
constexpr pid_t kParent = 2'000'000'001;
constexpr pid_t kChild = 2'000'000'002;
constexpr std::uint64_t kSecond = 1'000'000'000;

FamilyRecord forked(pid_t pid, pid_t parent, std::uint64_t time) {
    FamilyRecord record;
    record.kind = Kind::forked;
    record.pid = pid;
    record.parent = parent;
    record.time_ns = time;
    return record;
}
FamilyRecord execed(pid_t pid, const char* name, std::uint64_t time) {
    FamilyRecord record;
    record.kind = Kind::execed;
    record.pid = pid;
    record.time_ns = time;
    record.text = name;
    return record;
}
FamilyRecord mapped(pid_t pid, const char* path, std::uint64_t time) {
    FamilyRecord record;
    record.kind = Kind::mapped;
    record.pid = pid;
    record.time_ns = time;
    record.start = 0x1000;
    record.end = 0x3000;
    record.offset = 0x1000;
    record.text = path;
    return record;
}
FamilyRecord exited(pid_t pid, std::uint64_t time) {
    FamilyRecord record;
    record.kind = Kind::exited;
    record.pid = pid;
    record.time_ns = time;
    return record;
}

TEST(Processes, a_program_that_ran_and_did_not_join_is_not_entered) {
    Processes processes;
    processes.apply(forked(kChild, kParent, 1));
    processes.apply(execed(kChild, "ldconfig", 2));
    processes.apply(mapped(kChild, "/sbin/ldconfig", 3));
    processes.apply(exited(kChild, 4));
    const std::vector<NotEntered> list = processes.not_entered();
    ASSERT_EQ(list.size(), 1u);
    EXPECT_EQ(list[0].pid, kChild);
    EXPECT_EQ(list[0].command, "ldconfig");
    EXPECT_EQ(list[0].reason, "statically linked");
}

TEST(Processes, a_child_on_its_way_to_exec_is_no_program_of_its_own) {
    Processes processes;
    processes.apply(forked(kChild, kParent, 1));
    processes.apply(exited(kChild, 100));
    EXPECT_TRUE(processes.not_entered().empty());
}

// The child of a vfork on a loaded machine.
TEST(Processes, a_child_that_comes_to_its_exec_late_is_no_program_of_its_own) {
    Processes processes;
    processes.apply(forked(kChild, kParent, 1));
    processes.apply(execed(kChild, "true", kSecond));
    processes.joined(kChild, "true", kSecond + 1);
    EXPECT_TRUE(processes.not_entered().empty());
}

TEST(Processes, a_child_that_lives_on_without_joining_is_not_entered) {
    Processes processes;
    processes.apply(forked(kChild, kParent, 1));
    processes.apply(exited(kChild, kSecond));
    ASSERT_EQ(processes.not_entered().size(), 1u);
    EXPECT_EQ(processes.not_entered()[0].reason, "it did not join");
}

TEST(Processes, a_program_of_which_nothing_more_is_told_took_other_credentials) {
    Processes processes;
    processes.apply(forked(kChild, kParent, 1));
    processes.apply(execed(kChild, "su", 2));
    ASSERT_EQ(processes.not_entered().size(), 1u);
    EXPECT_EQ(processes.not_entered()[0].command, "su");
    EXPECT_EQ(processes.not_entered()[0].reason, "it took other credentials");
}

TEST(Processes, a_forked_child_has_the_modules_of_its_parent) {
    Processes processes;
    processes.apply(execed(kParent, "sh", 1));
    processes.apply(mapped(kParent, "/bin/sh", 2));
    processes.joined(kParent, "sh", 3);
    processes.apply(forked(kChild, kParent, 4));
    processes.joined(kChild, "sh", 5);
    ASSERT_EQ(processes.members().size(), 2u);
    EXPECT_TRUE(processes.not_entered().empty());
    for (const ProcessReport& member : processes.members()) {
        const Module* module = find_module(member.modules, 0x2fff);
        ASSERT_NE(module, nullptr);
        EXPECT_EQ(module->path, "/bin/sh");
        EXPECT_EQ(find_module(member.modules, 0x3000), nullptr);
    }
}

TEST(Processes, modules_of_the_own_process_hold_its_code) {
    const std::vector<Module> modules = read_modules(::getpid());
    const auto here = reinterpret_cast<std::uintptr_t>(&read_modules);
    const Module* module = find_module(modules, here);
    ASSERT_NE(module, nullptr);
    EXPECT_THAT(module->path, HasSubstr("cli_processes_test"));
    EXPECT_TRUE(read_modules(kParent).empty());
}

}  // namespace
}  // namespace taskwork::cli
