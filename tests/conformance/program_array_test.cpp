// SPDX-License-Identifier: Apache-2.0
//
// Arrays of programs: random scripts of commands, and how long a program lives.

#include <algorithm>
#include <array>
#include <random>
#include <vector>

#include "tests/conformance/maps.hpp"

namespace taskwork::test {
namespace {

class ProgramArrays : public MapsOfBoth {
protected:
    /// Descriptor of a program that does nothing.
    static int program(Bpf bpf, bpf_prog_type type) {
        const bpf_insn insns[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0},
                                  {.code = BPF_JMP | BPF_EXIT}};
        bpf_attr attr;
        std::memset(&attr, 0, sizeof attr);
        attr.prog_type = type;
        attr.insns = reinterpret_cast<std::uintptr_t>(insns);
        attr.insn_cnt = std::size(insns);
        attr.license = reinterpret_cast<std::uintptr_t>("GPL");
        attr.prog_flags = type == BPF_PROG_TYPE_SYSCALL ? BPF_F_SLEEPABLE : 0;
        return static_cast<int>(bpf(BPF_PROG_LOAD, attr));
    }
    static std::uint32_t id_of(Bpf bpf, int program) {
        return info_of<bpf_prog_info>(bpf, program).id;
    }
};

/// Results, and for lookups the number of the program that has the id: the same on both sides.
TEST_F(ProgramArrays, give_the_same_answers) {
    int ours = -1;
    int kernel = -1;
    ASSERT_NO_FATAL_FAILURE(make({"", BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 4}, ours, kernel));
    std::vector<int> our_fds;
    std::vector<int> kernel_fds;
    for (const bpf_prog_type type :
         {BPF_PROG_TYPE_PERF_EVENT, BPF_PROG_TYPE_PERF_EVENT, BPF_PROG_TYPE_SYSCALL}) {
        our_fds.push_back(program(our_bpf, type));
        kernel_fds.push_back(program(kernel_bpf, type));
        ASSERT_GE(our_fds.back(), 0) << uapi::last_diagnosis();
        ASSERT_GE(kernel_fds.back(), 0);
    }
    // What is no program.
    our_fds.insert(our_fds.end(), {ours, 9999});
    kernel_fds.insert(kernel_fds.end(), {kernel, 9999});
    std::minstd_rand random(11);
    const auto numbered = [](Bpf bpf, const std::vector<int>& fds, const Answer& answer) {
        std::uint32_t id = 0;
        std::memcpy(&id, answer.value.data(), 4);
        for (long number = 0; answer.result == 0 && number < 3; ++number) {
            if (id == id_of(bpf, fds[static_cast<std::size_t>(number)])) {
                return 100 + number;
            }
        }
        return answer.result;
    };
    for (unsigned i = 0; i < 1000; ++i) {
        const int command =
            std::array{BPF_MAP_UPDATE_ELEM, BPF_MAP_UPDATE_ELEM, BPF_MAP_LOOKUP_ELEM,
                       BPF_MAP_DELETE_ELEM, BPF_MAP_LOOKUP_AND_DELETE_ELEM}[random() % 5];
        const std::uint32_t index = static_cast<std::uint32_t>(random() % 5);
        const std::size_t number = i == 0 ? 0 : random() % our_fds.size();
        const std::uint64_t flags = random() % 8 == 0 ? random() % 4 : 0;
        const Answer expected =
            ask(kernel_bpf, kernel, on_entry(command, index, kernel_fds[number], flags));
        const Answer answer = ask(our_bpf, ours, on_entry(command, index, our_fds[number], flags));
        if (command == BPF_MAP_LOOKUP_ELEM) {
            ASSERT_EQ(numbered(our_bpf, our_fds, answer),
                      numbered(kernel_bpf, kernel_fds, expected));
        } else {
            ASSERT_EQ(answer.result, expected.result)
                << "operation " << i << ": command " << command << ", index " << index
                << ", program " << number << ", flags " << flags;
        }
    }
    for (std::size_t i = 0; i < 3; ++i) {
        close(our_fds[i]);
        raw_system_call(SYS_close, kernel_fds[i]);
    }
}

/// The map has a reference of the program, and gives it back with its last user (K100).
TEST_F(ProgramArrays, keep_their_programs_until_the_last_user_leaves) {
    const auto by_id = [](std::uint32_t id) {
        bpf_attr attr;
        std::memset(&attr, 0, sizeof attr);
        attr.prog_id = id;
        const long fd = our_bpf(BPF_PROG_GET_FD_BY_ID, attr);
        if (fd >= 0) {
            close(static_cast<int>(fd));
        }
        return std::min(fd, 0L);
    };
    int ours = -1;
    int kernel = -1;
    ASSERT_NO_FATAL_FAILURE(make({"", BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 4}, ours, kernel));
    const int fd = program(our_bpf, BPF_PROG_TYPE_PERF_EVENT);
    const std::uint32_t id = id_of(our_bpf, fd);
    ASSERT_EQ(ask(our_bpf, ours, on_entry(BPF_MAP_UPDATE_ELEM, 1, fd)).result, 0);
    close(fd);
    task::Worker::synchronize();
    EXPECT_EQ(by_id(id), 0);
    close(ours);
    ours_.clear();
    EXPECT_EQ(by_id(id), -ENOENT);
}

}  // namespace
}  // namespace taskwork::test
