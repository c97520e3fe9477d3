// SPDX-License-Identifier: Apache-2.0
//
// What a map costs in memory beside the kernel's figure for the same map (memlock in the fdinfo of
// its descriptor). docs/maps.md says where it is more than one and a half times as much, and why;
// the allowances here are those.
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>

#include "map/test_map.hpp"
#include "tests/reference/kernel.hpp"

namespace taskwork::maps {
namespace {

constexpr double kFactor = 1.5;
constexpr std::uint64_t kPage = 4096;

/// Bytes that the kernel says it needs for the map; 0: it refuses to make it.
std::uint64_t kernels_bytes(const map::MapSpec& spec) {
    bpf_attr attr;
    std::memset(&attr, 0, sizeof(attr));
    attr.map_type = spec.type;
    attr.key_size = spec.key_size;
    attr.value_size = spec.value_size;
    attr.max_entries = spec.max_entries;
    attr.map_flags = spec.flags;
    const auto map = static_cast<int>(syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr)));
    if (map < 0) {
        return 0;
    }
    std::uint64_t bytes = 0;
    const std::string path = "/proc/self/fdinfo/" + std::to_string(map);
    if (FILE* const file = std::fopen(path.c_str(), "re")) {
        char line[128];
        while (std::fgets(line, sizeof(line), file) != nullptr) {
            unsigned long found = 0;
            if (std::sscanf(line, "memlock: %lu", &found) == 1) {
                bytes = found;
            }
        }
        std::fclose(file);
    }
    close(map);
    return bytes;
}

struct Subject {
    const char* name;
    std::uint32_t type;
    std::uint32_t key_size;
    std::uint32_t value_size;
    /// Beyond kFactor times the kernel's.
    std::uint64_t (*allowance)(const map::MapSpec& spec);
};

/// Spares of small maps: 64 KiB, or 64 elements if that is more.
std::uint64_t spares(const map::MapSpec& spec) {
    return std::max<std::uint64_t>(std::uint64_t{64} << 10,
                                   64 * (40 + spec.key_size + spec.value_size));
}
std::uint64_t spare_slots(const map::MapSpec& spec) {
    return std::max<std::uint64_t>(
        std::uint64_t{64} << 10,
        64 * (40 + spec.key_size +
              std::uint64_t{spec.value_size} * map::MapTable::get().processors.count()));
}
/// Whole pages.
std::uint64_t a_page(const map::MapSpec&) { return kPage; }
std::uint64_t a_page_for_each_processor(const map::MapSpec&) {
    return kPage * map::MapTable::get().processors.count();
}
/// What an item of a queue has beside its value, and 64 spare items.
std::uint64_t items(const map::MapSpec& spec) {
    return 24 * std::uint64_t{spec.max_entries} + 64 * (24 + std::uint64_t{spec.value_size});
}
/// Each bucket can be filled, and 64 spare elements; where threads begin to look for one.
std::uint64_t stacks(const map::MapSpec& spec) {
    return 64 * (48 + std::uint64_t{spec.value_size}) + std::uint64_t{64} * sync::Pool::kLanes;
}
/// The table of reservations, and pages.
std::uint64_t ring(const map::MapSpec&) { return 5 * kPage; }
/// The summary of a map.
std::uint64_t a_line(const map::MapSpec&) { return 512; }

constexpr Subject kSubjects[] = {
    {"hash", BPF_MAP_TYPE_HASH, 8, 8, spares},
    {"hash, large values", BPF_MAP_TYPE_HASH, 8, 256, spares},
    {"hash, pages", BPF_MAP_TYPE_HASH, 4, 4096, spares},
    {"LRU hash", BPF_MAP_TYPE_LRU_HASH, 8, 8, spares},
    {"per-CPU hash", BPF_MAP_TYPE_PERCPU_HASH, 8, 8, spare_slots},
    {"array", BPF_MAP_TYPE_ARRAY, 4, 8, a_page},
    {"per-CPU array", BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, a_page_for_each_processor},
    {"queue", BPF_MAP_TYPE_QUEUE, 0, 8, items},
    {"queue, large values", BPF_MAP_TYPE_QUEUE, 0, 256, items},
    {"stack trace", BPF_MAP_TYPE_STACK_TRACE, 4, 127 * 8, stacks},
    {"bloom filter", BPF_MAP_TYPE_BLOOM_FILTER, 0, 8, a_line},
};

class Memory : public map::MapTest {
protected:
    void SetUp() override {
        if (const std::string why = test::no_reference_because(); !why.empty()) {
            GTEST_SKIP() << why;
        }
    }
    static void compare(const Subject& subject, std::uint32_t entries) {
        const map::MapSpec asked =
            spec(subject.type, subject.key_size, subject.value_size, entries);
        const std::uint64_t kernel = kernels_bytes(asked);
        ASSERT_NE(kernel, 0U) << subject.name << ": the kernel says nothing";
        map::Map& map = make(asked);
        const std::uint64_t ours = sizeof(map::Map) + map::usage(map).bytes;
        std::printf("%-22s %8u entries: %10lu bytes, the kernel %10lu: %.2f\n", subject.name,
                    entries, static_cast<unsigned long>(ours), static_cast<unsigned long>(kernel),
                    static_cast<double>(ours) / static_cast<double>(kernel));
        EXPECT_LE(static_cast<double>(ours), kFactor * static_cast<double>(kernel) +
                                                 static_cast<double>(subject.allowance(asked)))
            << subject.name << " of " << entries;
        map::put_user(map);
    }
};

TEST_F(Memory, of_a_map_is_the_kernels_half_as_much_again_and_what_is_documented) {
    for (const Subject& subject : kSubjects) {
        for (const std::uint32_t entries : {1U, 10U, 100U, 1'000U, 10'000U}) {
            if (std::uint64_t{entries} * subject.value_size > (std::uint64_t{8} << 20)) {
                continue;
            }
            compare(subject, entries);
        }
    }
}

TEST_F(Memory, of_large_hashes_needs_no_allowance) {
    constexpr Subject kHash = {"hash", BPF_MAP_TYPE_HASH, 8, 8,
                               [](const map::MapSpec&) { return std::uint64_t{0}; }};
    constexpr Subject kLarge = {"hash, large values", BPF_MAP_TYPE_HASH, 8, 256, kHash.allowance};
    compare(kHash, 5'000);
    compare(kHash, 200'000);
    compare(kLarge, 2'000);
    compare(kLarge, 20'000);
}

TEST_F(Memory, of_a_ring_buffer_is_its_size_and_some_pages) {
    for (const std::uint32_t bytes : {1U << 12, 1U << 16, 1U << 20}) {
        compare({"ring buffer", BPF_MAP_TYPE_RINGBUF, 0, 0, ring}, bytes);
    }
}

}  // namespace
}  // namespace taskwork::maps
