// SPDX-License-Identifier: Apache-2.0
//
// A member that dies after an instruction of an execution in native code (with TASKWORK_PROVE in
// the environment: after every one). The sweep takes back the ring record and the lock that it
// held, the code is freed with the program, and another member goes on.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "map/ring_buffer.hpp"
#include "task/single_step.hpp"
#include "tests/native/native_domain.hpp"

namespace taskwork::bpf {
namespace {

using namespace test;

std::uint64_t execute(Program& program) {
    Execution execution;
    execution.task = task::current();
    execution.program = &program;
    const task::Section section(execution.task);
    const std::uint64_t result = bpf::run(execution);
    return execution.faulted ? ~std::uint64_t{0} : result;
}

void die(void*) { ::kill(::getpid(), SIGKILL); }

class NativeDeath : public NativeTest {
protected:
    void SetUp() override {
        NativeTest::SetUp();
        if (!task::kCanSingleStep) {
            GTEST_SKIP() << "not under sanitizers";
        }
    }

    /// Takes a record and a lock, adds 1 to the value under it, gives both back.
    Program& load_victim() {
        return native({store_imm(BPF_W, R10, -4, 0),
                       domain.wide_map(R1, *values_),
                       copy(R2, R10),
                       add(R2, -4),
                       call(BPF_FUNC_map_lookup_elem),
                       jump_if(BPF_JEQ, R0, 0, 22),
                       copy(R6, R0),
                       domain.wide_map(R1, *ring_),
                       set(R2, 16),
                       set(R3, 0),
                       call(BPF_FUNC_ringbuf_reserve),
                       jump_if(BPF_JEQ, R0, 0, 15),
                       copy(R7, R0),
                       copy(R1, R6),
                       BpfDomain::call_kfunc("bpf_res_spin_lock"),
                       jump_if(BPF_JNE, R0, 0, 6),
                       load(BPF_DW, R1, R6, 8),
                       add(R1, 1),
                       store(BPF_DW, R6, 8, R1),
                       copy(R1, R6),
                       BpfDomain::call_kfunc("bpf_res_spin_unlock"),
                       set(R0, 0),
                       copy(R1, R7),
                       set(R2, 0),
                       call(BPF_FUNC_ringbuf_discard),
                       set(R0, 7),
                       leave(),
                       set(R0, 0),
                       leave()});
    }

    /// A child joins, runs the program and dies after that instruction; 0: it comes to the end, and
    /// says how many instructions there are.
    std::uint64_t live(Program& program, std::uint64_t dies_after) {
        const task::TaskTable& table = task::TaskTable::get();
        const std::uint32_t processes = table.processes.count_free();
        int steps_pipe[2];
        EXPECT_EQ(::pipe(steps_pipe), 0);
        const pid_t child = ::fork();
        if (child == 0) {
            if (task::join_process("victim") != no_error ||
                task::register_current(0, 0) != no_error) {
                ::_exit(1);
            }
            const std::uint64_t steps = task::single_step(
                [](void* argument) {
                    if (execute(*static_cast<Program*>(argument)) != 7) {
                        ::_exit(2);
                    }
                },
                &program, die, nullptr, dies_after == 0 ? UINT64_MAX : dies_after, 0, false);
            ::_exit(::write(steps_pipe[1], &steps, sizeof steps) == sizeof steps ? 0 : 3);
        }
        ::close(steps_pipe[1]);
        std::uint64_t steps = 0;
        const ssize_t got = ::read(steps_pipe[0], &steps, sizeof steps);
        ::close(steps_pipe[0]);
        int status = 0;
        EXPECT_EQ(::waitpid(child, &status, 0), child);
        if (dies_after == 0) {
            EXPECT_EQ(status, 0);
            EXPECT_EQ(got, static_cast<ssize_t>(sizeof steps));
        } else {
            // Towards the end there may be fewer instructions than there were the first time.
            EXPECT_TRUE(WIFSIGNALED(status) || status == 0) << status;
            deaths_ += WIFSIGNALED(status) ? 1 : 0;
        }
        task::wait_until([&] { return table.processes.count_free() == processes; });
        return steps;
    }

    unsigned deaths_ = 0;
    map::Map* values_ = [this] {
        map::MapSpec spec;
        spec.type = BPF_MAP_TYPE_ARRAY;
        spec.key_size = 4;
        spec.value_size = 16;
        spec.max_entries = 1;
        spec.fields.res_spin_lock = 0;
        spec.btf_value_type_id = 1;
        return &domain.add_map(spec);
    }();
    map::Map* ring_ = &domain.ring(4096);
};

TEST_F(NativeDeath, after_any_instruction_leaves_nothing_behind) {
    Program& program = load_victim();
    const std::byte* const code = program.native.code;
    const std::uint64_t steps = live(program, 0);
    ASSERT_GT(steps, 300u);
    const std::uint64_t stride = std::getenv("TASKWORK_PROVE") != nullptr ? 1 : steps / 40 + 1;
    const std::uint32_t key = 0;
    const auto* const value = static_cast<const std::uint64_t*>(map::lookup(*values_, &key));
    for (std::uint64_t at = 1; at < steps && !HasFailure(); at += stride) {
        SCOPED_TRACE(at);
        live(program, at);
        const std::uint64_t before = value[1];
        const auto none = [](void*, void*, std::size_t) -> long { return 0; };
        EXPECT_EQ(map::ring_consume(*ring_, none, nullptr), 0);
        // Neither waits for the dead one's lock, nor finds the ring full of its records.
        for (int i = 0; i < 3; ++i) {
            ASSERT_EQ(execute(program), 7u);
        }
        ASSERT_EQ(value[1], before + 3);
    }
    EXPECT_GT(deaths_, 30u);
    BpfDomain::unload(program);
    EXPECT_EQ(native({set(R0, 7), leave()}).native.code, code);
}

}  // namespace
}  // namespace taskwork::bpf
