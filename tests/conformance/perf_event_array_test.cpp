// SPDX-License-Identifier: Apache-2.0
//
// Arrays of perf events: random scripts of commands on events of several kinds, here and in the
// kernel. What programs send through them is the subject of perf_buffer_wrapped_test.
#include <linux/perf_event.h>

#include <array>
#include <random>
#include <vector>

#include "tests/conformance/maps.hpp"

namespace taskwork::test {
namespace {

class PerfEventArrays : public MapsOfBoth {
protected:
    /// Descriptors of the same events on both sides.
    void open(const perf_event_attr& attr, int pid, int cpu) {
        our_events_.push_back(
            static_cast<int>(syscall(SYS_perf_event_open, &attr, pid, cpu, -1, 0)));
        kernel_events_.push_back(static_cast<int>(
            raw_system_call(SYS_perf_event_open, reinterpret_cast<long>(&attr), pid, cpu, -1, 0)));
        ASSERT_GE(our_events_.back(), 0) << uapi::last_diagnosis();
        ASSERT_GE(kernel_events_.back(), 0);
    }
    void open_all() {
        perf_event_attr attr{};
        attr.size = sizeof attr;
        attr.type = PERF_TYPE_SOFTWARE;
        attr.config = PERF_COUNT_SW_BPF_OUTPUT;
        attr.sample_type = PERF_SAMPLE_RAW;
        ASSERT_NO_FATAL_FAILURE(open(attr, -1, 0));
        ASSERT_NO_FATAL_FAILURE(open(attr, 0, -1));
        attr.config = PERF_COUNT_SW_CPU_CLOCK;
        attr.sample_type = 0;
        ASSERT_NO_FATAL_FAILURE(open(attr, 0, -1));
        attr.inherit = 1;
        ASSERT_NO_FATAL_FAILURE(open(attr, 0, -1));
    }
    void TearDown() override {
        for (const int event : our_events_) {
            close(event);
        }
        for (const int event : kernel_events_) {
            raw_system_call(SYS_close, event);
        }
        MapsOfBoth::TearDown();
    }
    std::vector<int> our_events_;
    std::vector<int> kernel_events_;
};

TEST_F(PerfEventArrays, give_the_same_answers) {
    ASSERT_NO_FATAL_FAILURE(open_all());
    const Scripting scripting = scripts();
    for (unsigned seed = 1; seed <= scripting.count; ++seed) {
        std::minstd_rand random(seed);
        close_all();
        int ours = -1;
        int kernel = -1;
        ASSERT_NO_FATAL_FAILURE(
            make({"", BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, 4,
                  seed % 2 == 0 ? static_cast<std::uint32_t>(BPF_F_PRESERVE_ELEMS) : 0},
                 ours, kernel));
        // And what is no event: the map, and nothing.
        std::vector<int> our_fds = our_events_;
        our_fds.insert(our_fds.end(), {ours, 9999});
        std::vector<int> kernel_fds = kernel_events_;
        kernel_fds.insert(kernel_fds.end(), {kernel, 9999});
        for (unsigned i = 0; i < scripting.operations; ++i) {
            const int command =
                std::array{BPF_MAP_UPDATE_ELEM, BPF_MAP_UPDATE_ELEM, BPF_MAP_UPDATE_ELEM,
                           BPF_MAP_LOOKUP_ELEM, BPF_MAP_DELETE_ELEM, BPF_MAP_LOOKUP_AND_DELETE_ELEM,
                           BPF_MAP_GET_NEXT_KEY}[random() % 7];
            const std::uint32_t index = static_cast<std::uint32_t>(random() % 5);
            const std::size_t number = random() % our_fds.size();
            const std::uint64_t flags = random() % 8 == 0 ? random() % 5 : 0;
            const Answer expected =
                ask(kernel_bpf, kernel, on_entry(command, index, kernel_fds[number], flags));
            const Answer answer =
                ask(our_bpf, ours, on_entry(command, index, our_fds[number], flags));
            ASSERT_EQ(answer.result, expected.result)
                << "seed " << seed << ", operation " << i << ": command " << command << ", index "
                << index << ", event " << number << ", flags " << flags;
            ASSERT_EQ(answer.key == on_entry(command, index).key,
                      expected.key == on_entry(command, index).key);
        }
    }
}

}  // namespace
}  // namespace taskwork::test
