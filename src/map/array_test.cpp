// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <array>
#include <climits>
#include <cstring>

#include "map/test_map.hpp"

namespace taskwork::map {
namespace {

using Array = MapTest;

TEST_F(Array, creation_accepts_and_refuses_as_the_kernel_does) {
    EXPECT_EQ(refused(array(1, 1)), no_error);
    EXPECT_EQ(refused(array(0)), std::errc::invalid_argument);
    EXPECT_EQ(refused(array(1, 0)), std::errc::invalid_argument);
    EXPECT_EQ(refused(spec(BPF_MAP_TYPE_ARRAY, 3, 8, 1)), std::errc::invalid_argument);
    EXPECT_EQ(refused(spec(BPF_MAP_TYPE_ARRAY, 8, 8, 1)), std::errc::invalid_argument);
    EXPECT_EQ(refused(array(1, std::uint32_t{INT_MAX} + 1)), std::errc::argument_list_too_long);
    const auto with = [](std::uint32_t flags) {
        return refused(spec(BPF_MAP_TYPE_ARRAY, 4, 8, 1, flags));
    };
    EXPECT_EQ(with(BPF_F_MMAPABLE), no_error);
    EXPECT_EQ(with(BPF_F_RDONLY_PROG), no_error);
    EXPECT_EQ(with(BPF_F_WRONLY_PROG), no_error);
    EXPECT_EQ(with(BPF_F_RDONLY), no_error);
    EXPECT_EQ(with(BPF_F_WRONLY), no_error);
    EXPECT_EQ(with(BPF_F_RDONLY | BPF_F_WRONLY), std::errc::invalid_argument);
    EXPECT_EQ(with(BPF_F_PRESERVE_ELEMS), std::errc::invalid_argument);
    EXPECT_EQ(with(BPF_F_INNER_MAP), no_error);
    EXPECT_EQ(with(BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG), std::errc::invalid_argument);
    EXPECT_EQ(with(BPF_F_NO_PREALLOC), std::errc::invalid_argument);
    EXPECT_EQ(with(BPF_F_ZERO_SEED), std::errc::invalid_argument);
    EXPECT_EQ(with(std::uint32_t{1} << 30), std::errc::invalid_argument);
}

TEST_F(Array, an_unknown_kind_of_map_is_named) {
    auto made = create(spec(BPF_MAP_TYPE_LPM_TRIE, 8, 8, 1));
    ASSERT_FALSE(made.has_value());
    EXPECT_EQ(made.error().code, std::errc::invalid_argument);
    EXPECT_NE(made.error().text.find("lpm_trie"), std::string::npos) << made.error().text;
}

TEST_F(Array, elements_exist_from_the_start_and_are_zero) {
    Map& map = make(array(3));
    EXPECT_EQ(get(map, 0), 0U);
    EXPECT_EQ(get(map, 2), 0U);
    EXPECT_EQ(get(map, 3), UINT64_MAX);
    EXPECT_EQ(get(map, UINT32_MAX), UINT64_MAX);
    EXPECT_EQ(usage(map).elements, 3U);
}

TEST_F(Array, update_flags_and_bounds_are_the_kernels) {
    Map& map = make(array(3));
    EXPECT_EQ(put(map, 2, 7, BPF_ANY), no_error);
    EXPECT_EQ(put(map, 2, 8, BPF_EXIST), no_error);
    EXPECT_EQ(get(map, 2), 8U);
    EXPECT_EQ(put(map, 2, 9, BPF_NOEXIST), std::errc::file_exists);
    EXPECT_EQ(put(map, 2, 9, BPF_NOEXIST | BPF_EXIST), std::errc::invalid_argument);
    EXPECT_EQ(put(map, 2, 9, 8), std::errc::invalid_argument);
    EXPECT_EQ(put(map, 2, 9, BPF_F_LOCK), std::errc::invalid_argument);
    EXPECT_EQ(put(map, 3, 9, BPF_ANY), std::errc::argument_list_too_long);
    EXPECT_EQ(put(map, 3, 9, BPF_NOEXIST), std::errc::argument_list_too_long);
    EXPECT_EQ(put(map, 3, 9, 8), std::errc::invalid_argument);
    // Whether there is a lock is asked last; of users before all else (map_commands.cpp).
    EXPECT_EQ(put(map, 3, 9, BPF_F_LOCK), std::errc::argument_list_too_long);
    EXPECT_EQ(put(map, 2, 9, BPF_F_LOCK | BPF_NOEXIST), std::errc::file_exists);
    EXPECT_EQ(put(map, 2, 9, BPF_F_LOCK | BPF_EXIST), std::errc::invalid_argument);
    EXPECT_EQ(get(map, 2), 8U);
}

TEST_F(Array, deletion_is_refused) {
    Map& map = make(array(1));
    EXPECT_EQ(erase(map, 0), std::errc::invalid_argument);
    EXPECT_EQ(erase(map, 5), std::errc::invalid_argument);
    const Sections sections;
    std::uint32_t key = 0;
    std::uint64_t out = 0;
    EXPECT_EQ(lookup_and_remove(map, &key, &out, 0), errc_kernel_notsupp);
}

TEST_F(Array, next_key_starts_over_from_no_key_and_from_an_unknown_one) {
    Map& map = make(array(2));
    const Sections sections;
    std::uint32_t key = 99;
    EXPECT_EQ(next_key(map, nullptr, &key), no_error);
    EXPECT_EQ(key, 0U);
    EXPECT_EQ(next_key(map, &key, &key), no_error);
    EXPECT_EQ(key, 1U);
    EXPECT_EQ(next_key(map, &key, &key), std::errc::no_such_file_or_directory);
    key = 2;
    EXPECT_EQ(next_key(map, &key, &key), no_error);
    EXPECT_EQ(key, 0U);
}

TEST_F(Array, odd_sized_values_do_not_touch_their_neighbours) {
    Map& map = make(array(3, 13));
    std::array<unsigned char, 13> ones{};
    ones.fill(0xff);
    const Sections sections;
    const std::uint32_t middle = 1;
    ASSERT_EQ(update(map, &middle, ones.data(), BPF_ANY), no_error);
    for (std::uint32_t index : {0U, 2U}) {
        const auto* value = static_cast<unsigned char*>(lookup(map, &index));
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(value) % 8, 0U);
        for (int i = 0; i < 13; ++i) {
            EXPECT_EQ(value[i], 0);
        }
    }
    EXPECT_EQ(std::memcmp(lookup(map, &middle), ones.data(), 13), 0);
}

// K49.
TEST_F(Array, the_index_is_found_from_a_pointer_anywhere_into_a_value_of_any_size) {
    for (std::uint32_t size : {1U, 8U, 13U, 24U, 4096U}) {
        Map& map = make(array(5, size));
        const Sections sections;
        for (std::uint32_t index = 0; index < 5; ++index) {
            auto* value = static_cast<std::byte*>(lookup(map, &index));
            std::uint32_t found = 99;
            EXPECT_EQ(key_of(map, value, &found), &found);
            EXPECT_EQ(found, index);
            EXPECT_EQ(key_of(map, value + size - 1, &found), &found);
            EXPECT_EQ(found, index);
        }
    }
}

TEST_F(Array, access_is_allowed_inside_one_value_and_outside_special_fields) {
    MapSpec asked = array(2, 28);
    asked.fields.task_work = 8;
    asked.fields.spin_lock = 20;
    Map& map = make(asked);
    const Sections sections;
    const std::uint32_t index = 0;
    const auto value = reinterpret_cast<std::uintptr_t>(lookup(map, &index));
    EXPECT_TRUE(may_access_value(map, value, 8));
    EXPECT_FALSE(may_access_value(map, value, 9));
    EXPECT_FALSE(may_access_value(map, value + 15, 1));
    EXPECT_TRUE(may_access_value(map, value + 16, 4));
    EXPECT_FALSE(may_access_value(map, value + 16, 5));
    EXPECT_FALSE(may_access_value(map, value + 23, 1));
    EXPECT_TRUE(may_access_value(map, value + 24, 4));
    EXPECT_FALSE(may_access_value(map, value + 24, 8));  // runs over its end
    EXPECT_FALSE(may_access_value(map, value + 28, 1));  // between two values
    EXPECT_TRUE(may_access_value(map, value + 32, 8));   // the next value
    EXPECT_FALSE(may_access_value(map, value - 1, 1));
    EXPECT_FALSE(may_access_value(map, value + 64, 1));
    EXPECT_FALSE(may_access_value(map, value, SIZE_MAX));
}

TEST_F(Array, values_are_one_block_of_whole_pages) {
    Map& map = make(spec(BPF_MAP_TYPE_ARRAY, 4, 5000, 1, BPF_F_MMAPABLE));
    void* base = nullptr;
    std::size_t bytes = 0;
    ASSERT_EQ(direct_values(map, &base, &bytes), no_error);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(base) % 4096, 0U);
    EXPECT_EQ(bytes, 8192U);
    const Sections sections;
    const std::uint32_t index = 0;
    EXPECT_EQ(lookup(map, &index), base);
}

