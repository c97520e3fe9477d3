// SPDX-License-Identifier: Apache-2.0
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <ctime>
#include <string>

#include "bpf/task_view.hpp"
#include "bpf/test_helpers.hpp"

namespace taskwork::bpf {
namespace {

using namespace test;

TEST_F(HelperTest, tells_who_runs) {
    const std::uint64_t ids = call_with(BPF_FUNC_get_current_pid_tgid, {});
    EXPECT_EQ(ids >> 32, static_cast<std::uint64_t>(getpid()));
    EXPECT_EQ(ids & 0xffffffff, static_cast<std::uint64_t>(gettid()));
    const std::uint64_t owner = call_with(BPF_FUNC_get_current_uid_gid, {});
    EXPECT_EQ(owner >> 32, getgid());
    EXPECT_EQ(owner & 0xffffffff, getuid());
    EXPECT_EQ(call_with(BPF_FUNC_get_current_task, {}),
              reinterpret_cast<std::uint64_t>(task::current()->view));
    EXPECT_EQ(call_with(BPF_FUNC_get_current_task_btf, {}),
              call_with(BPF_FUNC_get_current_task, {}));
    EXPECT_LT(call_with(BPF_FUNC_get_smp_processor_id, {}),
              static_cast<std::uint64_t>(sysconf(_SC_NPROCESSORS_CONF)));
    EXPECT_LT(call_with(BPF_FUNC_get_numa_node_id, {}), 1024u);
}

TEST_F(HelperTest, tells_the_name_of_the_thread_cut_and_padded) {
    prctl(PR_SET_NAME, "name-of-thread");
    const auto name = [&](std::int64_t size) {
        domain.run(
            domain.load({set(R1, -1), store(BPF_DW, R10, -8, R1), store(BPF_DW, R10, -16, R1),
                         store(BPF_DW, R10, -24, R1), copy(R1, R10), add(R1, -24), set(R2, size),
                         call(BPF_FUNC_get_current_comm), leave()}));
        return std::string(
            reinterpret_cast<const char*>(task::current()->bpf_stack[0]) + kFrameBytes - 24, 24);
    };
    EXPECT_EQ(name(16), std::string("name-of-thread\0\0\xff\xff\xff\xff\xff\xff\xff\xff", 24));
    EXPECT_EQ(name(5).substr(0, 6), std::string("name\0\xff", 6));
    EXPECT_EQ(name(20).substr(0, 21), std::string("name-of-thread\0\0\0\0\0\0\xff", 21));
    expect_bad_argument(
        {copy(R1, R10), add(R1, -8), set(R2, 0), call(BPF_FUNC_get_current_comm), leave()}, 3);
}

TEST_F(HelperTest, tells_the_time_by_the_clock_asked_for) {
    const auto near = [&](int id, clockid_t clock, std::uint64_t tolerance_ns) {
        timespec now{};
        clock_gettime(clock, &now);
        const auto before = static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U +
                            static_cast<std::uint64_t>(now.tv_nsec);
        const std::uint64_t told = call_with(id, {});
        EXPECT_GE(told + tolerance_ns, before) << helper_name(id);
        EXPECT_LT(told, before + 60'000'000'000U) << helper_name(id);
    };
    near(BPF_FUNC_ktime_get_ns, CLOCK_MONOTONIC, 0);
    near(BPF_FUNC_ktime_get_boot_ns, CLOCK_BOOTTIME, 0);
    near(BPF_FUNC_ktime_get_coarse_ns, CLOCK_MONOTONIC, 20'000'000);
    near(BPF_FUNC_ktime_get_tai_ns, CLOCK_TAI, 0);
}

TEST_F(HelperTest, draws_random_numbers_of_32_bits) {
    std::uint64_t ones = 0;
    std::uint64_t zeros = 0;
    for (int i = 0; i < 64; ++i) {
        const std::uint64_t draw = call_with(BPF_FUNC_get_prandom_u32, {});
        EXPECT_EQ(draw >> 32, 0u);
        ones |= draw;
        zeros |= ~draw;
    }
    // Each bit was 0 and 1: the chance of the contrary is 1 in 2^58.
    EXPECT_EQ(ones & 0xffffffff, 0xffffffffu);
    EXPECT_EQ(zeros & 0xffffffff, 0xffffffffu);
}

TEST_F(HelperTest, tells_the_attach_cookie) {
    Program& program = domain.load({call(BPF_FUNC_get_attach_cookie), leave()});
    std::uint64_t context = 0;
    Execution execution;
    execution.task = task::current();
    execution.program = &program;
    execution.context = &context;
    execution.context_size = sizeof(context);
    execution.cookie = 0x1234567890;
    EXPECT_EQ(bpf::run(execution), 0x1234567890u);
    expect_bad_argument({set(R1, 0), call(BPF_FUNC_get_attach_cookie), leave()}, 1);
}

}  // namespace
}  // namespace taskwork::bpf
