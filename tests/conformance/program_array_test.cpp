// SPDX-License-Identifier: Apache-2.0
//
// Arrays of programs: random scripts of commands, and how long a program lives.

#include <algorithm>
#include <array>
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
    std::vector<int> our_fds;
    std::vector<int> kernel_fds;
    std::vector<std::uint32_t> our_ids;
    std::vector<std::uint32_t> kernel_ids;
    for (const bpf_prog_type type :
         {BPF_PROG_TYPE_PERF_EVENT, BPF_PROG_TYPE_PERF_EVENT, BPF_PROG_TYPE_SYSCALL}) {
        our_fds.push_back(program(our_bpf, type));
        kernel_fds.push_back(program(kernel_bpf, type));
        ASSERT_GE(our_fds.back(), 0) << uapi::last_diagnosis();
        ASSERT_GE(kernel_fds.back(), 0);
        our_ids.push_back(id_of(our_bpf, our_fds.back()));
        kernel_ids.push_back(id_of(kernel_bpf, kernel_fds.back()));
    }
    // What is no program: the map, and nothing.
    our_fds.insert(our_fds.end(), {-1, 9999});
    kernel_fds.insert(kernel_fds.end(), {-1, 9999});
    const auto numbered = [](const std::vector<std::uint32_t>& ids, const Answer& answer) {
        std::uint32_t id = 0;
        std::memcpy(&id, answer.value.data(), 4);
        const auto found = std::find(ids.begin(), ids.end(), id);
        return answer.result != 0 || found == ids.end() ? answer.result
                                                        : 100 + (found - ids.begin());
    };
    for (unsigned seed = 1; seed <= scripts().count; ++seed) {
        Random random(seed);
        close_all();
        ASSERT_NO_FATAL_FAILURE(
            make({"", BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 4}, our_fds[3], kernel_fds[3]));
        const int ours = our_fds[3];
        const int kernel = kernel_fds[3];
        for (unsigned i = 0; i < scripts().operations; ++i) {
            const int command = std::array{BPF_MAP_UPDATE_ELEM,
                                           BPF_MAP_UPDATE_ELEM,
                                           BPF_MAP_LOOKUP_ELEM,
                                           BPF_MAP_DELETE_ELEM,
                                           BPF_MAP_LOOKUP_AND_DELETE_ELEM,
                                           BPF_MAP_GET_NEXT_KEY}[random.below(6)];
            const auto index = static_cast<std::uint32_t>(random.below(5));
            const std::size_t number = random.below(our_fds.size());
            const std::uint64_t flags = random.below(8) == 0 ? random.below(4) : 0;
            const Answer expected =
                ask(kernel_bpf, kernel, on_entry(command, index, kernel_fds[number], flags));
            const Answer answer =
                ask(our_bpf, ours, on_entry(command, index, our_fds[number], flags));
            const bool same =
                command == BPF_MAP_LOOKUP_ELEM
                    ? numbered(our_ids, answer) == numbered(kernel_ids, expected)
                    : answer.result == expected.result &&
                          (command != BPF_MAP_GET_NEXT_KEY || answer.key == expected.key);
            ASSERT_TRUE(same) << "seed " << seed << ", operation " << i << ": command " << command
                              << ", index " << index << ", program " << number << ", flags "
                              << flags << ": " << answer.result << ", not " << expected.result;
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