TEST_F(Array, for_each_visits_every_element_until_told_to_stop) {
    Map& map = make(array(4));
    const Sections sections;
    std::uint32_t seen = 0;
    const auto count = [](const void* key, void*, void* argument) noexcept -> long {
        auto* next = static_cast<std::uint32_t*>(argument);
        return *static_cast<const std::uint32_t*>(key) == (*next)++ ? 0 : 1;
    };
    EXPECT_EQ(for_each(map, count, &seen), 4);
    const auto stop = [](const void* key, void*, void*) noexcept -> long {
        return *static_cast<const std::uint32_t*>(key) == 1 ? 1 : 0;
    };
    EXPECT_EQ(for_each(map, stop, nullptr), 2);
}

TEST_F(Array, a_frozen_map_stays_frozen_and_special_fields_cannot_be_frozen) {
    Map& plain = make(array(1));
    EXPECT_EQ(freeze(plain), no_error);
    EXPECT_EQ(freeze(plain), std::errc::operation_not_permitted);
    MapSpec asked = array(1, 16);
    asked.fields.task_work = 8;
    EXPECT_EQ(freeze(make(asked)), errc_kernel_notsupp);
}

TEST_F(Array, memory_comes_back_when_the_last_reference_goes) {
    // More than the arena holds, in turns.
    for (int i = 0; i < 20; ++i) {
        auto made = create(array(1U << 20, 64));
        ASSERT_TRUE(made.has_value()) << made.error().text << " in turn " << i;
        Map* map = *made;
        EXPECT_TRUE(is_map(map));
        put_reference(*map);
        EXPECT_FALSE(is_map(map));
        task::wait_until([&] { return sync::Pool::load(map).state() == sync::kStateFree; });
    }
}

}  // namespace
}  // namespace taskwork::map
