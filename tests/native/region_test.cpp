// SPDX-License-Identifier: Apache-2.0
//
// The code region: who can write and run what is in it, and what becomes of memory.
#include "bpf/jit/code_region.hpp"

#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include "tests/native/native_domain.hpp"

namespace taskwork::bpf {
namespace {

using namespace test;
using jit::CodeRegion;

std::uint64_t resident_blocks() {
    struct stat status{};
    EXPECT_EQ(::fstat(sync::Arena::descriptor(), &status), 0);
    return static_cast<std::uint64_t>(status.st_blocks);
}

using RegionTest = NativeTest;

TEST_F(RegionTest, is_executable_and_nowhere_writable) {
    const Program& program = native({set(R0, 7), leave()});
    const auto code = reinterpret_cast<std::uintptr_t>(program.native.code);
    EXPECT_TRUE(CodeRegion::contains(code));
    const std::uint64_t offset = sync::Arena::header().size + (code - CodeRegion::kBase);
    std::ifstream maps("/proc/self/maps");
    unsigned found = 0;
    for (std::string line; std::getline(maps, line);) {
        unsigned long begin = 0;
        unsigned long end = 0;
        unsigned long begin_offset = 0;
        char access[8] = {};
        if (line.find("taskwork-arena") == std::string::npos ||
            std::sscanf(line.c_str(), "%lx-%lx %4s %lx", &begin, &end, access, &begin_offset) !=
                4 ||
            offset < begin_offset || offset - begin_offset >= end - begin) {
            continue;
        }
        ++found;
        EXPECT_STREQ(access, "r-xs") << line;
    }
    EXPECT_EQ(found, 1u);
}

TEST_F(RegionTest, gives_memory_back_with_the_last_program_in_it) {
    const std::uint64_t before = resident_blocks();
    const std::vector<std::byte> code(std::size_t{1} << 20, std::byte{0xcc});
    const std::byte* const first = CodeRegion::place(code.data(), code.size());
    const std::byte* const second = CodeRegion::place(code.data(), 100);
    ASSERT_NE(first, nullptr);
    ASSERT_NE(second, nullptr);
    EXPECT_EQ(second - first, static_cast<std::ptrdiff_t>(code.size()));
    EXPECT_EQ(std::memcmp(first, code.data(), code.size()), 0);
    EXPECT_GE(resident_blocks(), before + (code.size() >> 9));
    CodeRegion::release(first, code.size());
    CodeRegion::release(second, 100);
    EXPECT_LE(resident_blocks(), before + 8);
    // And the place is as whole as it was.
    EXPECT_EQ(CodeRegion::place(code.data(), code.size()), first);
    CodeRegion::release(first, code.size());
}

TEST_F(RegionTest, is_full_at_its_end_and_programs_are_interpreted_then) {
    const std::vector<std::byte> code(CodeRegion::kBytes);
    EXPECT_EQ(CodeRegion::place(code.data(), code.size() + 1), nullptr);
    const std::byte* const all = CodeRegion::place(code.data(), code.size());
    ASSERT_NE(all, nullptr);
    EXPECT_EQ(CodeRegion::place(code.data(), 1), nullptr);
    Program& program = domain.load(spec(), {set(R0, 7), leave()});
    EXPECT_EQ(program.native.code, nullptr);
    EXPECT_EQ(run(program), 7u);
    CodeRegion::release(all, code.size());
}

TEST_F(RegionTest, code_is_freed_with_its_program) {
    Program& program = native({set(R0, 7), leave()});
    const std::byte* const code = program.native.code;
    BpfDomain::unload(program);
    EXPECT_EQ(native({set(R0, 8), leave()}).native.code, code);
}

TEST_F(RegionTest, code_stays_for_an_execution_that_is_under_way) {
    Program& program = native({set(R0, 7), leave()});
    const std::byte* const code = program.native.code;
    {
        const task::ReadSection section(*task::current(), sync::Flavour::sleepable);
        put_program(program);
        // A grace period cannot end here: the next program stands elsewhere.
        EXPECT_NE(native({set(R0, 8), leave()}).native.code, code);
        EXPECT_EQ(program.native.code, code);
    }
}

TEST_F(RegionTest, a_member_that_joins_finds_the_code_at_the_same_address) {
    const Program& program = native({set(R0, 7), leave()});
    const std::byte first = *program.native.code;
    CodeRegion::unmap();
    EXPECT_FALSE(CodeRegion::usable());
    EXPECT_EQ(CodeRegion::map(sync::Arena::descriptor()), no_error);
    EXPECT_TRUE(CodeRegion::usable());
    EXPECT_EQ(*program.native.code, first);
}

// ---- A segment, for perf ------------------------------------------------------------------------

struct AsksForNames {
    AsksForNames() { ::setenv("TASKWORK_PERF_MAP", "1", 1); }
    ~AsksForNames() { ::unsetenv("TASKWORK_PERF_MAP"); }
};
/// The environment is read when the region is made.
class SegmentTest : AsksForNames, public RegionTest {};

TEST_F(SegmentTest, is_executable_and_nowhere_writable_and_no_file_to_perf) {
    Program& program = native({set(R0, 7), leave()});
    EXPECT_EQ(run(program), 7u);
    const auto code = reinterpret_cast<std::uintptr_t>(program.native.code);
    std::ifstream maps("/proc/self/maps");
    unsigned found = 0;
    for (std::string line; std::getline(maps, line);) {
        if (line.find("/SYSV") != std::string::npos) {
            ++found;
            EXPECT_EQ(std::strtoull(line.c_str(), nullptr, 16), CodeRegion::kBase) << line;
            EXPECT_NE(line.find(" r-xs "), std::string::npos) << line;
        }
    }
    EXPECT_EQ(found, 1u);
    EXPECT_TRUE(CodeRegion::contains(code));
}

TEST_F(SegmentTest, gives_whole_pages_back_and_leaves_what_stands_beside_them) {
    const std::vector<std::byte> code(std::size_t{1} << 20, std::byte{0xcc});
    const std::byte* const before = CodeRegion::place(code.data(), 100);
    const std::byte* const first = CodeRegion::place(code.data(), code.size());
    const std::byte* const behind = CodeRegion::place(code.data(), 100);
    ASSERT_NE(behind, nullptr);
    EXPECT_EQ(std::memcmp(first, code.data(), code.size()), 0);
    CodeRegion::release(first, code.size());
    EXPECT_EQ(std::memcmp(before, code.data(), 100), 0);
    EXPECT_EQ(std::memcmp(behind, code.data(), 100), 0);
    // What was there is gone from the middle.
    EXPECT_EQ(first[code.size() / 2], std::byte{0});
    EXPECT_EQ(CodeRegion::place(code.data(), code.size()), first);
    EXPECT_EQ(first[code.size() / 2], std::byte{0xcc});
}

TEST_F(SegmentTest, is_found_by_a_member_and_by_nobody_else_s) {
    Program& program = native({set(R0, 7), leave()});
    std::uint64_t note[2] = {};
    const auto behind = static_cast<off_t>(sync::Arena::header().size);
    ASSERT_EQ(::pread(sync::Arena::descriptor(), note, sizeof(note), behind),
              static_cast<ssize_t>(sizeof(note)));
    // As the host's mapping does, while a member joins.
    void* const keeps = ::shmat(static_cast<int>(note[1]), nullptr, SHM_RDONLY);
    CodeRegion::unmap();
    EXPECT_EQ(run(program), 7u);
    EXPECT_EQ(CodeRegion::map(sync::Arena::descriptor()), no_error);
    EXPECT_TRUE(CodeRegion::usable());
    EXPECT_EQ(run(program), 7u);
    EXPECT_EQ(::shmdt(keeps), 0);
    // In another IPC namespace the number may be that of any segment.
    CodeRegion::unmap();
    const int other = ::shmget(IPC_PRIVATE, CodeRegion::kBytes, IPC_CREAT | 0700);
    ASSERT_GE(other, 0);
    note[1] = static_cast<std::uint64_t>(other);
    EXPECT_EQ(::pwrite(sync::Arena::descriptor(), note, sizeof(note), behind),
              static_cast<ssize_t>(sizeof(note)));
    EXPECT_EQ(CodeRegion::map(sync::Arena::descriptor()), std::errc::no_such_device_or_address);
    EXPECT_FALSE(CodeRegion::usable());
    EXPECT_EQ(::shmctl(other, IPC_RMID, nullptr), 0);
    EXPECT_EQ(run(program), 7u);
}

TEST_F(RegionTest, a_process_without_it_interprets) {
    Program& program = native({set(R0, 7), leave()});
    CodeRegion::unmap();
    EXPECT_EQ(run(program), 7u);
    ::setenv("TASKWORK_JIT", "off", 1);
    EXPECT_EQ(CodeRegion::map(sync::Arena::descriptor()), std::errc::operation_canceled);
    EXPECT_EQ(CodeRegion::create(), std::errc::operation_canceled);
    ::unsetenv("TASKWORK_JIT");
    EXPECT_EQ(run(program), 7u);
    EXPECT_EQ(domain.load(spec(), {set(R0, 7), leave()}).native.code, nullptr);
}

}  // namespace
}  // namespace taskwork::bpf
