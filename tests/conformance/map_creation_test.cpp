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

bool holds_maps(const Shape& shape) {
    return shape.type == BPF_MAP_TYPE_ARRAY_OF_MAPS || shape.type == BPF_MAP_TYPE_HASH_OF_MAPS;
}

/// How many the kernel takes whatever memory there is.
std::uint32_t most_entries(const Shape& shape) {
    return map::is_hash(shape.type)                 ? 1U << 27
           : shape.type == BPF_MAP_TYPE_STACK_TRACE ? 1U << 31
                                                    : UINT32_MAX;
}
/// BPF_F_TOKEN_FD, newer than the headers.
constexpr std::uint32_t kTokenFlag = 1U << 16;

class Creation : public MapsOfBoth, public testing::WithParamInterface<Shape> {
protected:
    void SetUp() override {
        MapsOfBoth::SetUp();
        if (!IsSkipped()) {
            ASSERT_NO_FATAL_FAILURE(
                make({"inner", BPF_MAP_TYPE_ARRAY, 4, 8, 1}, our_inner_, kernel_inner_));
        }
    }
    /// `inner`: whether maps of maps are given one, else a descriptor of nothing.
    void compare(const Shape& shape, bool inner) {
        if (++compared_ % 32 == 0) {
            task::Worker::synchronize();  // Memory of maps that were closed comes back.
        }
        const auto create = [&](Bpf bpf, int inner_map) {
            bpf_attr attr;
            fill(attr, shape);
            if (holds_maps(shape)) {
                attr.inner_map_fd = static_cast<std::uint32_t>(inner ? inner_map : 9999);
            }
            return bpf(BPF_MAP_CREATE, attr);
        };
        const long kernel = create(kernel_bpf, kernel_inner_);
        const long ours = create(our_bpf, our_inner_);
        const auto seen = [&] {
            return testing::Message()
                   << "key " << shape.key_size << ", value " << shape.value_size << ", entries "
                   << shape.max_entries << ", flags " << std::hex << shape.flags << ", extra "
                   << shape.extra << (inner ? ": " : ", no inner map: ") << uapi::last_diagnosis();
        };
        if ((shape.flags & kTokenFlag) != 0 &&
            (!inner || shape.max_entries > most_entries(shape))) {
            // Two faults: the kernel tells of the token, we of the other (docs/differences.md).
            EXPECT_TRUE(ours < 0 && kernel < 0) << seen();
        } else {
            EXPECT_EQ(std::min(ours, 0L), std::min(kernel, 0L)) << seen();
        }
        if (kernel >= 0) {
            raw_system_call(SYS_close, kernel);
        }
        if (ours >= 0) {
            close(static_cast<int>(ours));
        }
    }

    int our_inner_ = -1;
    int kernel_inner_ = -1;
    unsigned compared_ = 0;
};

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
    std::vector<std::uint32_t> counts = {0, 1, 7};
    if (const std::uint32_t most = most_entries(base); most != UINT32_MAX) {
        counts.insert(counts.end(), {most + 1, (1U << 31) + 1, UINT32_MAX});
    }
    if (base.type == BPF_MAP_TYPE_RINGBUF) {
        counts.insert(counts.end(), {4095, 4097, 8192, 12288});
    }
    for (const std::uint32_t entries : counts) {
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
    for (const auto& first : changes) {
        for (const auto& second : changes) {
            Shape shape = base;
            first(shape);
            second(shape);
            compare(shape, true);
            if (holds_maps(shape)) {
                compare(shape, false);
            }
        }
    }
    for (const std::uint32_t entries : {64U, 1000U, 65536U}) {
        Shape shape = base;
        shape.max_entries = entries;
        compare(shape, true);
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
    {"array_of_maps", BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, 4, 4},
    {"hash_of_maps", BPF_MAP_TYPE_HASH_OF_MAPS, 4, 4, 4},
    {"ring", BPF_MAP_TYPE_RINGBUF, 0, 0, 4096},
    {"bloom_filter", BPF_MAP_TYPE_BLOOM_FILTER, 0, 8, 4},
    {"lpm_trie", BPF_MAP_TYPE_LPM_TRIE, 8, 8, 4, BPF_F_NO_PREALLOC},
};

INSTANTIATE_TEST_SUITE_P(Kinds, Creation, testing::ValuesIn(kBases), name_of);

}  // namespace
}  // namespace taskwork::test
