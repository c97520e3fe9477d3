// SPDX-License-Identifier: Apache-2.0
#include <sys/mman.h>
#include <ucontext.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "bpf/task_view.hpp"
#include "bpf/test_helpers.hpp"

namespace taskwork::bpf {
namespace {

using namespace test;

constexpr std::size_t kPage = 4096;

class MemoryTest : public HelperTest {
protected:
    /// `id`(buffer on the BPF stack of `size` bytes at R10-64, size, R3): result and buffer. The
    /// buffer, 64 bytes, starts as 'x'.
    struct ReadResult {
        std::int64_t result;
        std::string bytes;
    };
    ReadResult read_with(int id, std::uint64_t size, std::uint64_t from) {
        std::vector<Piece> pieces;
        pieces.push_back(wide(R1, 0x7878787878787878));
        for (int i = 1; i <= 8; ++i) {
            pieces.push_back(store(BPF_DW, R10, -8 * i, R1));
        }
        pieces.insert(pieces.end(), {copy(R1, R10), add(R1, -64), wide(R2, size), wide(R3, from),
                                     call(id), leave()});
        const std::uint64_t result = domain.run(domain.load_sleepable(pieces));
        const auto* top =
            reinterpret_cast<const char*>(task::current()->bpf_stack[0]) + kFrameBytes;
        return {static_cast<std::int64_t>(result), std::string(top - 64, 64)};
    }
};

class UserPages {
public:
    UserPages() {
        pages_ = static_cast<char*>(
            mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        munmap(pages_ + kPage, kPage);
        std::memcpy(pages_ + kPage - 4, "edge", 4);
        std::strcpy(pages_, "a string");
    }
    ~UserPages() { munmap(pages_, kPage); }
    UserPages(const UserPages&) = delete;
    UserPages& operator=(const UserPages&) = delete;
    [[nodiscard]] std::uint64_t at(std::size_t offset) const {
        return reinterpret_cast<std::uint64_t>(pages_) + offset;
    }

private:
    char* pages_;
};

TEST_F(MemoryTest, reads_user_memory_and_leaves_zeros_where_it_cannot) {
    const UserPages user;
    for (const int id : {BPF_FUNC_probe_read_user, BPF_FUNC_copy_from_user, BPF_FUNC_probe_read}) {
        SCOPED_TRACE(helper_name(id));
        ReadResult read = read_with(id, 8, user.at(0));
        EXPECT_EQ(read.result, 0);
        EXPECT_EQ(read.bytes.substr(0, 10), "a stringxx");
        read = read_with(id, 8, user.at(kPage - 4));
        EXPECT_EQ(read.result, -EFAULT);
        EXPECT_EQ(read.bytes.substr(0, 10), std::string("\0\0\0\0\0\0\0\0xx", 10));
        EXPECT_EQ(read_with(id, 4, user.at(kPage - 4)).bytes.substr(0, 5), "edgex");
        EXPECT_EQ(read_with(id, 8, 0).result, -EFAULT);
        EXPECT_EQ(read_with(id, 8, 0xffffffff81000000).result, -EFAULT);
        EXPECT_EQ(read_with(id, 0, user.at(kPage)).result, 0);
    }
}

TEST_F(MemoryTest, reads_user_strings) {
    const UserPages user;
    for (const int id : {BPF_FUNC_probe_read_user_str, BPF_FUNC_probe_read_str}) {
        SCOPED_TRACE(helper_name(id));
        ReadResult read = read_with(id, 64, user.at(0));
        EXPECT_EQ(read.result, 9);
        EXPECT_EQ(read.bytes.substr(0, 11), std::string("a string\0xx", 11));
        read = read_with(id, 4, user.at(0));
        EXPECT_EQ(read.result, 4);
        EXPECT_EQ(read.bytes.substr(0, 5), std::string("a s\0x", 5));
        read = read_with(id, 8, user.at(kPage - 4));
        EXPECT_EQ(read.result, -EFAULT);
        EXPECT_EQ(read.bytes.substr(0, 9), std::string("\0\0\0\0\0\0\0\0x", 9));
    }
}

TEST_F(MemoryTest, takes_what_the_program_may_read_for_kernel_memory_and_nothing_else) {
    const UserPages user;
    const std::uint64_t task = reinterpret_cast<std::uint64_t>(task::current()->view);
    const ReadResult pid =
        read_with(BPF_FUNC_probe_read_kernel, 4, task + offsetof(task_struct, pid));
    EXPECT_EQ(pid.result, 0);
    std::int32_t tid = 0;
    std::memcpy(&tid, pid.bytes.data(), sizeof(tid));
    EXPECT_EQ(tid, task::current()->tid);
    EXPECT_EQ(read_with(BPF_FUNC_probe_read_kernel, 8, user.at(0)).result, -ERANGE);
    EXPECT_EQ(read_with(BPF_FUNC_probe_read_kernel, 8, 0).result, -ERANGE);
    EXPECT_EQ(
        read_with(BPF_FUNC_probe_read_kernel, 8, reinterpret_cast<std::uint64_t>(task::current()))
            .result,
        -EFAULT);
    const ReadResult name =
        read_with(BPF_FUNC_probe_read_kernel_str, 16, task + offsetof(task_struct, comm));
    EXPECT_EQ(name.result,
              static_cast<std::int64_t>(std::strlen(task_view(*task::current()).comm) + 1));
    EXPECT_EQ(read_with(BPF_FUNC_probe_read_kernel_str, 8, user.at(0)).result, -ERANGE);
    EXPECT_EQ(read_with(BPF_FUNC_probe_read_user, 4, task).result, -EFAULT);
    // bpf_probe_read finds both.
    EXPECT_EQ(read_with(BPF_FUNC_probe_read, 4, task).result, 0);
    EXPECT_EQ(read_with(BPF_FUNC_probe_read_str, 16, task + offsetof(task_struct, comm)).result,
              name.result);
}

TEST_F(MemoryTest, faults_when_a_destination_is_not_the_programs) {
    for (const int id : {BPF_FUNC_probe_read_user, BPF_FUNC_probe_read_user_str,
                         BPF_FUNC_probe_read_kernel, BPF_FUNC_probe_read_kernel_str,
                         BPF_FUNC_probe_read, BPF_FUNC_probe_read_str, BPF_FUNC_copy_from_user}) {
        SCOPED_TRACE(helper_name(id));
        expect_bad_argument({copy(R1, R10), add(R1, -8), set(R2, 9), set(R3, 0), call(id), leave()},
                            4);
        expect_bad_argument(
            {copy(R1, R10), add(R1, -8), set(R2, -1), set(R3, 0), call(id), leave()}, 4);
        expect_bad_argument({set(R1, 0), set(R2, 8), set(R3, 0), call(id), leave()}, 3);
    }
}

TEST_F(MemoryTest, refuses_helpers_that_sleep_in_nmi) {
    // Reached through a callback in place, which the loader lets through.
    Program& program = domain.load({
        set(R1, 1),
        function(R2, 5),
        set(R3, 0),
        set(R4, 0),
        call(BPF_FUNC_loop),
        leave(),
        copy(R1, R10),
        add(R1, -8),
        set(R2, 8),
        set(R3, 0),
        call(BPF_FUNC_copy_from_user),
        set(R0, 0),
        leave(),
    });
    EXPECT_EQ(domain.run(program), 1u);
    domain.run_in_nmi(program);
    EXPECT_TRUE(domain.execution.faulted);
    EXPECT_EQ(program.last_fault_kind.load(std::memory_order_relaxed),
              static_cast<std::uint64_t>(FaultKind::bad_call));
    EXPECT_EQ(program.last_fault_insn.load(std::memory_order_relaxed), 12u);
}

TEST_F(MemoryTest, compares_strings) {
    map::Map& map = domain.array(16, 1, BPF_F_RDONLY_PROG);
    const std::uint32_t key = 0;
    std::strcpy(static_cast<char*>(map::lookup(map, &key)), "abc");
    const auto compare = [&](std::uint64_t left, std::int64_t size) {
        return static_cast<std::int64_t>(domain.run(domain.load(
            {wide(R1, left), store(BPF_DW, R10, -8, R1), copy(R1, R10), add(R1, -8), set(R2, size),
             domain.wide_value(R3, map, 0), call(BPF_FUNC_strncmp), leave()})));
    };
    EXPECT_EQ(compare(0x636261, 8), 0);
    EXPECT_LT(compare(0x626261, 8), 0);
    EXPECT_GT(compare(0x646261, 8), 0);
    EXPECT_EQ(compare(0x646261, 2), 0);
}

// What a helper does counts as the program's own instructions: a handler's time is bounded.
TEST_F(MemoryTest, stops_helpers_that_would_run_over_large_values_in_a_handler) {
    constexpr std::uint32_t kBytes = 32 << 20;
    map::Map& big = domain.array(kBytes, 1);
    map::Map& same = domain.array(kBytes, 1);
    map::Map& ring = domain.ring(4096);
    const std::uint32_t key = 0;
    for (map::Map* map : {&big, &same}) {
        auto* value = static_cast<char*>(map::lookup(*map, &key));
        std::memset(value, 'a', kBytes - 1);
    }
    const std::vector<std::vector<Piece>> programs = {
        {domain.wide_value(R1, big, 0), set(R2, kBytes), domain.wide_value(R3, same, 0),
         call(BPF_FUNC_strncmp), leave()},
        {domain.wide_value(R1, big, 0), set(R2, kBytes), call(BPF_FUNC_trace_printk), leave()},
        {copy(R1, R10), add(R1, -8), set(R2, 8), domain.wide_value(R3, big, 0), set(R4, 0),
         set(R5, 0), call(BPF_FUNC_snprintf), leave()},
        {store_imm(BPF_W, R10, -4, 0), domain.wide_map(R1, big), copy(R2, R10), add(R2, -4),
         domain.wide_value(R3, same, 0), set(R4, 0), call(BPF_FUNC_map_update_elem), leave()},
        {domain.wide_map(R1, ring), domain.wide_value(R2, big, 0), set(R3, kBytes), set(R4, 0),
         call(BPF_FUNC_ringbuf_output), leave()},
    };
    for (const std::vector<Piece>& pieces : programs) {
        Program& program = domain.load(pieces);
        SCOPED_TRACE(&pieces - programs.data());
        domain.run_in_nmi(program);
        EXPECT_TRUE(domain.execution.faulted);
        EXPECT_EQ(program.last_fault_kind.load(std::memory_order_relaxed),
                  static_cast<std::uint64_t>(FaultKind::too_long));
    }
}

// ---- Stacks -------------------------------------------------------------------------------------

class StackTest : public HelperTest {
protected:
    void SetUp() override {
        // Four frames: 0x1000 called by 0x2000 called by 0x3000 called by 0x4000.
        registers_.uc_mcontext.gregs[REG_RIP] = 0x1000;
        registers_.uc_mcontext.gregs[REG_RSP] = reinterpret_cast<greg_t>(&frames_[0]);
        registers_.uc_mcontext.gregs[REG_RBP] = reinterpret_cast<greg_t>(&frames_[2]);
        link(2, 4, 0x2000);
        link(4, 8, 0x3000);
        frames_[8] = 0;
        frames_[9] = 0x4000;
    }
    void link(std::size_t at, std::size_t next, std::uint64_t address) {
        frames_[at] = reinterpret_cast<std::uint64_t>(&frames_[next]);
        frames_[at + 1] = address;
    }
    /// bpf_get_stack(ctx, buffer of 8 words that start as ~0, size, flags) in nmi.
    std::int64_t get_stack(std::int64_t size, std::uint64_t flags) {
        std::vector<Piece> pieces{copy(R6, R1), set(R1, -1)};
        for (int i = 1; i <= 8; ++i) {
            pieces.push_back(store(BPF_DW, R10, -8 * i, R1));
        }
        pieces.insert(pieces.end(), {copy(R1, R6), copy(R2, R10), add(R2, -64), set(R3, size),
                                     wide(R4, flags), call(BPF_FUNC_get_stack), leave()});
        const auto result = static_cast<std::int64_t>(domain.run_in_nmi(
            domain.load_sleepable(pieces), &context_, sizeof(context_), &registers_));
        EXPECT_FALSE(domain.execution.faulted);
        std::memcpy(stack_,
                    task::current()->bpf_stack[static_cast<unsigned>(Level::nmi)] + kFrameBytes -
                        64,
                    sizeof(stack_));
        return result;
    }
    std::vector<std::uint64_t> stack(std::size_t count) const { return {stack_, stack_ + count}; }

