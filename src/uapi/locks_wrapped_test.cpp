// SPDX-License-Identifier: Apache-2.0
//
// Values with locks, by bpf(2). The same beside a kernel: tests/conformance/spin_locks_test.cpp.
#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cerrno>

#include "uapi/test_host.hpp"
#include "uapi/test_types.hpp"

namespace taskwork::uapi {
namespace {

constexpr std::uint32_t kValueBytes = 24;

class Locks : public HostTest {
protected:
    /// An array of two values { u64; the members }.
    static int create(TestTypes& types, std::initializer_list<TestTypes::Member> members,
                      std::uint32_t flags = 0) {
        const int value = types.structure("value", kValueBytes, members);
        bpf_map_create_opts options{};
        options.sz = sizeof options;
        options.map_flags = flags;
        options.btf_fd = static_cast<std::uint32_t>(types.descriptor());
        options.btf_key_type_id = static_cast<std::uint32_t>(types.u32);
        options.btf_value_type_id = static_cast<std::uint32_t>(value);
        return bpf_map_create(BPF_MAP_TYPE_ARRAY, "locks", 4, kValueBytes, 2, &options);
    }
};

TEST_F(Locks, of_either_kind_read_as_zero_and_are_left_alone) {
    for (const bool resilient : {false, true}) {
        TestTypes types;
        const int map = create(types,
                               {{"count", types.u64, 0},
                                {"lock", resilient ? types.res_spin_lock : types.spin_lock, 8}},
                               BPF_F_MMAPABLE);
        ASSERT_GE(map, 0);
        const std::uint32_t key = 1;
        std::uint64_t value[3] = {1, 0xdeaddead, 3};
        EXPECT_EQ(bpf_map_update_elem(map, &key, value, 0), 0);
        EXPECT_EQ(bpf_map_lookup_elem(map, &key, value), 0);
        EXPECT_EQ(value[0], 1u);
        EXPECT_EQ(value[1], 0u);
        EXPECT_EQ(value[2], 3u);
        // BPF_F_LOCK is for bpf_spin_lock.
        EXPECT_EQ(bpf_map_update_elem(map, &key, value, BPF_F_LOCK), resilient ? -EINVAL : 0);
        EXPECT_EQ(bpf_map_lookup_elem_flags(map, &key, value, BPF_F_LOCK), resilient ? -EINVAL : 0);
        EXPECT_EQ(bpf_map_freeze(map), -524);
        EXPECT_EQ(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, map, 0), MAP_FAILED);
        close(map);
    }
}

TEST_F(Locks, are_one_a_value_or_the_typesare_not_loaded) {
    TestTypes types;
    types.structure("two", kValueBytes, {{"a", types.spin_lock, 8}, {"b", types.spin_lock, 12}});
    EXPECT_EQ(types.descriptor(), -E2BIG);
    TestTypes both;
    both.structure("both", kValueBytes, {{"a", both.spin_lock, 8}, {"b", both.res_spin_lock, 12}});
    EXPECT_EQ(both.descriptor(), -EINVAL);
    TestTypes misaligned;
    misaligned.structure("misaligned", kValueBytes, {{"a", misaligned.spin_lock, 10}});
    EXPECT_EQ(misaligned.descriptor(), -EFAULT);
}

// Two resilient ones, or a misaligned one, are no locks, and the map is one without.
TEST_F(Locks, that_are_not_as_they_must_be_are_plain_data) {
    TestTypes types;
    const int map = create(types, {{"a", types.res_spin_lock, 8}, {"b", types.res_spin_lock, 12}});
    ASSERT_GE(map, 0);
    EXPECT_EQ(bpf_map_freeze(map), 0);
    close(map);
}

}  // namespace
}  // namespace taskwork::uapi
