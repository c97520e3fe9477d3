// SPDX-License-Identifier: Apache-2.0
//
// MAP_CREATE of each kind here and in the kernel, its arguments put wrong in every way that
// matters.

#include <algorithm>
#include <functional>
#include <vector>

#include "tests/conformance/maps.hpp"

namespace taskwork::test {
namespace {

class Creation : public MapsOfBoth, public testing::WithParamInterface<Shape> {};

/// Each argument is put wrong in every way that matters, one and two at a time.
TEST_P(Creation, accepts_and_refuses_what_the_kernel_does) {
    const Shape base = GetParam();
    std::vector<std::function<void(Shape&)>> changes = {[](Shape&) {}};
    for (const std::uint32_t size : {0U, 1U, 4U, 5U, 8U, 12U, 260U, 261U}) {
        changes.push_back([size](Shape& shape) { shape.key_size = size; });
    }
    for (const std::uint32_t size :
         {0U, 1U, 4U, 8U, 12U, 32U << 10, (32U << 10) + 1, (4U << 20) + 1, 0x80000000U}) {
        changes.push_back([size](Shape& shape) { shape.value_size = size; });
    }
    for (const std::uint32_t entries : {0U, 1U, 7U}) {
        changes.push_back([entries](Shape& shape) { shape.max_entries = entries; });
    }
    for (unsigned bit = 0; bit < 20; ++bit) {
        if (base.type == BPF_MAP_TYPE_STACK_TRACE && 1U << bit == BPF_F_STACK_BUILD_ID) {
            continue;  // not here
        }
        changes.push_back([bit](Shape& shape) { shape.flags ^= 1U << bit; });
    }
    changes.push_back([](Shape& shape) { shape.flags |= BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG; });
    changes.push_back([](Shape& shape) { shape.flags |= BPF_F_RDONLY | BPF_F_WRONLY; });
    for (const std::uint64_t extra : {1ULL, 15ULL, 16ULL}) {
        changes.push_back([extra](Shape& shape) { shape.extra = extra; });
    }
    unsigned made = 0;
    for (const auto& first : changes) {
        for (const auto& second : changes) {
            if (++made % 32 == 0) {
                task::Worker::synchronize();  // Memory of maps that were closed comes back.
            }
            Shape shape = base;
            first(shape);
            second(shape);
            bpf_attr attr;
            fill(attr, shape);
            const long kernel = kernel_bpf(BPF_MAP_CREATE, attr);
            fill(attr, shape);
            const long ours = our_bpf(BPF_MAP_CREATE, attr);
            EXPECT_EQ(std::min(ours, 0L), std::min(kernel, 0L))
                << "key " << shape.key_size << ", value " << shape.value_size << ", entries "
                << shape.max_entries << ", flags " << std::hex << shape.flags << ", extra "
                << shape.extra << ": " << uapi::last_diagnosis();
            if (kernel >= 0) {
                raw_system_call(SYS_close, kernel);
            }
            if (ours >= 0) {
                close(static_cast<int>(ours));
            }
        }
    }
}

const Shape kBases[] = {
    {"queue", BPF_MAP_TYPE_QUEUE, 0, 8, 4},
    {"stack", BPF_MAP_TYPE_STACK, 0, 8, 4},
    {"array", BPF_MAP_TYPE_ARRAY, 4, 8, 4},
    {"hash", BPF_MAP_TYPE_HASH, 4, 8, 4},
    {"percpu_array", BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 4},
    {"percpu_hash", BPF_MAP_TYPE_PERCPU_HASH, 4, 8, 4},
    {"lru_hash", BPF_MAP_TYPE_LRU_HASH, 4, 8, 4},
    {"lru_percpu_hash", BPF_MAP_TYPE_LRU_PERCPU_HASH, 4, 8, 4},
    {"stack_trace", BPF_MAP_TYPE_STACK_TRACE, 4, 8, 4},
    {"prog_array", BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 4},
    {"perf_event_array", BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, 4},
    {"bloom_filter", BPF_MAP_TYPE_BLOOM_FILTER, 0, 8, 4},
    {"lpm_trie", BPF_MAP_TYPE_LPM_TRIE, 8, 8, 4, BPF_F_NO_PREALLOC},
};

INSTANTIATE_TEST_SUITE_P(Kinds, Creation, testing::ValuesIn(kBases), name_of);

}  // namespace
}  // namespace taskwork::test