    ucontext_t registers_{};
    std::uint64_t frames_[16] = {};
    std::uint64_t context_ = 0;
    std::uint64_t stack_[8] = {};
};

TEST_F(StackTest, follows_frame_pointers_and_clears_the_rest_of_the_buffer) {
    EXPECT_EQ(get_stack(64, BPF_F_USER_STACK), 32);
    EXPECT_EQ(stack(8), (std::vector<std::uint64_t>{0x1000, 0x2000, 0x3000, 0x4000, 0, 0, 0, 0}));
}

TEST_F(StackTest, keeps_the_innermost_frames_of_a_deep_stack) {
    EXPECT_EQ(get_stack(16, BPF_F_USER_STACK), 16);
    EXPECT_EQ(stack(3), (std::vector<std::uint64_t>{0x1000, 0x2000, ~std::uint64_t{0}}));
    EXPECT_EQ(get_stack(0, BPF_F_USER_STACK), 0);
    EXPECT_EQ(stack_[0], ~std::uint64_t{0});
}

// Frame pointers may lead through megabytes; the handler reads as far as the kernel does.
TEST_F(StackTest, ends_at_the_depth_that_the_kernel_keeps) {
    constexpr std::size_t kFrames = 200;
    std::vector<std::uint64_t> deep(2 * kFrames);
    for (std::size_t i = 0; i < kFrames; ++i) {
        deep[2 * i] = i + 1 < kFrames ? reinterpret_cast<std::uint64_t>(&deep[2 * i + 2]) : 0;
        deep[2 * i + 1] = 0x2000 + i;
    }
    registers_.uc_mcontext.gregs[REG_RSP] = reinterpret_cast<greg_t>(deep.data());
    registers_.uc_mcontext.gregs[REG_RBP] = reinterpret_cast<greg_t>(deep.data());
    map::Map& map = domain.array(2048, 1);
    const auto stack_of = [&](std::uint64_t flags) {
        Program& program = domain.load({domain.wide_value(R2, map, 0), set(R3, 2048),
                                        wide(R4, flags), call(BPF_FUNC_get_stack), leave()});
        return static_cast<std::int64_t>(
            domain.run_in_nmi(program, &context_, sizeof(context_), &registers_));
    };
    EXPECT_EQ(stack_of(BPF_F_USER_STACK), 127 * 8);
    const std::uint32_t key = 0;
    const auto* words = static_cast<const std::uint64_t*>(map::lookup(map, &key));
    EXPECT_EQ(words[0], 0x1000u);
    EXPECT_EQ(words[126], 0x2000u + 125);
    EXPECT_EQ(words[127], 0u);
    EXPECT_EQ(stack_of(BPF_F_USER_STACK | 100), 27 * 8);
    EXPECT_EQ(stack_of(BPF_F_USER_STACK | 128), -EFAULT);
}

TEST_F(StackTest, skips_frames) {
    EXPECT_EQ(get_stack(64, BPF_F_USER_STACK | 1), 24);
    EXPECT_EQ(stack(3), (std::vector<std::uint64_t>{0x2000, 0x3000, 0x4000}));
    EXPECT_EQ(get_stack(64, BPF_F_USER_STACK | 4), 0);
    EXPECT_EQ(get_stack(64, BPF_F_USER_STACK | 5), -EFAULT);
    EXPECT_EQ(stack_[0], 0u);
}

TEST_F(StackTest, stops_at_frames_that_do_not_lie_above_the_one_before) {
    link(4, 2, 0x3000);
    EXPECT_EQ(get_stack(64, BPF_F_USER_STACK), 24);
    link(4, 4, 0x3000);
    EXPECT_EQ(get_stack(64, BPF_F_USER_STACK), 24);
    frames_[4] = 12345;  // unreadable, and odd
    EXPECT_EQ(get_stack(64, BPF_F_USER_STACK), 24);
    registers_.uc_mcontext.gregs[REG_RBP] = 0;  // used for something else
    EXPECT_EQ(get_stack(64, BPF_F_USER_STACK), 8);
    registers_.uc_mcontext.gregs[REG_RBP] = std::int64_t{1} << 46;
    EXPECT_EQ(get_stack(64, BPF_F_USER_STACK), 8);
}

TEST_F(StackTest, refuses_bad_sizes_and_flags_and_finds_the_kernels_part_empty) {
    EXPECT_EQ(get_stack(12, BPF_F_USER_STACK), -EINVAL);
    EXPECT_EQ(get_stack(64, BPF_F_USER_STACK | BPF_F_USER_BUILD_ID), -EINVAL);
    EXPECT_EQ(get_stack(64, BPF_F_USER_STACK | std::uint64_t{1} << 20), -EINVAL);
    EXPECT_EQ(stack_[0], 0u);
    EXPECT_EQ(get_stack(64, 0), 0);
    EXPECT_EQ(stack_[0], 0u);
}

TEST_F(StackTest, wants_the_context_of_the_program) {
    std::uint64_t context = 0;
    domain.expect_fault(domain.load({copy(R1, R10), copy(R2, R10), add(R2, -8), set(R3, 8),
                                     set(R4, BPF_F_USER_STACK), call(BPF_FUNC_get_stack), leave()}),
                        FaultKind::bad_argument, 5, &context, sizeof(context));
}

}  // namespace
}  // namespace taskwork::bpf
